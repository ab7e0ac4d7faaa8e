from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest

from durableflow.actions import AllowList
from durableflow.decode import decode_workflow
from durableflow.document import read_document
from durableflow.errors import UsageError, WorkflowError
from durableflow.plan import ChildWorkflow
from durableflow.project import allow_list, compile_file, durable_names, find_project, load_project, named_actions
from durableflow.source import Source

if TYPE_CHECKING:
    from pathlib import Path

WORKFLOW = 'durableflow: "1"\nname: NAME\nstates: [{name: done, type: pass, output: 1}]\n'


def write(folder: Path, **files: str) -> None:
    """Write files, named with __ for a slash and without their .yaml."""
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))


def project(folder: Path, text: str = "") -> Path:
    write(folder, durableflow='durableflow: "1"\n' + textwrap.dedent(text))
    return folder / "durableflow.yaml"


def problems(path: Path) -> list[str]:
    with pytest.raises(WorkflowError) as caught:
        load_project(path)
    return [problem.line().removeprefix(str(path.parent) + "/") for problem in caught.value.problems]


def test_the_nearest_project_file_counts(tmp_path: Path) -> None:
    outer, inner = project(tmp_path), project(tmp_path / "inner")
    deep = tmp_path / "inner" / "workflows" / "deep"
    deep.mkdir(parents=True)
    assert find_project(deep) == inner
    assert find_project(tmp_path) == outer


def test_the_search_ends_at_the_root_of_the_repository(tmp_path: Path) -> None:
    project(tmp_path)
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    folder = tmp_path / "repository" / "workflows"
    folder.mkdir()
    assert find_project(folder) is None
    inside = project(tmp_path / "repository")
    assert find_project(folder) == inside


@pytest.mark.covers("project.workflows")
def test_workflows_are_the_files_with_states(tmp_path: Path) -> None:
    write(
        tmp_path / "workflows",
        order=WORKFLOW.replace("NAME", "order"),
        parts__ship=WORKFLOW.replace("NAME", "ship"),
        schema="type: object\n",
        broken="states: [\n",
        nameless="states: []\n",
        number="name: 5\nstates: []\n",
    )
    write(tmp_path / "workflows", **{"order.test": WORKFLOW.replace("NAME", "test"), ".hidden__a": WORKFLOW})
    (tmp_path / "workflows" / "tree.json").write_text('{"durableflow": "1", "name": "tree", "states": []}')
    (tmp_path / "workflows" / "notes.txt").write_text(WORKFLOW)
    found = load_project(project(tmp_path))
    assert {name: path.relative_to(tmp_path).as_posix() for name, path in found.workflows.items()} == {
        "order": "workflows/order.yaml",
        "ship": "workflows/parts/ship.yaml",
        "tree": "workflows/tree.json",
    }


def test_a_file_that_is_listed_twice_is_one_workflow(tmp_path: Path) -> None:
    write(tmp_path / "flows", order=WORKFLOW.replace("NAME", "order"))
    assert list(load_project(project(tmp_path, "workflows: [flows, flows/order.yaml]")).workflows) == ["order"]


def test_paths_are_relative_to_the_project_file(tmp_path: Path) -> None:
    found = load_project(project(tmp_path, "handlers: [lib, more]\nstore: data/e.db"))
    assert found.folder == tmp_path
    assert found.handler_roots == (tmp_path / "lib", tmp_path / "more")
    assert found.store == tmp_path / "data" / "e.db"


def test_two_workflows_of_one_name_are_a_problem(tmp_path: Path) -> None:
    write(tmp_path / "workflows", a=WORKFLOW.replace("NAME", "same"), b=WORKFLOW.replace("NAME", "same"))
    (found,) = problems(project(tmp_path))
    assert found.startswith("workflows/b.yaml:2:7: DF751 error: ")
    assert "a.yaml' has a workflow called 'same', too" in found


def test_a_folder_that_is_named_must_exist_and_the_default_need_not(tmp_path: Path) -> None:
    assert load_project(project(tmp_path)).workflows == {}
    (found,) = problems(project(tmp_path, "workflows: [flows]"))
    assert found.startswith("durableflow.yaml:2:13: DF750 error: there is no 'flows' here")


@pytest.mark.parametrize("target", ["{result: 1}", '{python: "a:b"}', "{workflow: other}"])
@pytest.mark.parametrize("key", ["ship", "ship:$LATEST"])
def test_a_function_with_the_name_of_a_workflow_is_a_problem(tmp_path: Path, key: str, target: str) -> None:
    write(tmp_path / "workflows", ship=WORKFLOW.replace("NAME", "ship"))
    (found,) = problems(project(tmp_path, f"functions:\n  {key}: {target}"))
    assert found.startswith(f"durableflow.yaml:3:3: DF753 error: the function '{key}' has the name of a workflow")


