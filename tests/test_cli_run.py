"""The `run` command."""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from shell import Shell, running, shell

__all__ = ["running", "shell"]

ECHO = """\
durableflow: "1"
name: echo
states: [{name: a, type: pass}]
output: {got: "{{ input }}"}
"""
COUNT = """\
durableflow: "1"
name: count
states:
  - {name: add, type: step, handler: "counting:add", payload: "{{ input }}", retry: []}
"""
SLEEP = """\
durableflow: "1"
name: sleep
states:
  - {name: before, type: step, handler: "counting:add", retry: []}
  - {name: nap, type: wait, duration: 1h}
  - {name: after, type: step, handler: "counting:add", retry: []}
"""
COUNTING = """\
from pathlib import Path

def add(payload):
    with (Path(__file__).parent / "calls").open("a") as file:
        file.write("x")
    return len((Path(__file__).parent / "calls").read_text())
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()  # no project file above counts
    for name, text in {"echo": ECHO, "count": COUNT, "sleep": SLEEP}.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    (tmp_path / "counting.py").write_text(COUNTING)


def calls() -> int:
    file = Path("calls")
    return len(file.read_text()) if file.exists() else 0


def test_the_result_goes_to_standard_output_and_progress_to_standard_error(shell: Shell) -> None:
    ran = shell("run", "count.yaml", "--ephemeral")

    assert (ran.code, ran.out) == (0, "1\n")
    assert "  add  step\n" in ran.err
    assert "  add  succeeded after " in ran.err
    assert ran.err.splitlines()[-1].startswith("SUCCEEDED after ")


def test_a_failure_points_at_the_state_in_the_file_and_exits_1(shell: Shell, tmp_path: Path) -> None:
    states = "states:\n  - name: sorry\n    type: fail\n    error: Sold\n    cause: out\n"
    (tmp_path / "fail.yaml").write_text(f'durableflow: "1"\nname: failing\n{states}')

    ran = shell("run", "fail.yaml", "--ephemeral")

    assert (ran.code, ran.out) == (1, "")
    assert "fail.yaml:4:5: DF502 state 'sorry' failed: Sold: out\n" in ran.err
    assert "\n    4 |   - name: sorry\n" in ran.err


def test_json_is_one_object_with_exactly_these_members(shell: Shell) -> None:
    ran = shell("run", "echo.yaml", "--ephemeral", "--json", "--input", '{"a": 1}', "--name", "first")
    facts = json.loads(ran.out)
    duration, arn = facts.pop("durationSeconds"), facts.pop("executionArn")

    assert facts == {
        "name": "first",
        "workflow": "echo",
        "status": "SUCCEEDED",
        "output": {"got": {"a": 1}},
        "error": None,
        "operations": 0,
        "metered": 1,
        "invocations": 1,
    }
    assert duration >= 0
    assert ":function:echo:" in arn


def test_json_of_a_failure_says_what_and_where(shell: Shell, tmp_path: Path) -> None:
    text = 'durableflow: "1"\nname: f\nstates:\n  - {name: sold, type: fail, error: Sold, cause: out, data: {n: 1}}\n'
    (tmp_path / "fail.yaml").write_text(text)

    facts = json.loads(shell("run", "fail.yaml", "--ephemeral", "--json").out)

    assert (facts["status"], facts["output"]) == ("FAILED", None)
    assert facts["error"] == {
        "name": "Sold",
        "message": "out",
        "data": {"n": 1},
        "state": "sold",
        "location": {"file": "fail.yaml", "line": 4, "column": 5},
    }


def test_a_finished_execution_prints_its_recorded_result(shell: Shell) -> None:
    first, again = shell("run", "count.yaml", "--name", "n"), shell("run", "count.yaml", "--name", "n")

    assert (first.code, first.out) == (again.code, again.out) == (0, "1\n")
    assert calls() == 1
    assert "has ended before" in again.err


def test_the_same_input_may_be_written_differently_or_left_out(shell: Shell) -> None:
    shell("run", "echo.yaml", "--name", "n", "--input", '{"a": [1, 2]}')

    for given in (["--input", ' {"a":[1,2]}\n'], []):
        ran = shell("run", "echo.yaml", "--name", "n", *given)
        assert (ran.code, json.loads(ran.out)) == (0, {"got": {"a": [1, 2]}})


def test_with_another_input_the_name_is_taken(shell: Shell) -> None:
    shell("run", "echo.yaml", "--name", "n", "--input", "1")

    ran = shell("run", "echo.yaml", "--name", "n", "--input", "2")

    assert (ran.code, ran.out) == (2, "")
    assert "'n' was started with another" in ran.err


@pytest.mark.parametrize(("given", "stdin"), [('{"ä": 1}', b""), ("@in.json", b""), ("-", '{"ä": 1}'.encode())])
def test_an_input_is_json_a_file_or_standard_input(shell: Shell, tmp_path: Path, given: str, stdin: bytes) -> None:
    (tmp_path / "in.json").write_bytes('\ufeff{"ä": 1}'.encode())

    ran = shell("run", "echo.yaml", "--ephemeral", "--input", given, stdin=stdin)

    assert json.loads(ran.out) == {"got": {"ä": 1}}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ('{"a": }', "--input:1:7: DF794"),
        ("@in.json", "in.json:2:1: DF794"),
        ("-", "<stdin>:1:1: DF794"),
        ("NaN", "--input:1:1: DF794"),
        ("[" * 5000, "--input:1:1: DF794"),
        ("@missing.json", "DF701"),
        ("@.", "DF702"),
        ("\udcff", "not UTF-8 at byte 0"),
    ],
)
def test_an_input_that_is_none_is_wrong_usage(shell: Shell, tmp_path: Path, given: str, said: str) -> None:
    (tmp_path / "in.json").write_text("{\n")

    ran = shell("run", "echo.yaml", "--input", given)

    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert not Path(".durableflow").exists()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["echo.yaml", "--name", ""], "DF795"),
        (["echo.yaml", "--name", "a/b"], "DF795"),
        (["echo.yaml", "--name", "n" * 65], "DF795"),
        (["echo.yaml", "--ephemeral", "--store", "x.db"], "DF797"),
        (["-", "--input", "-"], "DF797"),
        (["missing.yaml"], "DF701"),
        (["echo.yaml", "--env", "TABLE"], "DF792"),
    ],
)
def test_a_wrong_call_is_refused_before_anything_runs(shell: Shell, arguments: list[str], code: str) -> None:
    ran = shell("run", *arguments)

    assert ran.code == 2
    assert code in ran.err
    assert not Path(".durableflow").exists()


def test_ephemeral_leaves_nothing_behind_and_records_the_same_each_time(shell: Shell) -> None:
    for name in ("one.json", "two.json"):
        assert shell("run", "echo.yaml", "--ephemeral", "--skip-time", "--record", name).code == 0

    assert Path("one.json").read_bytes() == Path("two.json").read_bytes()
    assert not Path(".durableflow").exists()


def test_a_recording_that_could_not_be_written_is_refused_before_anything_runs(shell: Shell) -> None:
    ran = shell("run", "count.yaml", "--record", "missing/r.json")

    assert ran.code == 3
    assert "DF793" in ran.err
    assert calls() == 0


@pytest.mark.covers("project.env")
def test_the_environment_of_the_command_line_wins(shell: Shell, tmp_path: Path) -> None:
    workflow = 'durableflow: "1"\nname: e\nenv: [TABLE]\nstates: [{name: a, type: pass, output: "{{ env.TABLE }}"}]\n'
    (tmp_path / "e.yaml").write_text(workflow)
    (tmp_path / "durableflow.yaml").write_text('durableflow: "1"\nworkflows: [.]\nenv: {TABLE: file}\n')

    assert shell("run", "e.yaml", "--ephemeral").out == '"file"\n'
    assert shell("run", "e.yaml", "--ephemeral", "--env", "TABLE=given=x").out == '"given=x"\n'


def test_a_child_whose_file_has_problems_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "durableflow.yaml").write_text('durableflow: "1"\nworkflows: [.]\n')
    (tmp_path / "sick.yaml").write_text('durableflow: "1"\nname: sick\nstates: [{name: w, type: nothing}]\n')
    (tmp_path / "caller.yaml").write_text(
        'durableflow: "1"\nname: caller\nstates: [{name: call, type: workflow, workflow: sick, retry: []}]\n'
    )
    # A process of its own, where log lines go to standard error.
    command = [sys.executable, "-m", "durableflow", "run", "caller.yaml", "--ephemeral", "--skip-time"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)

    assert ran.returncode == 1
    assert "sick.yaml:3:26: DF155 'nothing' is not a type of state" in ran.stderr
    assert "Runtime.StartError" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_one_of_a_thing_is_told_as_one(shell: Shell) -> None:
    one, more = shell("run", "count.yaml", "--name", "one"), shell("run", "sleep.yaml", "--ephemeral", "--skip-time")

    assert one.err.endswith(": 1 operation, 1 invocation\n")
    assert more.err.endswith(": 3 operations, 2 invocations\n")
    assert "  took     1 operation (2 metered), 1 invocation\n" in shell("executions", "show", "one").out


def test_waits_are_skipped_and_count_as_waited(shell: Shell) -> None:
    facts = json.loads(shell("run", "sleep.yaml", "--ephemeral", "--skip-time", "--json").out)

    assert (facts["status"], facts["output"], facts["operations"]) == ("SUCCEEDED", 2, 3)
    assert 3600 <= facts["durationSeconds"] < 3660


def test_ctrl_c_leaves_the_execution_resumable_and_says_how(shell: Shell, running: Any) -> None:
    one = running("sleep.yaml", "--name", "n")
    one.until("nap  wait")
    one.process.send_signal(signal.SIGINT)
    code, out, err = one.ended()

    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == "interrupted; go on with: durableflow run sleep.yaml --name n"
    again = shell("run", "sleep.yaml", "--name", "n", "--skip-time")
    assert (again.code, again.out, calls()) == (0, "2\n", 2)


def test_a_killed_process_leaves_the_execution_resumable(shell: Shell, running: Any) -> None:
    one = running("sleep.yaml", "--name", "n")
    one.until("nap  wait")
    one.process.kill()
    one.ended()

    again = shell("run", "sleep.yaml", "--name", "n", "--skip-time")

    assert (again.code, again.out, calls()) == (0, "2\n", 2)


def test_a_second_process_attaches_and_can_stop_what_the_first_one_runs(shell: Shell, running: Any) -> None:
    one = running("sleep.yaml", "--name", "n")
    one.until("nap  wait")
    two = running("sleep.yaml", "--name", "n", "--json")
    two.until("nap  wait")

    stopped = shell("executions", "stop", "n", "--message", "enough")

    assert (stopped.code, stopped.out) == (0, "n  STOPPED\n")
    code, _, err = one.ended()
    assert code == 1
    assert "enough" in err
    code, out, _ = two.ended()
    assert (code, json.loads(out)["status"]) == (1, "STOPPED")
    assert calls() == 1


def test_closed_standard_error_is_no_reason_to_stop() -> None:
    command = f"{sys.executable} -m durableflow run echo.yaml --ephemeral 2>&-"
    ran = subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, text=True, check=False, env=os.environ)

    assert (ran.returncode, ran.stdout) == (0, '{\n  "got": {}\n}\n')


@pytest.mark.covers("project.actions", "project.http_answers", "project.secrets", "secret.env")
def test_the_answers_and_secrets_of_the_project_count(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAY_TOKEN", "canary-4711")
    (tmp_path / "paying.py").write_text(
        "def charge(request):\n    return {'status': 201, 'body': request['headers']}\n"
    )
    (tmp_path / "durableflow.yaml").write_text("""\
