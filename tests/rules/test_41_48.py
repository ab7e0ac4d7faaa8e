"""Projects, targets and commands; limits, what comes over the wire, identity: rules 41 to 48."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from crashes import edited, endings
from doubles import Function, by_attempt
from memory_service import Ended, MemoryService
from shell import Shell, running, shell
from worlds import World, plan_of

from durableflow import faults
from durableflow.aws import lambda_handler
from durableflow.driver import EventError
from durableflow.errors import Fault, WorkflowError
from durableflow.plan import operation_id
from durableflow.project import find_project

if TYPE_CHECKING:
    from crashes import Ending
    from shell import Ran

__all__ = ["running", "shell"]

HEAD = 'durableflow: "1"\n'


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a repository, in which commands run."""
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(file: str, text: str) -> None:
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def facts(ran: Ran) -> Any:
    return json.loads(ran.out)


# 41 ------------------------------------------------------------------------------------------------------------------

READS_ENV = HEAD + "name: reads\nenv: [WHERE]\nstates: [{name: a, type: pass, output: '{{ env.WHERE }}'}]\n"


def says(where: str, more: str = "") -> str:
    return f"{HEAD}env: {{WHERE: {where}}}\n{more}"


@pytest.mark.usefixtures("here")
def test_rule_41_the_project_file_is_the_nearest_in_the_workflows_folder_or_above_it(shell: Shell) -> None:
    write("durableflow.yaml", says("root"))
    write("in/the/middle/reads.yaml", READS_ENV)
    assert facts(shell("run", "in/the/middle/reads.yaml", "--ephemeral")) == "root"

    write("in/the/durableflow.yaml", says("nearer"))
    assert facts(shell("run", "in/the/middle/reads.yaml", "--ephemeral")) == "nearer"

    write("in/the/middle/durableflow.yaml", says("beside"))
    assert facts(shell("run", "in/the/middle/reads.yaml", "--ephemeral")) == "beside"


def test_rule_41_the_search_ends_at_the_root_of_the_repository(here: Path) -> None:
    write("durableflow.yaml", says("outside"))
    write("inner/deep/x", "")
    assert find_project(here / "inner" / "deep") == here / "durableflow.yaml"

    (here / "inner" / ".git").mkdir()
    assert find_project(here / "inner" / "deep") is None
    write("inner/durableflow.yaml", says("root"))
    assert find_project(here / "inner" / "deep") == here / "inner" / "durableflow.yaml"


@pytest.mark.usefixtures("here")
def test_rule_41_a_project_that_is_named_comes_before_the_nearest(shell: Shell) -> None:
    write("durableflow.yaml", says("nearest"))
    write("reads.yaml", READS_ENV)
    write("other/durableflow.yaml", says("named"))

    for name in ("other/durableflow.yaml", "other"):
        assert facts(shell("run", "reads.yaml", "--ephemeral", "--project", name)) == "named"


@pytest.mark.usefixtures("here")
def test_rule_41_a_workflow_need_not_be_listed_to_be_run(shell: Shell) -> None:
    write("durableflow.yaml", says("here", "workflows: [listed]\n"))
    write("listed/other.yaml", READS_ENV.replace("name: reads", "name: other"))
    write("apart/reads.yaml", READS_ENV)

    assert facts(shell("run", "apart/reads.yaml", "--ephemeral")) == "here"


@pytest.mark.usefixtures("here")
def test_rule_41_env_of_the_command_line_wins_over_the_file(shell: Shell) -> None:
    write("durableflow.yaml", says("file"))
    write("reads.yaml", READS_ENV)

    assert facts(shell("run", "reads.yaml", "--ephemeral", "--env", "WHERE=command")) == "command"


def test_rule_41_on_lambda_the_environment_of_the_function_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "function")
    service = MemoryService()
    handle = lambda_handler(
        plan_of("env: [WHERE]\nstates: [{name: p, type: pass}]\noutput: '{{ env.WHERE }}'"), client=service
    )
    assert service.run(lambda event: handle(event, None)) == {"Status": "SUCCEEDED", "Result": '"function"'}


@pytest.mark.usefixtures("here")
def test_rule_41_here_the_environment_of_the_process_does_not_count(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHERE", "process")
    write("reads.yaml", READS_ENV)
    assert facts(shell("run", "reads.yaml", "--ephemeral", "--json"))["error"]["name"] == faults.QUERY_EVALUATION


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{name: a, type: pass, output: '{{ env.OTHER }}'}", "DF235"),
        ("{name: a, type: step, handler: 'm:f', payload: \"{{ secret('other') }}\"}", "DF240"),
    ],
)
def test_rule_41_an_env_or_secret_that_is_not_declared_is_a_diagnostic(text: str, code: str) -> None:
    with pytest.raises(WorkflowError, match=code):
        plan_of(f"env: [MINE]\nsecrets: {{mine: 'ssm:/mine'}}\nstates: [{text}]")


