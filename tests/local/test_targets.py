from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from durableflow.errors import UsageError, WorkflowError
from durableflow.local.jobs import Function, Job
from durableflow.local.targets import Targets, version
from durableflow.local.workers import NO_TOOLS, Command, Durable, End, Fixed, Python, Remote, Sdk
from durableflow.project import load_project

if TYPE_CHECKING:
    from pathlib import Path

    from durableflow.project import ProjectContext

FUNCTIONS = """
    durableflow: "1"
    env: {TABLE: orders, REGION: eu}
    functions:
      inventory:live: {python: "functions.inventory:handler"}
      legacy: {command: [node, legacy.js]}
      fraud:
        - {result: {score: 1}}
        - {error: {name: Busy, message: later, data: {in: 5}}}
      rate: {result: null}
      parcels:live: {workflow: shipping}
      risk:1: {durable: "functions.risk:handler"}
      pricing: {http: "http://127.0.0.1:9000/2015-03-31/functions/function/invocations"}
      ledger: {lambda: "arn:aws:lambda:eu-west-1:123456789012:function:ledger:live"}
"""
ORDER = """
    durableflow: "1"
    name: order
    states:
      - {name: ship, type: invoke, function: "parcels:live"}
      - {name: note, type: invoke, function: "{{ input.function }}", allow: ["mail*"]}
"""
WORKFLOW = """
    durableflow: "1"
    name: NAME
    states:
      - {name: done, type: pass, output: 1}
"""


@pytest.fixture
def project(tmp_path: Path) -> ProjectContext:
    return made(tmp_path, order=ORDER, shipping=WORKFLOW, mailing=WORKFLOW, unrelated=WORKFLOW)


def made(folder: Path, functions: str = FUNCTIONS, **workflows: str) -> ProjectContext:
    (folder / "durableflow.yaml").write_text(textwrap.dedent(functions))
    (folder / "workflows").mkdir()
    for name, text in workflows.items():
        (folder / "workflows" / f"{name}.yaml").write_text(textwrap.dedent(text).replace("NAME", name))
    return load_project(folder / "durableflow.yaml")


def job(targets: Targets, name: str, *, call_number: int = 0) -> Job:
    function = targets.resolve(name, is_invoked=True)
    assert function is not None
    durable: Any = {"kind": "durable", "event": {"DurableExecutionArn": "arn"}}
    plain: Any = {"kind": "plain", "payload": '{"a":1}'}
    return Job(
        id="j1",
        function=function,
        execution_arn="arn",
        tenant_id="blue",
        call_number=call_number,
        operation_name="the_state",
        **(durable if function.is_durable else plain),
    )


def end_of(targets: Targets, name: str, *, call_number: int = 0) -> End:
    task = targets.task(job(targets, name, call_number=call_number))
    assert isinstance(task, Fixed)
    return task.end


# Names.


@pytest.mark.parametrize(
    "name",
    [
        "inventory:live",
        "123456789012:function:inventory:live",
        "arn:aws:lambda:eu-west-1:123456789012:function:inventory:live",
    ],
)
@pytest.mark.covers("project.functions")
def test_a_function_is_found_by_each_form_of_its_name(project: ProjectContext, name: str) -> None:
    assert Targets(project).resolve(name) == Function(
        name="inventory", version=version("live"), is_durable=False, retention_days=14
    )


@pytest.mark.parametrize("name", ["legacy", "legacy:$LATEST"])
def test_a_name_without_qualifier_is_the_latest(project: ProjectContext, name: str) -> None:
    found = Targets(project).resolve(name)
    assert found is not None
    assert found.version == "$LATEST"


@pytest.mark.parametrize("name", ["inventory", "inventory:blue", "nowhere", "legacy:1", "risk:2", "", "a b", "order"])
def test_what_nobody_declares_is_no_function(project: ProjectContext, name: str) -> None:
    assert Targets(project).resolve(name) is None


def test_an_alias_is_a_version_number_that_leads_back_to_it(project: ProjectContext) -> None:
    targets = Targets(project)
    assert version("live").isdigit()
    assert version("live") != version("beta")
    assert targets.resolve(f"inventory:{version('live')}") == targets.resolve("inventory:live")
    assert version("7") == "7"


def test_without_a_project_there_are_the_registered_workflows(project: ProjectContext, tmp_path: Path) -> None:
    plan = Targets(project).workflow("shipping").plan
    targets = Targets()
    assert targets.resolve("shipping") is None
    targets.register(plan, tmp_path / "elsewhere")
    assert targets.resolve("shipping") == Function(name="shipping")
    task = targets.task(job(targets, "shipping"))
    assert isinstance(task, Durable)
    assert task.plan is plan
    assert task.event == {"DurableExecutionArn": "arn"}
    assert task.environment.roots == (tmp_path / "elsewhere",)


