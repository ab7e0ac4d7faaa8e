"""The commands around a project's files: `init`, `schema`, `graph`, `compile`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from shell import Shell, shell

from durableflow.cli.project import STARTER
from durableflow.model import project_schema, workflow_schema
from durableflow.plan import Settings, from_bundle, settings_of

__all__ = ["shell"]

ROOT = Path(__file__).parent.parent
ORDER = ROOT / "workflows" / "order_basic.yaml"
PACKAGE = ROOT / "durableflow" / "cli" / "starter"


def test_a_new_project_validates_runs_and_tests_at_once(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = shell("init", tmp_path / "new")
    assert made.code == 0
    monkeypatch.chdir(tmp_path / "new")

    assert shell("validate", "--strict").code == 0
    given = '{"name": "Ada", "address": "ada@example.org"}'
    ran = shell("run", "workflows/welcome.yaml", "--input", given, "--skip-time")
    assert (ran.code, json.loads(ran.out)) == (0, {"sent": True, "text": "Hello, Ada!"})
    assert "to ada@example.org: Hello, Ada! How do you do?" in ran.err
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    subprocess.run(tests, check=True, capture_output=True, env=environment)


def test_a_new_project_has_the_schemas_that_its_files_name(shell: Shell, tmp_path: Path) -> None:
    shell("init", tmp_path)

    for name in ("durableflow.yaml", "workflows/welcome.yaml"):
        file = tmp_path / name
        comment, _, text = file.read_text().partition("\n")
        schema = json.loads((file.parent / comment.partition("$schema=")[2]).read_text())
        jsonschema.Draft202012Validator(schema).validate(yaml.safe_load(text))


def test_what_init_writes_is_all_that_the_package_has_for_it() -> None:
    kept = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc"}

    assert kept == set(STARTER)


def test_init_leaves_what_is_there_alone(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")

    for path in (tmp_path, tmp_path / "mine"):
        ran = shell("init", path)
        assert ran.code == 2
        assert "DF790" in ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_schemas_are_printed_as_the_repository_has_them(shell: Shell) -> None:
    assert json.loads(shell("schema").out) == json.loads(shell("schema", "workflow").out) == workflow_schema()
    assert json.loads(shell("schema", "project").out) == project_schema()
    for which in ("workflow", "project"):
        assert shell("schema", which).out == (ROOT / "schemas" / f"{which}.schema.json").read_text()


@pytest.mark.parametrize(("form", "first"), [("mermaid", "flowchart TD"), ("dot", 'digraph "order_basic" {')])
def test_a_workflow_is_drawn(shell: Shell, form: str, first: str) -> None:
    ran = shell("graph", ORDER, "--format", form)

    assert ran.code == 0
    assert ran.out.splitlines()[0] == first
    assert "choose_carrier" in ran.out


def test_what_has_not_the_shape_of_a_workflow_is_not_drawn(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text('durableflow: "1"\nname: x\nstates: [{name: a, type: jump}]\n')

    ran = shell("graph", tmp_path / "bad.yaml")

    assert (ran.code, ran.out) == (1, "")
    assert "'jump' is not a type of state" in ran.err


def test_a_compiled_plan_is_the_same_each_time_and_loads(shell: Shell, tmp_path: Path) -> None:
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    assert shell("compile", ORDER, "-o", one).code == 0
    assert shell("compile", ORDER, "--output", two).code == 0

    assert one.read_bytes() == two.read_bytes()
    assert shell("compile", ORDER, "-o", "-").out == one.read_text()
    assert list(from_bundle(json.loads(one.read_text()))) == ["order_basic"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.json", "two.json"]


def test_two_workflows_of_one_name_do_not_fit_in_a_plan(shell: Shell, tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text('durableflow: "1"\nname: same\nstates: [{name: a, type: pass}]\n')

    ran = shell("compile", tmp_path / "a.yaml", tmp_path / "b.yaml", "-o", tmp_path / "plan.json")

    assert ran.code == 2
    assert "DF791" in ran.err
    assert not (tmp_path / "plan.json").exists()


def test_a_plan_has_what_the_function_has_to_know_of_the_project(shell: Shell, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, name in ((one, "a"), (other, "b")):
        folder.mkdir()
        (folder / "w.yaml").write_text(f'durableflow: "1"\nname: {name}\nstates: [{{name: p, type: pass}}]\n')
    said = "offload: {directory: kept}\nlimits: {operations: 40}\nhttp: {allow: [local:80]}\naws: {allow: []}\n"
    (one / "durableflow.yaml").write_text(f'durableflow: "1"\n{said}')
    (other / "durableflow.yaml").write_text('durableflow: "1"\noffload: {threshold: 2KB, s3: results/p}\n')

    assert settings_of(json.loads(shell("compile", one / "w.yaml", "-o", "-").out)) == Settings(
        operations_max=40, http_allow=("local:80",), aws_allow=()
    )
    assert settings_of(json.loads(shell("compile", other / "w.yaml", "-o", "-").out)) == Settings(
        offload_bytes=2_048, offload_s3="results/p"
    )
    ran = shell("compile", one / "w.yaml", other / "w.yaml", "-o", "-")
    assert (ran.code, ran.out) == (2, "")
    assert "DF791" in ran.err


def test_a_plan_that_cannot_be_written_is_the_environments_fault(shell: Shell, tmp_path: Path) -> None:
    ran = shell("compile", ORDER, "-o", tmp_path / "missing" / "plan.json")

    assert ran.code == 3
    assert "DF793" in ran.err


def test_a_workflow_with_problems_writes_nothing(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text('durableflow: "1"\nname: x\nstates: [{name: a, type: pass, next: b}]\n')

    ran = shell("compile", tmp_path / "bad.yaml", "-o", tmp_path / "plan.json")

    assert ran.code == 1
    assert "DF302" in ran.err
    assert not (tmp_path / "plan.json").exists()
