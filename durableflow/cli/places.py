"""Where are the executions that a command means? In a store here, at the address of a service, or on AWS.

A place speaks Lambda's API under the wire's names, whoever answers: what most commands need is `ask`. What the API has
no operation for (all executions, the open callbacks of one, its logs) each place finds in its own way.
"""

from __future__ import annotations

import functools
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import click

from durableflow.cli import awscli, console, stores
from durableflow.source import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
    from pathlib import Path

ENDPOINT_VARIABLE: Final = "DURABLEFLOW_ENDPOINT_URL"
"""Stands for `--endpoint-url`. The AWS CLI's own variables count once a command goes to AWS and not before: a terminal
that is set up for AWS does not turn commands for this machine into commands for another."""


ENDS: Final = frozenset({"ExecutionSucceeded", "ExecutionFailed", "ExecutionTimedOut", "ExecutionStopped"})
"""The events after which there are no more."""


class Place(Protocol):
    """Where executions are. Times are in epoch seconds, as on the wire."""

    name: str
    """What messages call it: `here`, or `at ADDRESS`."""

    def ask(self, operation: str, /, **members: Any) -> dict[str, Any]:
        """Have an operation of the API done and return its reply.

        Args:
            operation: as boto3's methods are called.
            members: by the API's names; one that is None is not given.

        Raises:
            ServiceError: it is refused.
            UsageError: the place cannot be reached.
        """
        ...

    def executions(
        self, *, function: str | None, name: str | None = None, statuses: Sequence[str] = (), limit: int = 0
    ) -> Iterator[Mapping[str, Any]]:
        """Give executions as the API lists them, newest first.

        Args:
            function: whose; None for those of all functions.
            name: only of this name; None for any.
            statuses: only these; none for any.
            limit: how many; 0 for all.
        """
        ...

    def arn_of(self, execution: str, *, function: str | None = None) -> str:
        """Return the ARN of an execution that was given as a name (the newest of that name), an ARN or a callback's id.

        Raises:
            UsageError: DF796, there is none.
        """
        ...

    def events(self, arn: str) -> Iterator[Mapping[str, Any]]:
        """Give the events of an execution up to now."""
        ...

    def follow(self, arn: str) -> Iterator[Mapping[str, Any]]:
        """Give the events of an execution as they happen, up to the one that ends it."""
        ...

    def logs(self, arn: str, *, follow: bool) -> Iterator[Mapping[str, Any]]:
        """Give the lines that handlers and functions of an execution wrote: `{Timestamp, Message, Name?, RequestId?}`.

        Args:
            arn: of the execution.
            follow: whether to go on with those that come, until the execution has ended.
        """
        ...

    def callbacks(self, arn: str | None = None) -> list[Mapping[str, Any]]:
        """Return the open callbacks of an execution and of those that it has started; see `callback_facts`.

        Args:
            arn: of the execution; None for all, where the place can tell.
        """
        ...

    def callback_id(self, asked: str, *, execution: str | None, function: str | None) -> str:
        """Return the id of the one open callback that is meant.

        Args:
            asked: an id, the name of the state that waits, or the name or ARN of the execution.
            execution: only callbacks of this one.
            function: of the execution.

        Raises:
            UsageError: DF780, none is open.
            Ended: several are.
        """
        ...

    def callback(self, callback_id: str) -> Mapping[str, Any] | None:
        """Return what is known of a callback, see `callback_facts`; None where nothing can be."""
        ...

    def meter(self, arn: str, events: Sequence[Mapping[str, Any]]) -> Mapping[str, int]:
        """Return what an execution took: `operations`, `invocations` and, where it is known, `metered`, `failures`.

        Args:
            arn: of the execution.
            events: all there are.
        """
        ...

    def words(self) -> list[str]:
        """Return the options that mean this place in another command of ours, typed in this folder."""
        ...

    def is_run(self) -> bool:
        """Say whether somebody runs the executions of this place."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """The place as the options say it.

    Args:
        store: the file of executions.
        project: the project file, or its folder.
        endpoint_url: the address of a service.
        profile: of the user's configuration for AWS.
        region: of AWS.
        shows_aws: whether the equal command of the AWS CLI is to be shown; None for where it helps.
    """

    store: Path | None = None
    project: Path | None = None
    endpoint_url: str | None = None
    profile: str | None = None
    region: str | None = None
    shows_aws: bool | None = None

    @property
    def is_remote(self) -> bool:
        """Whether a client of AWS has to ask."""
        return any(word is not None for word in (self.endpoint_url, self.profile, self.region))

    def show_aws(self, operation: str, **members: Any) -> None:
        """Show the command of the AWS CLI that asks the same, where it is wanted."""
        is_wanted = self.shows_aws
        if is_wanted is None:
            is_wanted = self.is_remote and sys.stderr.isatty()
        if is_wanted:
            line = awscli.command(
                operation, members, endpoint_url=self.endpoint_url, profile=self.profile, region=self.region
            )
            console.tell(click.style(console.visible(line), dim=True))


def where_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say where, as one argument `where`."""

    @functools.wraps(command)
    def collected(
        *arguments: Any,
        store: Path | None,
        project: Path | None,
        endpoint_url: str | None,
        profile: str | None,
        region: str | None,
        shows_aws: bool | None,
        **options: Any,
    ) -> Any:
        where = Where(
            store=store,
            project=project,
            endpoint_url=_endpoint(endpoint_url, store=store, project=project),
            profile=profile,
            region=region,
            shows_aws=shows_aws,
        )
        if where.is_remote and (store is not None or project is not None):
            console.usage("DF797", "a store is on this machine: --store and --project exclude the options of AWS")
        return command(*arguments, where=where, **options)

    made: Callable[..., Any] = collected
    for option in reversed(_OPTIONS):
        made = option(made)
    return made


