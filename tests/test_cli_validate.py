"""The `validate` command."""

import json
from pathlib import Path

import pytest
from shell import Shell, shell

__all__ = ["shell"]

GOOD = """\
durableflow: "1"
name: good
states: [{name: a, type: pass}]
"""
BAD = """\
durableflow: "1"
name: bad
states:
  - {name: a, type: pass, next: c}
  - {name: b, type: pass}
"""
WARNED = """\
durableflow: "1"
name: warned
states: [{name: a, type: invoke, function: f}]
"""


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()  # no project file above counts


def test_a_good_file_has_no_problems(shell: Shell, tmp_path: Path) -> None:
    write(tmp_path, good_dot_yaml=GOOD)

    ran = shell("validate", "good.yaml")

    assert ran.code == 0
    assert ran.err == "no problems in 1 file\n"


def test_a_problem_is_shown_where_it_is_and_exits_1(shell: Shell, tmp_path: Path) -> None:
    write(tmp_path, bad_dot_yaml=BAD)

    ran = shell("validate", "bad.yaml")

    assert ran.code == 1
    assert "bad.yaml:4:33: DF302 no state is called 'c' here\n" in ran.out
    assert "\n    4 |   - {name: a, type: pass, next: c}\n      |                                 ^\nhint: " in ran.out
    assert ran.err == "1 error in 1 file\n"


def test_standard_input_is_a_file_like_any_other(shell: Shell) -> None:
    ran = shell("validate", "-", "--format", "line", stdin=BAD.encode())

    assert ran.code == 1
    assert "<stdin>:4:33: DF302 error: " in ran.out


def test_a_folder_is_searched_for_workflows_and_nothing_else(shell: Shell, tmp_path: Path) -> None:
    write(
        tmp_path,
        flows__good_dot_yaml=GOOD,
        flows__deep__bad_dot_yml=BAD,
        flows__good_dot_json='{"durableflow": "1", "name": "j", "states": [{"name": "a", "type": "pass"}]}',
        flows__good_dot_test_dot_yaml="states: []",
        flows__other_dot_yaml="states of: matter",
        flows__other_dot_json="{not json, but about states",
        flows__notes_dot_txt="states: []",
        flows__node_modules__bad_dot_yaml=BAD,
        _dot_hidden__bad_dot_yaml=BAD,
        broken_dot_yaml="name: [\nstates:\n",
    )

    found = json.loads(shell("validate", "--format", "json").out)

    assert found["files"] == ["broken.yaml", "flows/good.json", "flows/good.yaml", "flows/deep/bad.yml"]
    assert {p["location"]["file"] for p in found["problems"] if p["severity"] == "error"} == {
        "broken.yaml",
        "flows/deep/bad.yml",
    }


def test_strict_makes_warnings_fail(shell: Shell, tmp_path: Path) -> None:
    write(tmp_path, warned_dot_yaml=WARNED)

    assert shell("validate", "warned.yaml").code == 0
    assert shell("validate", "warned.yaml", "--strict").code == 1


def test_codes_are_chosen_by_their_beginning_and_the_longer_one_counts(shell: Shell, tmp_path: Path) -> None:
    write(tmp_path, bad_dot_yaml=BAD.replace("- {name: b", "- {name: w, type: invoke, function: f}\n  - {name: b"))

    def shows(*options: str) -> set[str]:
        out = shell("validate", "bad.yaml", "--format", "line", *options).out
        return {line.split()[1] for line in out.splitlines()}

    assert shows() == {"DF302", "DF404", "DF900"}
    assert shows("--select", "df4, DF9") == {"DF404", "DF900"}
    assert shows("--select", "DF4", "--select", "DF9", "--ignore", "DF404") == {"DF900"}
    assert shows("--ignore", "DF4", "--select", "DF404") == {"DF404"}
    assert shows("--ignore", "DF404", "--select", "DF404") == set()
    assert shows("--ignore", "DF4,DF9") == {"DF302"}


def test_a_file_with_an_error_that_is_left_out_is_still_refused(shell: Shell, tmp_path: Path) -> None:
    write(tmp_path, bad_dot_yaml=BAD)

    ran = shell("validate", "bad.yaml", "--ignore", "DF3")
    told = json.loads(shell("validate", "bad.yaml", "--ignore", "DF3", "--format", "json").out)

    assert ran.code == 1
    assert "DF302" not in ran.out
    assert ran.err == "no problems in 1 file; 1 error left out, so refused all the same\n"
    assert (told["errors"], told["hiddenErrors"]) == (0, 1)