# 42 ------------------------------------------------------------------------------------------------------------------

LARGE = HEAD + (
    "name: large\nstates: [{name: s, type: step, handler: 'making:text', payload: '{{ input }}'}]\n"
    "output: '{{ states.s.result | length }}'\n"
)
MAKING = "def text(size):\n    return 'x' * size\n"


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("offload", "threshold", "folder"),
    [
        ("{directory: kept}", 204_800, "kept"),
        ("{threshold: 1KB, directory: kept}", 1_024, "kept"),
        ("{threshold: 1KB, s3: bucket/prefix}", 1_024, ".durableflow/offload"),
    ],
)
def test_rule_42_results_over_the_threshold_go_to_the_offload_store(
    shell: Shell, offload: str, threshold: int, folder: str
) -> None:
    write("durableflow.yaml", f"{HEAD}handlers: [.]\noffload: {offload}\n")
    write("large.yaml", LARGE)
    write("making.py", MAKING)

    # As JSON there are two quotes around it.
    assert facts(shell("run", "large.yaml", "--input", str(threshold - 2))) == threshold - 2
    assert not Path(folder).exists()
    assert facts(shell("run", "large.yaml", "--input", str(threshold - 1))) == threshold - 1
    (kept,) = [file for file in Path(folder).rglob("*") if file.is_file()]
    assert len(kept.read_text()) == threshold + 1


ASKS = HEAD + "name: asks\nstates: [{name: a, type: http, url: 'http://%s:9/', timeout: 5}]\n"


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("allow", "name"),
    [
        ("", faults.PERMISSIONS),
        ('http: {allow: ["localhost:10"]}\n', faults.PERMISSIONS),
        ('http: {allow: ["127.0.0.1:9"]}\n', "Http.ConnectionError"),
    ],
)
def test_rule_42_http_needs_https_except_for_the_hosts_that_are_allowed(shell: Shell, allow: str, name: str) -> None:
    write("durableflow.yaml", HEAD + allow)
    write("asks.yaml", ASKS % "127.0.0.1")

    # Nobody listens there, so what was allowed fails otherwise than what was refused.
    assert facts(shell("run", "asks.yaml", "--ephemeral", "--json"))["error"]["name"] == name


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("allow", "name"),
    [
        ('aws: {allow: ["s3:GetObject"]}\n', faults.PERMISSIONS),
        ('aws: {allow: ["s3:PutObject"]}\n', "S3.ConnectionError"),
        ("", "S3.ConnectionError"),
    ],
)
def test_rule_42_aws_states_call_what_is_allowed(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, allow: str, name: str
) -> None:
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    state = "{name: a, type: aws, service: s3, action: put_object, params: {Bucket: b, Key: k}}"
    write("durableflow.yaml", HEAD + allow)
    write("puts.yaml", f"{HEAD}name: puts\nstates: [{state}]\n")

    assert facts(shell("run", "puts.yaml", "--ephemeral", "--allow-aws", "--json"))["error"]["name"] == name


METERED: list[tuple[str, int]] = [
    ("{name: s, type: step, handler: 'm:f'}", 2),
    ("{name: s, type: step, handler: 'm:twice', retry: [{max_attempts: 2, jitter: none}]}", 3),
    ("{name: w, type: wait, duration: 1}", 2),
    ("{name: f, type: invoke, function: f}", 2),
    ("{name: b, type: block, context: true, states: [{name: w, type: wait, duration: 1}]}", 3),
    ("{name: c, type: wait_for_condition, interval: 1, until: result == 2, check: {type: step, handler: 'm:poll'}}", 4),
    ("{name: m, type: map, items: '[1, 2]', nesting: nested, states: [{name: w, type: wait, duration: 1}]}", 6),
    ("{name: m, type: map, items: '[1, 2]', nesting: flat, states: [{name: w, type: wait, duration: 1}]}", 4),
]