_OPTIONS = (
    stores.store_option,
    stores.project_option,
    click.option("--endpoint-url", metavar="URL", help="A service elsewhere, such as that of `durableflow serve`."),
    click.option("--profile", metavar="NAME", help="AWS, with this profile."),
    click.option("--region", metavar="REGION", help="AWS, in this region."),
    click.option(
        "--show-aws/--no-show-aws",
        "shows_aws",
        default=None,
        help="Show the command of the AWS CLI that does the same.",
    ),
)
function_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--function", metavar="NAME", help="Only executions of this function."
)


def _endpoint(given: str | None, *, store: Path | None, project: Path | None) -> str | None:
    """Return the address that was given or, where nothing says otherwise, that of the environment."""
    if given is not None or store is not None or project is not None:
        return given
    return os.environ.get(ENDPOINT_VARIABLE) or None


@contextmanager
def opened(where: Where) -> Generator[Place]:
    """Open the place that is meant.

    Raises:
        UsageError: there is none, or it cannot be reached.
    """
    # boto3 takes long to load, and workers' processes need none of a client's.
    if where.is_remote:
        from durableflow.cli.remote import There  # noqa: PLC0415

        with There(endpoint_url=where.endpoint_url, profile=where.profile, region=where.region) as there:
            yield there
    else:
        from durableflow.cli.here import Here  # noqa: PLC0415

        with Here(stores.place_of(where.store, where.project)) as here:
            yield here


def the_one(asked: str, found: Sequence[Mapping[str, Any]], *, known: Sequence[Mapping[str, Any]], place: str) -> str:
    """Return the id of the one callback that was found.

    Args:
        asked: what was looked for.
        found: what was found.
        known: every open callback.
        place: what messages call it.

    Raises:
        UsageError: DF780, none was.
        Ended: several were.
    """
    if not found:
        console.usage("DF780", f"no callback '{shown(asked)}' is open {place}", _hint(known, place))
    if len(found) > 1:
        console.tell(f"{len(found)} open callbacks are called '{shown(asked)}':")
        for each in found[:_SHOWN_MAX]:
            console.tell(f"  {each['CallbackId']}  {shown(each['Name'])} of execution {each['DurableExecutionName']}")
        if len(found) > _SHOWN_MAX:
            console.tell(f"  and {len(found) - _SHOWN_MAX:,} more")
        console.tell("hint: give the id, the whole name where they differ, or --execution")
        raise console.Ended(console.PROBLEMS)
    one: str = found[0]["CallbackId"]
    return one


_SHOWN_MAX: Final = 20


def _hint(found: Sequence[Mapping[str, Any]], place: str) -> str:
    if not found:
        return f"no execution {place} waits for a callback"
    known = [f"'{shown(each['Name'])}' of execution '{each['DurableExecutionName']}'" for each in found[:5]]
    return f"open: {', '.join(known)}{' and others' if len(found) > len(known) else ''}"