# Workflows of a project.


def test_workflows_are_functions_once_they_are_registered_and_for_whoever_invokes_them(
    project: ProjectContext, tmp_path: Path
) -> None:
    targets = Targets(project)
    targets.register(targets.workflow("order").plan, tmp_path)
    targets.workflow("shipping")
    names = ("order", "shipping", "unrelated", "parcels:live", "nowhere")
    assert [name for name in names if targets.resolve(name)] == ["order", "parcels:live"]
    assert [name for name in names if targets.resolve(name, is_invoked=True)] == list(names[:-1])
    assert targets.resolve("shipping:1", is_invoked=True) is None


@pytest.mark.covers("target.workflow")
def test_a_function_may_be_a_workflow(project: ProjectContext) -> None:
    targets = Targets(project)
    found = targets.resolve("parcels:live")
    assert found is not None
    assert found.is_durable
    task = targets.task(job(targets, "parcels:live"))
    assert isinstance(task, Durable)
    assert task.plan.name == task.label == "shipping"


def test_a_registered_workflow_takes_the_place_of_the_file(project: ProjectContext, tmp_path: Path) -> None:
    targets = Targets(project)
    first = targets.workflow("shipping")
    changed = targets.workflow("mailing").plan.__class__(name="shipping", states=first.plan.states, version="2")
    targets.register(changed, tmp_path)
    assert targets.workflow("shipping").plan is changed


def test_a_workflow_that_does_not_compile_is_a_function_whose_job_says_why(tmp_path: Path) -> None:
    targets = Targets(made(tmp_path, order=ORDER, shipping=WORKFLOW + "      - {name: done, type: pass}"))
    assert targets.resolve("shipping", is_invoked=True) is not None
    with pytest.raises(WorkflowError, match="done"):
        targets.task(job(targets, "shipping"))


def test_a_workflow_that_does_not_exist_is_said_so(project: ProjectContext) -> None:
    with pytest.raises(UsageError, match="there is no workflow 'nowhere' here") as caught:
        Targets(project).workflow("nowhere")
    assert caught.value.code == "DF754"


@pytest.mark.parametrize(
    ("lines", "size", "folder"),
    [
        ("offload: {directory: large}", 204_800, "large"),
        ("offload: {threshold: 1000, directory: /srv/large}", 1000, "/srv/large"),
        ("offload: {threshold: 5KB, s3: bucket/prefix}", 5120, ".durableflow/offload"),
    ],
)
def test_an_invocation_knows_where_large_results_go_and_how_many_operations_there_may_be(
    tmp_path: Path, lines: str, size: int, folder: str
) -> None:
    text = f"{FUNCTIONS}    {lines}\n    limits: {{operations: 7}}\n"
    targets = Targets(made(tmp_path, text, shipping=WORKFLOW))
    task = targets.task(job(targets, "shipping"))
    assert isinstance(task, Durable)
    assert (task.offload, task.operations_max) == ((size, tmp_path / folder), 7)


def test_without_a_store_for_them_large_results_go_nowhere(project: ProjectContext) -> None:
    targets = Targets(project)
    task = targets.task(job(targets, "shipping"))
    assert isinstance(task, Durable)
    assert (task.offload, task.operations_max) == (None, 3000)


@pytest.mark.covers("project.deploy", "deploy.execution_timeout", "deploy.retention")
def test_deploy_bounds_executions_here_too(tmp_path: Path) -> None:
    project = made(tmp_path, FUNCTIONS + "    deploy: {function: f, execution_timeout: 2h, retention: 3d}\n")
    found = Targets(project).resolve("parcels:live")
    assert found is not None
    assert (found.execution_timeout_seconds, found.retention_days) == (7200, 3)


@pytest.mark.covers("target.durable")
def test_a_durable_function_of_an_sdk_is_called_with_the_durable_event_and_led_to_the_service(
    project: ProjectContext, tmp_path: Path
) -> None:
    targets = Targets(project, endpoint="http://127.0.0.1:7777")
    found = targets.resolve("risk:1")
    assert found is not None
    assert (found.is_durable, found.version) == (True, "1")
    assert targets.has_sdk_functions
    task = targets.task(job(targets, "risk:1"))
    assert isinstance(task, Sdk)
    assert (task.handler, task.event) == ("functions.risk:handler", {"DurableExecutionArn": "arn"})
    assert (task.function_name, task.function_version, task.tenant_id) == ("risk", "1", "blue")
    assert (task.environment.roots, task.environment.folder) == ((tmp_path,), tmp_path)
    env = dict(task.environment.env)
    assert (env["TABLE"], env["AWS_ENDPOINT_URL_LAMBDA"]) == ("orders", "http://127.0.0.1:7777")


