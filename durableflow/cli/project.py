"""The commands around a project's files: `init`, `schema`, `graph`, `compile`."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import click

from durableflow import graph
from durableflow.cli import console, loading
from durableflow.model import project_schema, workflow_schema
from durableflow.plan import NO_SETTINGS, to_bundle
from durableflow.source import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

STARTER: Final = {
    "README.md": "README.md",
    "gitignore": ".gitignore",  # under its own name it would hide files from this repository
    "durableflow.yaml": "durableflow.yaml",
    "workflows/welcome.yaml": "workflows/welcome.yaml",
    "handlers/greetings.py": "handlers/greetings.py",
    "functions/mail.py": "functions/mail.py",
    "tests/test_welcome.py": "tests/test_welcome.py",
}
"""The files of a new project: where each stands in this package, and in the project."""


@click.command("init")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def init_command(folder: Path) -> None:
    """Make a new project in DIR, which may exist if it is empty.

    It runs and tests at once: a workflow with a step, a wait and an invoke, its handler and function, a test, and the
    JSON Schemas for your editor.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        console.usage(
            "DF790", f"'{shown(str(folder))}' exists and is not an empty folder", "give the name of a new one"
        )
    starter = resources.files("durableflow.cli") / "starter"
    for kept_as, name in STARTER.items():
        _write(folder / name, starter.joinpath(kept_as).read_text(encoding="utf-8"))
    _write(folder / "schemas/workflow.schema.json", _json(workflow_schema()))
    _write(folder / "schemas/project.schema.json", _json(project_schema()))
    console.tell(f"made a project in {shown(str(folder))}; try:")
    console.tell(f"  cd {shown(str(folder))}")
    console.tell("  durableflow validate")
    given = '{"name": "Ada", "address": "ada@example.org"}'
    console.tell(f"  durableflow run workflows/welcome.yaml --input '{given}' --skip-time")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@click.command("schema")
@click.argument("which", type=click.Choice(["workflow", "project"]), default="workflow")
def schema_command(which: Literal["workflow", "project"]) -> None:
    """Print the JSON Schema of workflow files, or of project files (durableflow.yaml).

    Editors check and complete against it: save it, and name it in the first line of a workflow file:

    \b
        # yaml-language-server: $schema=schemas/workflow.schema.json
    """  # noqa: D301 - the mark of click is the control character
    console.emit(_json(workflow_schema() if which == "workflow" else project_schema()).rstrip("\n"))


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


@click.command("graph")
@click.argument("workflow", type=click.Path(path_type=Path))
@click.option(
    "--format", "form", type=click.Choice(graph.FORMS), default="mermaid", help="Mermaid (default) or Graphviz."
)
def graph_command(workflow: Path, form: graph.Form) -> None:
    """Draw WORKFLOW as text: Mermaid, which GitHub and many editors show, or dot for Graphviz."""
    console.emit(graph.draw(loading.decoded(workflow), form))


@click.command("compile")
@click.argument("workflows", metavar="WORKFLOW...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("plan.json"),
    help="Default: plan.json; - for standard output.",
)
@click.option("--project", type=click.Path(path_type=Path), help="The project file, or its folder.")
@click.option("--no-import", is_flag=True, help="Do not import handlers to check that they exist.")
def compile_command(workflows: Sequence[Path], output: Path, project: Path | None, *, no_import: bool) -> None:
    """Compile each WORKFLOW into one plan.json, which the Lambda handler durableflow.aws.handler runs.

    The plan is the same, byte for byte, for the same workflows; it holds everything that running them needs, and of
    their project file what the function has to know: `offload` to a bucket, `limits`, `http` and `aws`.
    """
    loaded = [loading.load(path, project=project, check_handlers=not no_import) for path in workflows]
    plans = {item.plan.name: item.plan for item in loaded}
    if len(plans) < len(loaded):
        console.usage("DF791", "two of these workflows have the same name", "names are unique in a plan; rename one")
    settings = {item.context.settings if item.context else NO_SETTINGS for item in loaded}
    if len(settings) > 1:
        hint = "compile each project into a plan of its own"
        console.usage("DF791", "these workflows belong to projects with different settings for Lambda", hint)
    text = _json(to_bundle(list(plans.values()), *settings))
    if str(output) == "-":
        console.emit(text.rstrip("\n"))
        return
    console.write_whole(output, text)
    for plan in plans.values():
        console.tell(f"{shown(plan.name)} {plan.digest[:12]}")
    console.tell(f"wrote {shown(str(output))} ({len(text.encode()):,} bytes)")