def test_a_function_with_a_qualifier_may_have_the_name_of_a_workflow(tmp_path: Path) -> None:
    write(tmp_path / "workflows", ship=WORKFLOW.replace("NAME", "ship"))
    text = "functions: {'ship:live': {result: 1}, ship: {workflow: ship}}"
    assert list(load_project(project(tmp_path, text)).workflows) == ["ship"]


def test_a_project_file_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        load_project(tmp_path / "durableflow.yaml")


def test_a_workflow_loads_files_inside_the_project_only(tmp_path: Path) -> None:
    (tmp_path / "outside.txt").write_text("secret")
    (tmp_path / "project" / "flows").mkdir(parents=True)
    (tmp_path / "project" / "tools.txt").write_text("tools")
    (tmp_path / "project" / "link.txt").symlink_to(tmp_path / "outside.txt")
    file = tmp_path / "project" / "flows" / "a.yaml"

    def compiled(name: str) -> None:
        file.write_text(
            f'durableflow: "1"\nname: a\nstates: [{{name: done, type: pass, output: "{{{{ load(\'{name}\') }}}}"}}]\n'
        )
        compile_file(file, tmp_path / "project")

    compiled("../tools.txt")
    for name in ("../../outside.txt", "../link.txt", "../missing.txt", "../flows"):
        with pytest.raises(WorkflowError):
            compiled(name)


def test_the_names_of_durable_functions_are_those_that_need_a_qualifier(tmp_path: Path) -> None:
    (tmp_path / "ship.yaml").write_text('durableflow: "1"\nname: ship\nstates: [{name: a, type: pass}]\n')
    (tmp_path / "durableflow.yaml").write_text("""\
durableflow: "1"
workflows: [ship.yaml]
functions:
  "sell:live": {workflow: ship}
  sell: {workflow: ship}
  "risk:$LATEST": {durable: "risk:handler"}
  "tax:1": {durable: "tax:handler"}
  plain: {python: "plain:handler"}
""")

    assert durable_names(load_project(tmp_path / "durableflow.yaml")) == {"ship", "sell", "risk"}


# What aws states may call.

CALLS = """\
durableflow: "1"
name: calls
states:
  - {name: a, type: aws, service: s3, action: put_object}
  - name: b
    type: map
    items: input
    states:
      - {name: c, type: wait_for_condition, until: result, check: {type: aws, service: glue, action: get_job_run}}
      - {name: d, type: wait_for_condition, until: result, check: {type: step, handler: "m:f"}}
      - {name: e, type: aws, service: s3, action: put_object}
catch:
  - {errors: [States.ALL], states: [{name: f, type: aws, service: sns, action: publish}]}
"""


def test_exactly_the_actions_that_workflows_name_are_allowed(tmp_path: Path) -> None:
    named = named_actions(decode_workflow(read_document(Source(name="calls.yaml", text=CALLS))))
    assert named == {("s3", "put_object"), ("glue", "get_job_run"), ("sns", "publish")}
    assert allow_list(None, named) == AllowList(pairs=named)
    assert allow_list(load_project(project(tmp_path)), named) == AllowList(pairs=named)
    assert allow_list(load_project(project(tmp_path, "aws: {}")), named) == AllowList(pairs=named)


@pytest.mark.covers("project.aws", "aws_settings.allow")
def test_a_list_of_the_project_counts_alone(tmp_path: Path) -> None:
    listed = load_project(project(tmp_path, 'aws: {allow: ["s3:Put*"]}'))
    assert allow_list(listed, {("sns", "publish")}) == AllowList(patterns=("s3:Put*",))
    nothing = load_project(project(tmp_path, "aws: {allow: []}"))
    assert allow_list(nothing, {("sns", "publish")}) == AllowList()


def test_an_inline_workflow_that_many_have_is_compiled_once(tmp_path: Path) -> None:
    twice = [f"{{name: to{i}, type: workflow, workflow: ship, mode: inline}}" for i in range(2)]
    both = f'durableflow: "1"\nname: both\nstates: [{", ".join(twice)}]\n'
    write(tmp_path / "workflows", ship=WORKFLOW.replace("NAME", "ship"), both=both)
    context = load_project(project(tmp_path))

    plan = compile_file(context.workflows["both"], context.folder, context)

    first, second = (node.inline for node in plan.states.nodes if isinstance(node, ChildWorkflow))
    assert first is second
    assert first is not None
