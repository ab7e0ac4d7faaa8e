"""The `completion` command, and the names that a shell completes: those of this machine, where they are cheap."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import CompletionItem, get_completion_class

from durableflow.cli import console
from durableflow.errors import DurableflowError

if TYPE_CHECKING:
    from collections.abc import Iterator

SHELLS: Final = ("bash", "zsh", "fish")
_VARIABLE: Final = "_DURABLEFLOW_COMPLETE"
_NAMES_MAX: Final = 200


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
def completion_command(shell: str) -> None:
    """Print the script that lets SHELL complete commands, options and names.

    For bash: add `eval "$(durableflow completion bash)"` to ~/.bashrc; for zsh the same with zsh to ~/.zshrc; for fish:
    `durableflow completion fish > ~/.config/fish/completions/durableflow.fish`.
    """
    found = get_completion_class(shell)
    assert found is not None, "click has these three"
    root = click.get_current_context().find_root().command
    made = found(root, {}, "durableflow", _VARIABLE)
    # Not `source()`, which for bash starts bash to see how old it is: whoever wants the script may be elsewhere.
    console.emit((made.source_template % made.source_vars()).strip())


def complete_executions(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the names of executions of the store that is meant, the newest first; none of elsewhere."""
    with suppress(DurableflowError, OSError):
        return [CompletionItem(name, help=status) for name, status in _executions(context.params, incomplete)]
    return []


def _executions(given: dict[str, Any], incomplete: str) -> Iterator[tuple[str, str]]:
    from durableflow.cli import stores  # noqa: PLC0415 - completion of all else stays quick

    if any(given.get(option) for option in ("endpoint_url", "profile", "region")):
        return
    store, project = given.get("store"), given.get("project")
    with stores.reader(stores.place_of(store and Path(store), project and Path(project))) as service:
        found = service.list_executions(MaxItems=_NAMES_MAX)["DurableExecutions"]
    names = {each["DurableExecutionName"]: each["Status"] for each in reversed(found)}
    yield from ((name, names[name]) for name in reversed(names) if name.startswith(incomplete))


def complete_functions(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the names of workflows and functions of the project."""
    from durableflow.cli import loading  # noqa: PLC0415 - as above

    with suppress(DurableflowError, OSError):
        project = context.params.get("project")
        found = loading.project_of(Path.cwd(), project and Path(project))
        names = {*found.workflows, *found.project.functions} if found else set[str]()
        return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]
    return []