def test_a_warning_that_is_left_out_does_not_fail(shell: Shell, tmp_path: Path) -> None:
    write(tmp_path, warned_dot_yaml=WARNED)

    assert shell("validate", "warned.yaml", "--strict", "--ignore", "DF404").code == 0


@pytest.mark.parametrize("option", ["--select", "--ignore", "--explain"])
@pytest.mark.parametrize("code", ["DF499", "E501", "D", "", "DF4x"])
def test_a_code_that_does_not_exist_is_wrong_usage(shell: Shell, option: str, code: str) -> None:
    ran = shell("validate", option, code)

    assert (ran.code, ran.out) == (2, "")
    assert "DF799" in ran.err


def test_a_code_is_explained(shell: Shell) -> None:
    ran = shell("validate", "--explain", "df302")

    assert ran.code == 0
    assert ran.out.startswith("DF302 error: 'next' names no state of its list\n\n`next` names a state of the same list")
    assert "\n\nWrong:\n    - {name: reserve, type: pass, next: chrage}\n" in ran.out
    assert shell("validate", "--explain", "DF302", "a.yaml").code == 2


@pytest.mark.parametrize(
    ("asked", "entry", "caught"),
    [
        ("States.Runtime", "States.Runtime", "only `States.Runtime`"),
        ("Http.404", "Http.<status>", "its name, patterns, `States.ALL`, `States.TaskFailed`"),
        ("NonDeterministicExecutionError", "NonDeterministicExecutionError", "nothing"),
    ],
)
def test_the_name_of_an_error_is_explained(shell: Shell, asked: str, entry: str, caught: str) -> None:
    ran = shell("validate", "--explain", asked)
    assert ran.code == 0
    assert ran.out.startswith(f"{entry}\n\n")
    assert ran.out.endswith(f"\n\ncaught by: {caught}\n")
    assert "](" not in ran.out


@pytest.mark.parametrize(
    ("group", "begins"), [("States.ALL", "As a group, "), ("States.TaskFailed", "States.TaskFailed\n")]
)
def test_a_group_of_errors_is_explained(shell: Shell, group: str, begins: str) -> None:
    ran = shell("validate", "--explain", group)
    assert (ran.code, ran.out.startswith(begins)) == (0, True)
    assert f"As a group, {group} matches every" in ran.out


def test_a_name_that_is_nearly_right_gets_a_hint(shell: Shell) -> None:
    ran = shell("validate", "--explain", "States.TimeOut")
    assert ran.code == 2
    assert "did you mean 'States.Timeout'?" in ran.err


def test_the_limit_is_said_and_0_is_none(shell: Shell, tmp_path: Path) -> None:
    states = "\n".join(f"  - {{name: s{n}, type: pass, nxt: a}}" for n in range(30))
    write(tmp_path, many_dot_yaml=f'durableflow: "1"\nname: many\nstates:\n{states}\n')

    cut, short, whole = (
        shell("validate", "many.yaml", "--format", "line", *more) for more in ([], ["--limit", "3"], ["--limit", "0"])
    )

    assert [len(ran.out.splitlines()) for ran in (cut, short, whole)] == [20, 3, 30]
    assert cut.err == "30 errors in 1 file (20 of 30 findings are shown)\n"


@pytest.mark.parametrize("form", ["json", "sarif"])
def test_forms_for_tools_are_one_json_text(shell: Shell, tmp_path: Path, form: str) -> None:
    write(tmp_path, bad_dot_yaml=BAD)

    ran = shell("validate", "bad.yaml", "--format", form)

    assert (ran.code, ran.err) == (1, "")
    assert json.loads(ran.out)["version"] in (1, "2.1.0")


def test_a_path_that_cannot_be_read_is_wrong_usage_and_the_rest_is_checked(shell: Shell, tmp_path: Path) -> None:
    write(tmp_path, bad_dot_yaml=BAD)

    ran = shell("validate", "missing.yaml", "bad.yaml", "--format", "line")

    assert ran.code == 2
    assert "DF701" in ran.out
    assert "bad.yaml:4:33: DF302" in ran.out


def test_handlers_are_imported_unless_told_otherwise(shell: Shell, tmp_path: Path) -> None:
    step = (
        'durableflow: "1"\nname: s\ndefaults: {retry: [{}]}\nstates: [{name: a, type: step, handler: "work:missing"}]\n'
    )
    write(tmp_path, step_dot_yaml=step, work_dot_py="def there(payload): ...\n")

    ran = shell("validate", "step.yaml", "--format", "line")

    assert ran.code == 1
    assert "step.yaml:4:41: DF522" in ran.out
    assert shell("validate", "step.yaml", "--no-import").code == 0