durableflow: "1"
workflows: [.]
handlers: [.]
actions: {"s3:get_object": {result: {Body: hello}}}
http_answers: {"POST https://pay.example/charges": {python: "paying:charge"}}
secrets: {token: {env: PAY_TOKEN}}
""")
    (tmp_path / "pay.yaml").write_text("""\
durableflow: "1"
name: pay
secrets: {token: "ssm:/pay/token"}
states:
  - {name: read, type: aws, service: s3, action: get_object, params: {Bucket: b, Key: k}}
  - name: charge
    type: http
    method: POST
    url: https://pay.example/charges
    headers: {X-Token: "{{ secret('token') }}"}
output: ["{{ states.read.result.Body }}", "{{ states.charge.result.body }}"]
""")

    assert json.loads(shell("run", "pay.yaml", "--ephemeral").out) == ["hello", {"X-Token": "[secret token]"}]


@pytest.mark.covers("project.offload", "offload.threshold", "offload.directory")
def test_large_results_go_where_the_project_says(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "making.py").write_text("def text(payload):\n    return 'x' * payload['size']\n")
    (tmp_path / "durableflow.yaml").write_text("""\
durableflow: "1"
workflows: [.]
handlers: [.]
offload: {threshold: 1KB, directory: large}
""")
    (tmp_path / "make.yaml").write_text("""\