def test_a_project_without_functions_of_an_sdk_has_none(tmp_path: Path) -> None:
    targets = Targets(made(tmp_path, FUNCTIONS.replace("{durable:", "{python:")))
    assert not targets.has_sdk_functions
    assert not Targets().has_sdk_functions


# Plain targets.


@pytest.mark.covers("target.python")
def test_a_python_target_runs_from_the_project_folder_with_its_environment(
    project: ProjectContext, tmp_path: Path
) -> None:
    targets = Targets(project, {"REGION": "us"})
    task = targets.task(job(targets, "inventory:live"))
    assert isinstance(task, Python)
    assert (task.handler, task.payload, task.tenant_id) == ("functions.inventory:handler", '{"a":1}', "blue")
    assert (task.label, task.function_name) == ("the_state", "inventory")
    assert (task.environment.roots, task.environment.folder) == ((tmp_path,), tmp_path)
    assert dict(task.environment.env) == {"TABLE": "orders", "REGION": "us"}


@pytest.mark.covers("target.command")
def test_a_command_runs_in_the_project_folder(project: ProjectContext, tmp_path: Path) -> None:
    targets = Targets(project)
    task = targets.task(job(targets, "legacy"))
    assert isinstance(task, Command)
    assert (task.arguments, task.environment.folder, task.payload) == (("node", "legacy.js"), tmp_path, '{"a":1}')


@pytest.mark.covers("target.error", "answer.name", "answer.message", "answer.data")
def test_a_list_gives_one_answer_for_each_call_and_repeats_its_last(project: ProjectContext) -> None:
    targets = Targets(project)
    busy = {"ErrorType": "Busy", "ErrorMessage": "later", "ErrorData": '{"in":5}'}
    assert end_of(targets, "fraud") == End(text='{"score":1}')
    assert end_of(targets, "fraud", call_number=1).error == busy
    assert end_of(targets, "fraud", call_number=9).error == busy


@pytest.mark.covers("target.result")
def test_a_single_answer_is_always_given(project: ProjectContext) -> None:
    assert end_of(Targets(project), "rate", call_number=3) == End(text="null")


def test_an_emulator_is_called_by_its_url_and_aws_by_the_arn_if_it_may_be(project: ProjectContext) -> None:
    url = "http://127.0.0.1:9000/2015-03-31/functions/function/invocations"
    arn = "arn:aws:lambda:eu-west-1:123456789012:function:ledger:live"
    allowed = Targets(project, allow_aws=True)
    for targets, name, place in (
        (Targets(project), "pricing", url),
        (allowed, "pricing", url),
        (allowed, "ledger", arn),
    ):
        task = targets.task(job(targets, name))
        assert task == Remote(id="j1", label="the_state", place=place, payload='{"a":1}', tenant_id="blue")
    assert end_of(Targets(project), "ledger").error == {
        "ErrorType": "AccessDenied",
        "ErrorMessage": "'ledger' is a function on AWS, which is called only with --allow-aws",
    }


def test_a_job_whose_function_has_gone_is_an_error(project: ProjectContext) -> None:
    gone = job(Targets(project), "rate")
    task = Targets().task(gone)
    assert isinstance(task, Fixed)
    assert task.end.error is not None
    assert task.end.error["ErrorType"] == "ResourceNotFoundException"


# What a worker process does calls with.

TOOLS = """
    durableflow: "1"
    secrets: {token: {env: PAY_TOKEN}}
    http: {allow: ["127.0.0.1:9000"]}
    aws: {allow: ["s3:*"]}
    actions: {"dynamodb:put_item": [{result: {}}, {error: {name: Busy}}]}
    http_answers: {"GET https://a.example/": {python: "answers:get"}}
"""


def test_a_worker_process_is_told_of_answers_lists_and_the_names_of_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAY_TOKEN", "c4n4ry")
    targets = Targets(made(tmp_path, TOOLS, order=WORKFLOW), allow_aws=True)
    environment = targets.workflow("order").environment
    assert json.loads(environment.tools) == {
        "actions": {
            "dynamodb:put_item": [{"result": {}}, {"error": {"name": "Busy", "message": "", "data": None}}],
        },
        "http_answers": {"GET https://a.example/": {"python": "answers:get"}},
        "http_allow": ["127.0.0.1:9000"],
        "aws_allow": ["s3:*"],
        "allow_aws": True,
        "secrets": {"token": "PAY_TOKEN"},
        "folder": str(tmp_path),
    }


def test_without_a_project_there_are_no_answers_and_no_secrets(tmp_path: Path) -> None:
    plan = Targets(made(tmp_path, order=WORKFLOW)).workflow("order").plan
    targets = Targets(allow_aws=True)
    targets.register(plan, tmp_path)
    tools = json.loads(targets.workflow("order").environment.tools)
    assert tools == {**json.loads(NO_TOOLS), "allow_aws": True}