@pytest.mark.parametrize(("state", "metered"), METERED)
def test_rule_42_operations_are_counted_as_the_platform_meters_them(state: str, metered: int) -> None:
    # Half of so small a limit is kept for `finally`: of twice as many the last wait is just one that may be started.
    def make(limit: int) -> World:
        return World(
            f"states: [{state}, {{name: last, type: wait, duration: 1}}]\noutput: done",
            handlers={"m:f": lambda _: 1, "m:twice": by_attempt(Fault("A"), 1), "m:poll": by_attempt(1, 2)},
            targets={"f": Function(1)},
            operations_max=limit,
        )

    limit = (metered + 1) * 2
    assert make(limit).result() == "done"
    ending = endings(lambda: make(limit - 3))
    assert ending.error[0] == faults.OPERATION_LIMIT


@pytest.mark.usefixtures("here")
def test_rule_42_the_project_says_how_many_operations_there_may_be(shell: Shell) -> None:
    write("waits.yaml", f"{HEAD}name: waits\nstates: [{{name: w, type: wait, duration: 1}}]\n")
    for limit, status in ((2, "FAILED"), (4, "SUCCEEDED")):
        write("durableflow.yaml", f"{HEAD}limits: {{operations: {limit}}}\n")
        ran = shell("run", "waits.yaml", "--ephemeral", "--skip-time", "--json")
        assert facts(ran)["status"] == status


# 43 ------------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_rule_43_a_list_of_results_gives_one_per_start_and_repeats_its_last(shell: Shell) -> None:
    write("durableflow.yaml", HEAD + "functions: {f: [{result: 1}, {error: {name: Busy}}, {result: 3}]}\n")
    write(
        "flow.yaml",
        f"{HEAD}name: flow\nvars: {{got: []}}\nstates:\n"
        "  - name: l\n    type: loop\n    max_iterations: 3\n    states:\n"
        "      - {name: f, type: invoke, function: f, retry: [{max_attempts: 2, jitter: none}],"
        " assign: {got: '{{ vars.got + [result] }}'}}\n"
        "output: '{{ vars.got }}'\n",
    )
    # The second iteration starts it twice.
    assert facts(shell("run", "flow.yaml", "--ephemeral", "--skip-time")) == [1, 3, 3]


@pytest.mark.usefixtures("here")
def test_rule_43_a_command_runs_in_the_project_folder_and_fails_with_the_end_of_standard_error(shell: Shell) -> None:
    write("durableflow.yaml", HEAD + "functions: {good: {command: [sh, good.sh]}, bad: {command: [sh, bad.sh]}}\n")
    write("good.sh", 'cat > seen; echo "[$(cat seen), \\"$(cat marker)\\"]"')
    write("marker", "here")
    write("bad.sh", "seq 20000 >&2; echo the end >&2; exit 3")
    write(
        "deep/flow.yaml",
        f"{HEAD}name: flow\nstates:\n"
        "  - {name: g, type: invoke, function: good, payload: {a: 1}}\n"
        "  - {name: b, type: invoke, function: bad, catch: [{output: '{{ [error.name, error.message] }}'}]}\n"
        "output: ['{{ states.g.result }}', '{{ states.b.result }}']\n",
    )

    good, (name, message) = facts(shell("run", "deep/flow.yaml", "--ephemeral"))

    assert good == [{"a": 1}, "here"]
    assert name == "CommandFailed"
    assert message.rstrip().endswith("the end")
    assert "\n1\n" not in message


@pytest.mark.usefixtures("here")
def test_rule_43_a_python_target_sees_the_tenant(shell: Shell) -> None:
    write("durableflow.yaml", HEAD + 'functions: {f: {python: "functions:tenant"}}\n')
    write("functions.py", "def tenant(event, context):\n    return context.tenant_id\n")
    write(
        "flow.yaml",
        f"{HEAD}name: flow\nstates: [{{name: f, type: invoke, function: f, tenant_id: 'blue-{{{{ 1 }}}}'}}]\n",
    )

    assert facts(shell("run", "flow.yaml", "--ephemeral")) == "blue-1"


@pytest.mark.usefixtures("here")
def test_rule_43_a_target_that_was_running_when_the_service_was_killed_runs_again_a_recorded_one_never(
    shell: Shell, running: Any
) -> None:
    write(
        "durableflow.yaml", HEAD + 'functions: {quick: {python: "functions:quick"}, slow: {python: "functions:slow"}}\n'
    )
    write(
        "functions.py",
        "import pathlib, time\n\n"
        "def called(name):\n    with open('calls', 'a') as calls:\n        calls.write(name + ' ')\n\n"
        "def quick(event, context):\n    called('quick')\n    return 1\n\n"
        "def slow(event, context):\n    called('slow')\n    print('it runs', flush=True)\n"
        "    while not pathlib.Path('go').exists():\n        time.sleep(0.01)\n    return 2\n",
    )
    write(
        "flow.yaml",
        f"{HEAD}name: flow\nstates:\n  - {{name: a, type: invoke, function: quick}}\n"
        "  - {name: b, type: invoke, function: slow}\noutput: ['{{ states.a.result }}', '{{ states.b.result }}']\n",
    )
    one = running("flow.yaml", "--name", "n")
    one.until("it runs")
    one.process.kill()
    one.ended()
    write("go", "")

    assert facts(shell("run", "flow.yaml", "--name", "n")) == [1, 2]
    assert Path("calls").read_text().split() == ["quick", "slow", "slow"]