durableflow: "1"
name: make
states:
  - {name: small, type: step, handler: "making:text", payload: {size: 100}}
  - {name: large, type: step, handler: "making:text", payload: {size: 5000}}
output: ["{{ states.small.result | length }}", "{{ states.large.result | length }}"]
""")

    assert json.loads(shell("run", "make.yaml", "--ephemeral").out) == [100, 5000]
    (kept,) = [file for file in (tmp_path / "large").rglob("*") if file.is_file()]
    assert kept.stat().st_size >= 5000


class Answering(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.covers("project.http", "http_settings.allow")
@pytest.mark.parametrize("is_allowed", [True, False])
def test_hosts_without_https_are_those_of_the_project(shell: Shell, tmp_path: Path, *, is_allowed: bool) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{server.server_port}"
        allowed = f'http: {{allow: ["{host}"]}}\n' if is_allowed else ""
        (tmp_path / "durableflow.yaml").write_text(f'durableflow: "1"\nworkflows: [.]\n{allowed}')
        states = f"[{{name: a, type: http, url: 'http://{host}/', output: '{{{{ result.status }}}}'}}]"
        (tmp_path / "look.yaml").write_text(f'durableflow: "1"\nname: look\nstates: {states}\n')

        told = json.loads(shell("run", "look.yaml", "--ephemeral", "--json").out)

        server.shutdown()
    assert (told["output"] if is_allowed else told["error"]["name"]) == (200 if is_allowed else "States.Permissions")