def test_a_broken_project_file_is_reported_once_and_its_workflows_are_checked_all_the_same(
    shell: Shell, tmp_path: Path
) -> None:
    write(tmp_path, durableflow_dot_yaml='durableflow: "1"\nfunctons: {}\n', a_dot_yaml=BAD, b_dot_yaml=BAD)

    by_file = shell("validate", "a.yaml", "b.yaml", "--format", "line")
    by_folder = shell("validate", "--format", "line")

    for ran in (by_file, by_folder):
        assert ran.out.count("'functons'") == 1
        assert ran.out.count("DF3") == 2


def test_the_environment_and_the_functions_of_the_project_count(shell: Shell, tmp_path: Path) -> None:
    workflow = 'durableflow: "1"\nname: e\nenv: [TABLE]\nstates: [{name: a, type: invoke, function: inventry}]\n'
    project = 'durableflow: "1"\nworkflows: [.]\nfunctions: {inventory: {result: 1}}\n'
    write(tmp_path, durableflow_dot_yaml=project, e_dot_yaml=workflow)

    without, given = shell("validate", "e.yaml"), shell("validate", "e.yaml", "--env", "TABLE=orders")

    assert "'TABLE' has no value here" in without.out
    assert "'TABLE' has no value here" not in given.out
    assert "did you mean 'inventory'?" in given.out


def test_an_environment_value_must_be_one(shell: Shell, tmp_path: Path) -> None:
    write(tmp_path, good_dot_yaml=GOOD)

    ran = shell("validate", "good.yaml", "--env", "TABLE")

    assert ran.code == 2
    assert "DF792" in ran.err


def test_inline_workflows_of_the_project_are_looked_into(shell: Shell, tmp_path: Path) -> None:
    text = """\
durableflow: "1"
name: {}
states: [{{name: a, type: workflow, workflow: {}, mode: inline, retry: []}}]
"""
    broken = 'durableflow: "1"\nname: broken\nstates: []\n'
    write(
        tmp_path,
        durableflow_dot_yaml='durableflow: "1"\nworkflows: [.]\n',
        one_dot_yaml=text.format("one", "two"),
        two_dot_yaml=text.format("two", "one"),
        three_dot_yaml=text.format("three", "broken"),
        broken_dot_yaml=broken,
    )

    assert "DF307 inline workflow 'two' comes back to itself: one → two → one" in shell("validate", "one.yaml").out
    assert "1 operations of 3,000 (the inline workflow 'broken' counted as 1)" in shell("validate", "three.yaml").out


@pytest.mark.covers("project.handlers")
def test_handlers_come_from_the_folders_of_the_project(shell: Shell, tmp_path: Path) -> None:
    step = 'durableflow: "1"\nname: s\nstates: [{name: a, type: step, handler: "in_the_steps:run", retry: []}]\n'
    write(
        tmp_path,
        durableflow_dot_yaml='durableflow: "1"\nworkflows: [.]\nhandlers: [steps]\n',
        s_dot_yaml=step,
        beside_dot_yaml=step.replace("in_the_steps", "not_in_the_steps").replace("name: s", "name: b"),
        steps__in_the_steps_dot_py="def run(payload): ...\n",
        not_in_the_steps_dot_py="def run(payload): ...\n",
    )

    assert "DF5" not in shell("validate", "s.yaml").out
    assert "DF520 there is no module 'not_in_the_steps'" in shell("validate", "beside.yaml").out


def test_actions_of_aws_and_what_the_project_allows_are_checked(shell: Shell, tmp_path: Path) -> None:
    states = "{name: a, type: aws, service: sqs, action: send_message, params: {QueueUrl: u, Mesage: m}, retry: []}"
    project = 'durableflow: "1"\nworkflows: [.]\naws: {allow: ["sqs:Receive*"]}\n'
    write(tmp_path, durableflow_dot_yaml=project, e_dot_yaml=f'durableflow: "1"\nname: e\nstates:\n  - {states}\n')

    ran = shell("validate", "e.yaml", "--format", "line")

    assert ran.code == 1
    told = [line.partition(" (")[0] for line in ran.out.splitlines() if "DF900" not in line]
    assert told == [
        "e.yaml:4:48: DF422 warning: the project's list 'aws: {allow: …}' does not have sqs.send_message",
        "e.yaml:4:84: DF311 error: sqs.send_message has no parameter 'Mesage'",
    ]