# 44 ------------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_rule_44_run_prints_one_object_that_counts_without_the_execution_and_as_the_platform_does(shell: Shell) -> None:
    write(
        "handling.py",
        "def flaky(payload, context):\n    if context.attempt < 3:\n        raise ValueError\n    return 5\n",
    )
    state = "{name: s, type: step, handler: 'handling:flaky', retry: [{max_attempts: 3, jitter: none}]}"
    write(
        "flow.yaml",
        f"{HEAD}name: flow\nstates: [{state}, {{name: w, type: wait, duration: 1h}}]\noutput: '{{{{ states.s.result }}}}'\n",
    )

    told = facts(shell("run", "flow.yaml", "--json", "--skip-time", "--name", "n"))

    assert list(told) == [
        "name", "executionArn", "workflow", "status", "output", "error", "operations", "metered", "invocations",
        "durationSeconds",
    ]  # fmt: skip
    assert {key: told[key] for key in ("name", "workflow", "status", "output", "error")} == {
        "name": "n",
        "workflow": "flow",
        "status": "SUCCEEDED",
        "output": 5,
        "error": None,
    }
    # The step and the wait; for the platform also the start and the two retries.
    assert (told["operations"], told["metered"]) == (2, 5)
    assert told["durationSeconds"] > 3600
    shown = facts(shell("executions", "show", "n", "--json"))
    assert (shown["executionArn"], shown["metered"]) == (told["executionArn"], 5)
    assert told["invocations"] == shown["invocations"] >= 2


ASKING = f"{HEAD}name: asking\nstates: [{{name: ask, type: wait_for_callback, timeout: 1d, heartbeat_timeout: 1h}}]\n"


def asking(running: Any) -> dict[str, str]:
    """An execution that waits for an answer, with nobody running it: all that it may be called."""
    write("asking.yaml", ASKING)
    one = running("asking.yaml", "--name", "n")
    one.until("waiting for callback")
    one.process.kill()
    one.ended()
    return {"name": "n"}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("meant", ["name", "arn", "callback id"])
def test_rule_44_executions_and_callbacks_are_named_in_three_ways_and_told_as_json(
    shell: Shell, running: Any, meant: str
) -> None:
    names = asking(running)
    shown = facts(shell("executions", "show", names["name"], "--json"))
    names |= {"arn": shown["executionArn"], "callback id": shown["callbacks"][0]["callbackId"]}
    it = names[meant]

    (listed,) = facts(shell("executions", "list", "--json"))["executions"]
    assert (listed["name"], listed["status"]) == ("n", "RUNNING")
    assert facts(shell("executions", "show", it, "--json"))["executionArn"] == names["arn"]
    events = facts(shell("executions", "history", it, "--json"))["Events"]
    assert [event["EventType"] for event in events if event["EventType"].startswith("Callback")] == ["CallbackStarted"]
    beaten = facts(shell("callback", "heartbeat", it, "--json"))
    assert (beaten["callbackId"], beaten["status"]) == (names["callback id"], "STARTED")
    answered = facts(shell("callback", "succeed", it, "--result", "1", "--json"))
    assert (answered["callbackId"], answered["status"]) == (names["callback id"], "SUCCEEDED")
    stopped = facts(shell("executions", "stop", it, "--json"))
    assert stopped == {"executionArn": names["arn"], "status": "STOPPED"}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("meant", ["name", "arn", "callback id"])
def test_rule_44_a_failure_is_reported_in_the_same_three_ways(shell: Shell, running: Any, meant: str) -> None:
    names = asking(running)
    shown = facts(shell("executions", "show", "n", "--json"))
    names |= {"arn": shown["executionArn"], "callback id": shown["callbacks"][0]["callbackId"]}

    told = facts(shell("callback", "fail", names[meant], "--error", "No", "--json"))

    assert (told["callbackId"], told["status"]) == (names["callback id"], "FAILED")


@pytest.mark.usefixtures("here")
def test_rule_44_a_replay_is_told_as_json_too(shell: Shell) -> None:
    write("flow.yaml", f"{HEAD}name: flow\nstates: [{{name: w, type: wait, duration: 1}}]\noutput: 4\n")
    shell("run", "flow.yaml", "--ephemeral", "--skip-time", "--record", "h.json")
    assert facts(shell("replay", "flow.yaml", "--history", "h.json", "--json"))["isSame"] is True


# 45 ------------------------------------------------------------------------------------------------------------------

KIB = 1024
RESULT_MAX, PAYLOAD_MAX, RESPONSE_MAX, EXECUTION_MAX = 256 * KIB, 1024 * KIB, 6 * KIB * KIB - 50, 6 * KIB * KIB


def text_of(size: int) -> str:
    """A text that takes so many bytes as JSON, with characters of two bytes each."""
    return "é" * ((size - 2) // 2) + "x" * (size % 2)


WORKS = {
    "step": "type: step, handler: w",
    "aws": "type: aws, service: s3, action: list_buckets",
    "http": "type: http, method: GET, url: 'https://x.example'",
    "condition": "type: wait_for_condition, until: true, check: {type: step, handler: w}",
}


@pytest.mark.parametrize("kind", WORKS)
@pytest.mark.parametrize("over", [0, 1])
def test_rule_45_results_of_work_have_a_size(kind: str, over: int) -> None:
    value = text_of(RESULT_MAX + over)
    assert len(json.dumps(value, ensure_ascii=False).encode()) == RESULT_MAX + over
    work = WORKS[kind].replace("handler: w", "handler: 'm:f'")
    ending = endings(
        lambda: World(
            f"states: [{{name: big, {work}, catch: [{{errors: [States.DataLimitExceeded], "
            "output: '{{ [error.state, error.message] }}'}]}]\noutput: '{{ states.big.result[:2] }}'",
            handlers=dict.fromkeys(["m:f", "s3:list_buckets", "GET https://x.example"], lambda _: value),
        )
    )
    if not over:
        assert ending.result == "éé"
        return
    state, message = ending.result
    assert state == "big"
    assert all(told in message for told in ("'big'", "262,145", "262,144"))
    # Nothing of that size was sent: the service was told of a failure.
    assert not [u for u in ending.world.service.updates if len(u.get("Payload", "")) > KIB]
    assert ending.operation("big")["Status"] == "FAILED"


@pytest.mark.parametrize("kind", ["type: invoke, function: f", "type: workflow, workflow: f"])
@pytest.mark.parametrize("over", [0, 1])
def test_rule_45_payloads_have_a_size(kind: str, over: int) -> None:
    ending = endings(
        lambda: World(
            f"states: [{{name: big, {kind}, payload: '{{{{ input }}}}', catch: [{{errors: [States.DataLimitExceeded], "
            "output: '{{ [error.state, error.message] }}'}]}]",
            input=text_of(PAYLOAD_MAX + over),
            targets={"f": len},
            inline={"f": "states: [{name: p, type: pass}]"},
        )
    )
    if not over:
        assert ending.result == len(text_of(PAYLOAD_MAX))
        return
    state, message = ending.result
    assert state == "big"
    assert all(told in message for told in ("'big'", "1,048,577", "1,048,576"))
    assert ending.paths == []


CONTEXTS = {
    "block": ("{name: c, type: block, context: true, states: [P]}", "states.c.result", "c"),
    "map": ("{name: c, type: map, items: '[1]', nesting: nested, states: [P]}", "states.c.result[0]", "c[0]"),
    "parallel": ("{name: c, type: parallel, nesting: nested, branches: {b: [P]}}", "states.c.result.b", "c.b"),
    "inline": ("{name: c, type: workflow, mode: inline, workflow: other, payload: '{{ input }}'}", "states.c.result", "c"),
}  # fmt: skip


@pytest.mark.parametrize("kind", CONTEXTS)
@pytest.mark.parametrize("over", [0, 1])
def test_rule_45_larger_results_of_contexts_are_replayed(kind: str, over: int) -> None:
    state, reads, path = CONTEXTS[kind]
    ending = endings(
        lambda: World(
            f"states: [{state.replace('P', '{name: p, type: pass, output: INPUT}').replace('INPUT', repr('{{ input }}'))}, "
            f"{{name: w, type: wait, duration: 5}}]\noutput: '{{{{ {reads} | length }}}}'",
            input=text_of(RESULT_MAX + over),
            inline={"other": "states: [{name: q, type: pass, output: '{{ input }}'}]"},
        )
    )
    assert ending.result == len(text_of(RESULT_MAX + over))
    (closed,) = [u for u in ending.world.service.updates if u["Id"] == operation_id(path) and u["Action"] == "SUCCEED"]
    assert (closed.get("ContextOptions") == {"ReplayChildren": True}) == bool(over)
    assert ("Payload" in closed) == (not over)


PASSES_ON = "states: [{name: p, type: pass}]\noutput: '{{ input }}'"
FRAME = len(json.dumps({"Status": "SUCCEEDED", "Result": '""'}, separators=(",", ":")))
"""What an answer takes whose result is an empty text."""


def test_rule_45_an_output_goes_in_the_response_as_long_as_it_fits_as_escaped_there() -> None:
    for made, character, escaped in (("x", "x", 1), ("quote", '"', 4), ("line", "\n", 3)):
        most = (RESPONSE_MAX - FRAME) // escaped
        output = World(PASSES_ON, input=character * most).run()
        answer = json.dumps(output, separators=(",", ":"), ensure_ascii=False)
        assert RESPONSE_MAX - escaped < len(answer.encode()) <= RESPONSE_MAX, made
        world = World(PASSES_ON, input=character * (most + 1))
        assert world.run() == {"Status": "SUCCEEDED", "Result": ""}, made
        (update,) = world.service.updates
        assert (update["Type"], update["Action"]) == ("EXECUTION", "SUCCEED")
        assert json.loads(update["Payload"]) == character * (most + 1)


def test_rule_45_a_larger_output_goes_by_an_update_up_to_its_limit_and_is_an_error_beyond() -> None:
    ending = endings(lambda: World(PASSES_ON, input=text_of(EXECUTION_MAX)))
    assert ending.output == {"Status": "SUCCEEDED", "Result": ""}
    (update,) = ending.world.service.updates
    assert len(update["Payload"].encode()) == EXECUTION_MAX

    ending = endings(lambda: World(PASSES_ON, input=text_of(EXECUTION_MAX + 1)))
    name, message = ending.error
    assert name == faults.DATA_LIMIT
    assert all(told in message for told in ("output", "6,291,457", "6,291,456"))
    assert ending.world.service.updates == []


@pytest.mark.parametrize("character", ["x", "é", "€", "😀", '"'])
def test_rule_45_an_error_object_is_cut_to_valid_text(character: str) -> None:
    ending = endings(
        lambda: World(
            "states: [{name: f, type: invoke, function: f}, {name: x, type: fail, error: Bad, cause: '{{ input }}', "
            "data: '{{ input }}'}]",
            input=character * 40_000,
            targets={"f": Function(1)},
        )
    )
    error = ending.output["Error"]
    size = len(json.dumps(error, separators=(",", ":"), ensure_ascii=False).encode())
    # As much as fits is kept: one character more, of four bytes at most, would be too much.
    assert 32_768 - 4 <= size < 32_768
    assert set(error["ErrorMessage"]) == {character}


# 46 ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["{", "NaN", "'x'", ""])
def test_rule_46_an_invoke_result_that_is_not_json_is_invalid_with_the_seeds_text(text: str) -> None:
    ending = endings(
        lambda: World(
            "states: [{name: f, type: invoke, function: f, catch: [{errors: [States.ResultInvalid], "
            "output: '{{ error.message }}'}]}, {name: w, type: wait, duration: 5}]\noutput: '{{ states.f.result }}'",
            targets={"f": Function(Ended(result=text))},
        )
    )
    assert ending.result.startswith("Failed to deserialize invoke result: ")
    assert ending.operation("f")["Status"] == "SUCCEEDED"


def test_rule_46_an_input_that_is_not_json_fails_the_execution() -> None:
    def make() -> World:
        world = World(
            "states: [{name: w, type: wait, duration: 5}]\ncatch: [{output: caught}]\nfinally: [{name: z, type: wait, duration: 5}]"
        )
        world.service.operations["7f3a"]["ExecutionDetails"] = {"InputPayload": '{"a": '}
        return world

    ending = endings(make)
    assert ending.error[0] == faults.INPUT_INVALID
    assert ending.paths == []


@pytest.mark.parametrize(
    "change",
    [
        {"DurableExecutionArn": None},
        {"CheckpointToken": 7},
        {"InitialExecutionState": None},
        {"InitialExecutionState": {"Operations": [{"Id": "x"}]}},
        {"InitialExecutionState": {"Operations": "none"}},
    ],
)
def test_rule_46_a_malformed_event_raises(change: dict[str, Any]) -> None:
    world = World("states: [{name: w, type: wait, duration: 5}]\ncatch: [{output: caught}]")
    with pytest.raises(EventError):
        world.invoke({**world.service.event(), **change})
    assert world.service.requests == []


@pytest.mark.parametrize(
    ("text", "data"),
    [('{"a": [1]}', {"a": [1]}), ('"x"', "x"), ("null", None), ("just {text", "just {text"), ("01", "01")],
)
def test_rule_46_data_of_an_error_are_json_where_their_text_is(text: str, data: Any) -> None:
    ending = endings(
        lambda: World(
            "states: [{name: f, type: invoke, function: f, catch: [{output: '{{ error.data }}'}]}]",
            targets={"f": Function(Ended(status="FAILED", error={"ErrorType": "A", "ErrorData": text}))},
        )
    )
    assert ending.result == data


@pytest.mark.parametrize(
    ("status", "name", "seeds"),
    [
        ("CANCELLED", "States.Cancelled", "Invoke was Cancelled"),
        ("STOPPED", "States.Stopped", "Invoke was stopped externally"),
        ("TIMED_OUT", "States.Timeout", "Invoke was TimedOut"),
    ],
)
def test_rule_46_however_an_invoke_was_ended_it_uses_the_message_of_its_error_object(
    status: Any, name: str, seeds: str
) -> None:
    def caught(error: Any) -> Any:
        ending = endings(
            lambda: World(
                "states: [{name: f, type: invoke, function: f, catch: [{output: '{{ [error.name, error.message, error.status] }}'}]}]",
                targets={"f": Function(Ended(status=status, error=error))},
            )
        )
        return ending.result

    assert caught({"ErrorType": "Mine", "ErrorMessage": "by hand"}) == [name, "by hand", status]
    assert caught(None) == [name, seeds, status]


# 47 ------------------------------------------------------------------------------------------------------------------


NAP = "{name: nap, type: wait, duration: 60}"


@pytest.mark.parametrize(
    ("old", "new", "expected", "recorded"),
    [
        ("type: invoke, function: f", "type: step, handler: 'm:f'", "STEP/Step", "CHAINED_INVOKE/ChainedInvoke"),
        ("type: step, handler: 'm:f'", "type: wait, duration: 5", "WAIT/Wait", "STEP/Step"),
        (
            "type: wait_for_condition, until: true, check: {type: step, handler: 'm:f'}",
            "type: step, handler: 'm:f'",
            "STEP/Step",
            "STEP/WaitForCondition",
        ),
        ("type: map, items: '[]', states: [P]", "type: parallel, branches: {}", "CONTEXT/Parallel", "CONTEXT/Map"),
        (
            "type: block, context: true, states: [P]",
            "type: map, items: '[]', nesting: nested, states: [P]",
            "CONTEXT/Map",
            "CONTEXT/RunInChildContext",
        ),
        (
            "type: step, handler: 'm:f'",
            "type: step, handler: 'm:f', label: other",
            "STEP/Step 'other'",
            "STEP/Step 's'",
        ),
    ],
)
def test_rule_47_identity_compares_type_subtype_and_name(old: str, new: str, expected: str, recorded: str) -> None:
    first, second = (
        f"states: [{{name: s, {text.replace('P', '{name: p, type: pass}')}}}, {NAP}]\ncatch: [{{output: caught}}]"
        for text in (old, new)
    )
    wakes = 1 if "invoke" in old else 0
    ending = edited(first, second, wakes=wakes, handlers={"m:f": lambda _: 1}, targets={"f": Function(1)})
    name, message = ending.error
    assert name == faults.NON_DETERMINISTIC
    assert expected in message
    assert recorded in message


def test_rule_47_blocks_are_transparent() -> None:
    flat = f"states: [{{name: s, type: step, handler: 'm:f'}}, {NAP}]\noutput: '{{{{ states.s.result }}}}'"
    wrapped = flat.replace(
        f"{NAP}]", f"{{name: c, type: choice, default: [], choices: [{{when: true, states: [{NAP}]}}]}}]"
    )
    wrapped = wrapped.replace("states: [{name: s,", "states: [{name: b, type: block, states: [{name: s,", 1)
    wrapped = wrapped.replace("'m:f'},", "'m:f'}]},", 1)
    for old, new in ((flat, wrapped), (wrapped, flat)):
        ending = edited(old, new, handlers={"m:f": lambda _: 7})
        assert ending.result == 7
        assert ending.paths == ["s", "nap"]


def test_rule_47_the_parent_is_not_compared_and_an_update_repeats_the_recorded_one() -> None:
    text = (
        "states: [{name: both, type: parallel, nesting: nested, branches: {b: [{name: s, type: step, handler: 'm:f', "
        "retry: [{max_attempts: 2, interval: 60, jitter: none}]}]}}]"
    )

    def under_the_outer_context(world: World) -> None:
        world.service.operations[operation_id("both.b/s")]["ParentId"] = operation_id("both")

    ending = edited(text, text, change=under_the_outer_context, handlers={"m:f": by_attempt(Fault("A"), 1)})
    assert ending.result == {"b": 1}
    assert ending.parent("both.b/s") == "both"
    later = [u for u in ending.world.service.updates if u["Id"] == operation_id("both.b/s")][2:]
    assert [(u["Action"], u["ParentId"]) for u in later] == [
        ("START", operation_id("both")),
        ("SUCCEED", operation_id("both")),
    ]


def test_rule_47_an_update_repeats_the_recorded_name() -> None:
    text = (
        "states: [{name: NAME, type: step, handler: 'm:f', retry: [{max_attempts: 2, interval: 60, jitter: none}]MORE}]"
    )
    ending = edited(
        text.replace("NAME", "old").replace("MORE", ""),
        text.replace("NAME", "new").replace("MORE", ", renamed_from: [old]"),
        handlers={"m:f": by_attempt(Fault("A"), 1)},
    )
    assert ending.result == 1
    assert {u["Name"] for u in ending.world.service.updates} == {"old"}


# 48 ------------------------------------------------------------------------------------------------------------------

A = "{name: a, type: step, handler: 'm:f'}"
B = "{name: b, type: step, handler: 'm:g'}"


def order_of(old: list[str], new: list[str]) -> tuple[Ending, list[str]]:
    """Begin with the states of one definition, end with those of another; how it ended, and what was done."""
    ending = edited(
        f"states: [{', '.join(old)}]",
        f"states: [{', '.join(new)}]",
        handlers={"m:f": lambda _: "f", "m:g": lambda _: "g"},
    )
    return ending, [call.path for call in ending.world.worker.calls]


def test_rule_48_a_mere_suspension_is_no_reason_to_look_for_what_was_not_visited() -> None:
    ending, done = order_of([A, NAP, B], [NAP, A, B])
    assert ending.result == "g"
    assert done == ["a", "b"]


@pytest.mark.parametrize(
    "more",
    [
        "{name: new, type: wait, duration: 1}",
        B,
        "{name: new, type: block, context: true, states: [{name: p, type: pass}]}",
    ],
)
def test_rule_48_a_state_inserted_before_one_that_has_started_fails_closed(more: str) -> None:
    ending, done = order_of([A, NAP], [A, more, NAP])
    assert ending.error[0] == faults.NON_DETERMINISTIC
    assert "'nap'" in ending.error[1]
    # Nothing of the new state was begun.
    assert done == ["a"]
    assert ending.names == ["a", "nap"]


def test_rule_48_what_is_left_unvisited_is_found_before_the_execution_ends() -> None:
    ending, done = order_of([A, NAP], [NAP])
    assert ending.error[0] == faults.NON_DETERMINISTIC
    assert "'a'" in ending.error[1]
    assert done == ["a"]


def test_rule_48_it_is_found_before_the_execution_fails_too() -> None:
    ending, _ = order_of([A, NAP], [NAP, "{name: x, type: fail, error: Mine}"])
    assert ending.error[0] == faults.NON_DETERMINISTIC


def test_rule_48_a_timeout_added_to_what_has_started_is_something_new_before_it() -> None:
    call = "{name: f, type: invoke, function: f%s}"
    for old, new in (
        (f"states: [{call % ''}]", f"states: [{call % ', timeout: 1h'}]"),
        (f"states: [{NAP}]", f"states: [{NAP}]\ntimeout: 1h"),
    ):
        ending = edited(old, new, targets={"f": Function(1)})
        assert ending.error[0] == faults.NON_DETERMINISTIC
        assert len(ending.names) == 1


def test_rule_48_branches_come_as_far_as_they_can_before_it_is_looked() -> None:
    # What is new in the first branch comes before it is known that the second one comes past all that it has.
    new = "{name: m, type: map, items: '[]', states: [{name: p, type: pass}]}"
    text = "states: [{name: both, type: parallel, branches: {x: [{name: v, type: wait, duration: 5}%s], y: [NAP, B]}}]"
    old = (text % "").replace("NAP", NAP).replace("B]", f"{B}]")
    ending = edited(old, old.replace("duration: 5}", f"duration: 5}}, {new}"), handlers={"m:g": lambda _: 2})
    assert ending.result == {"x": [], "y": 2}
