"""What can go wrong while a workflow runs, by the names that `errors` of retriers and catchers match?

Diagnostics have codes and pages (`pages.py`), faults have names. Each name that the engine itself raises stands here
once; `validate --explain` prints its entry and `docs/faults.md` is made of them. What matches a name is not said here
but asked of `faults.py`, which decides it when a workflow runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from durableflow import faults
from durableflow.errors import Fault, Origin

_LINK: Final = re.compile(r"\[([^\]]*)\]\([^)]*\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """One error name, or a family of them.

    Args:
        name: `States.Timeout`, or a family with what varies in angle brackets: `Http.<status>`.
        when: Markdown: what has happened.
        data: Markdown: what `error.data` is.
        work: whether a work state's own work has failed, which `States.TaskFailed` matches: yes, no, or Markdown that
            says for which states it has.
    """

    name: str
    when: str
    data: str = "null"
    work: str = "no"

    @property
    def is_family(self) -> bool:
        """Whether it stands for many names."""
        return "<" in self.name

    @property
    def caught(self) -> str:
        """Markdown: what in `errors` matches it."""
        if self.name == faults.NON_DETERMINISTIC:
            return "nothing"
        own = "its name" if self.is_family else f"`{self.name}`"
        if not faults.matches([faults.ALL], Fault(self.name)):
            return f"only {own}"
        found = f"{own}, patterns, `{faults.ALL}`"
        if self.name == faults.TASK_FAILED or self.work == "no":
            return found
        if not faults.matches([faults.TASK_FAILED], Fault(self.name, origin=Origin(is_work=True))):
            return found
        return f"{found}, `{faults.TASK_FAILED}`" + ("" if self.work == "yes" else f" ({self.work})")

    def to_markdown(self) -> str:
        """Return it as a row of the documentation."""
        return f"| `{self.name}` | {self.when} | {self.data} | {self.caught} |"

    def __str__(self) -> str:
        """Return it as it is printed."""
        # A terminal follows no links.
        lines = [self.name, self.when, f"error.data: {self.data}", f"caught by: {self.caught}"]
        return "\n\n".join(_LINK.sub(r"\1", line).replace(r"\|", "|") for line in lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """Names that belong together.

    Args:
        title: what they are about.
        introduction: Markdown.
        names: in the order of the documentation.
    """

    title: str
    introduction: str
    names: tuple[Name, ...]


CHAPTERS: Final = (
    Chapter(
        title="Names of the language",
        introduction="""\
They begin with `States.`, which nobody else's names do: a handler or function that reports such a name is seen with
`Worker.` in front.""",
        names=(
            Name(
                name=faults.TIMEOUT,
                when="The `timeout` of a state or workflow is over; a callback was not answered in time; AWS or a "
                "server did not answer in time; a function or child execution ran into a time limit of its own",
            ),
            Name(name=faults.HEARTBEAT_TIMEOUT, when="No sign of life within `heartbeat_timeout`"),
            Name(
                name=faults.TASK_FAILED,
                when="An invoke or child workflow failed and said nothing about the reason",
                work="yes",
            ),
            Name(
                name=faults.QUERY_EVALUATION,
                when="A template or expression has no value, takes too much, or gives what cannot stand there: `items` "
                "that is no list, a duration that is none, a request or function name that cannot be sent",
            ),
            Name(
                name=faults.RESULT_INVALID,
                when="A result is not JSON, or does not fit `result_schema`; an answer to a callback likewise",
                work="of a step, aws or http; of an invoke or workflow when the result is not JSON",
            ),
            Name(
                name=faults.DATA_LIMIT,
                when="A result, payload or output has too many bytes ([the limits](lambda.md))",
                data="null; `{limit}` for a body that an aws state streams",
            ),
            Name(
                name=faults.PERMISSIONS,
                when="Access is denied: by AWS, by the list of actions or functions that are allowed, or because an "
                "address may not be reached",
                work="yes",
            ),
            Name(
                name=faults.RUNTIME,
                when="The definition cannot go on although it validated: an aws state names a service or action that "
                "the installed botocore does not have, or one that streams events",
            ),
            Name(
                name=faults.STEP_INTERRUPTED,
                when="An attempt with `semantics: at_most_once` was cut off; it may have had its effect",
                work="yes",
            ),
            Name(
                name=faults.CALLBACK_FAILED,
                when="A callback was answered with a failure",
                data="`{type}`, the name that was reported, and the members of the report's own data; data that is no "
                "object is `data`",
            ),
            Name(
                name=faults.CONDITION_NOT_MET,
                when="A wait_for_condition has made `max_attempts` checks and its `until` does not hold",
            ),
            Name(
                name=faults.LOOP_LIMIT,
                when="A loop would go on after `max_iterations`, or `next` came to a state for the 10,001st time",
            ),
            Name(
                name=faults.TOLERANCE_EXCEEDED,
                when="More items or branches have failed than `completion` bears, or fewer than `min_successful` "
                "have succeeded",
                data="`{total, succeeded, failed, reason, failures}`, the first ten failures",
            ),
            Name(
                name=faults.COMPENSATION_FAILED,
                when="An undo list has failed where `compensation` says `on_error: fail`",
                data="`{original, failed}`, each `{name, message, state}`",
            ),
            Name(
                name=faults.INPUT_INVALID,
                when="The input does not fit `input.schema`, is not JSON, or names no workflow of the function. "
                "Nothing has run, so only whoever has started the workflow can catch it",
                work="of a child workflow",
            ),
            Name(
                name=faults.OUTPUT_INVALID,
                when="The workflow's `output` fails or does not fit `output_schema`. Only whoever has started the "
                "workflow can catch it",
                work="of a child workflow",
            ),
            Name(
                name=faults.OPERATION_LIMIT,
                when="The execution would take more operations than it may have. Fifty are kept for what catches it",
            ),
            Name(name=faults.STOPPED, when="A child execution was stopped from outside", work="yes"),
            Name(name=faults.CANCELLED, when="A child execution was cancelled from outside", work="yes"),
        ),
    ),
    Chapter(
        title="Steps, aws and http",
        introduction="""\
[http.md](http.md#what-goes-wrong) and [aws.md](aws.md#errors) say more, [secrets.md](secrets.md) where secrets come
from. What a `wait_for_condition` checks with fails with the same names, and is no work of a work state:
`States.TaskFailed` does not match it there.""",
        names=(
            Name(
                name="<Exception>",
                when="A handler raised an exception: the bare name of its class. A `durableflow.Fault` has the name "
                "that it was given",
                data="null; of a `Fault` its own",
                work="yes",
            ),
            Name(
                name="ValidationError",
                when="The payload does not fit the pydantic model that the handler takes",
                data="`[{loc, type, msg}]`",
                work="yes",
            ),
            Name(
                name="Runtime.ImportModuleError",
                when="The module of a handler is not there or cannot be imported",
                work="yes",
            ),
            Name(name="Runtime.HandlerNotFound", when="The module has no such function", work="yes"),
            Name(
                name="Http.<status>",
                when="A server has answered with a status that is none of `success`: `Http.404`",
                data="`{status, headers, body}`, of headers and body what fits in 6 KiB each",
                work="yes",
            ),
            Name(
                name="Http.ConnectionError",
                when="No such host, no connection, no valid certificate, an answer that is cut off or no HTTP",
                work="yes",
            ),
            Name(
                name="<Service>.<Code>",
                when="An AWS service refuses: `DynamoDB.ConditionalCheckFailedException`",
                data="`{code, status, request_id}`, and `details` where the service says more",
                work="yes",
            ),
            Name(name="<Service>.ParamValidationError", when="Parameters do not fit the action", work="yes"),
            Name(name="<Service>.ConnectionError", when="No connection to AWS, or one that broke", work="yes"),
            Name(
                name="<Service>.<Exception>",
                when="Another exception of botocore: `DynamoDB.NoRegionError`",
                work="yes",
            ),
            Name(
                name="Secret.NotFound",
                when="A secret has no value on this machine. On AWS it is the service's own error: "
                "`SecretsManager.ResourceNotFoundException`",
                work="yes",
            ),
            Name(
                name="Secret.KeyNotFound",
                when="A secret on AWS has no such key, or null under it",
                work="yes",
            ),
            Name(
                name="Secret.Invalid",
                when="A secret on AWS is binary or, with a key, no JSON object",
                work="yes",
            ),
        ),
    ),
    Chapter(
        title="Functions and child workflows",
        introduction="""\
What a function reports as `errorType` is its name here. A child workflow's error has the name that it had there. When
a plain function runs on this machine it fails as it would on Lambda.""",
        names=(
            Name(
                name="Lambda.<Exception>",
                when="The Invoke API refuses: each exception of `Invoke`, `Lambda.TooManyRequestsException`. Here: "
                "`Lambda.ResourceNotFoundException`, there is no such function; `Lambda.ServiceException`, one "
                "behind `http` or `lambda` cannot be reached; `Lambda.InvalidParameterValueException`, a child "
                "execution's result is too large; `Lambda.RecursiveInvocationException`, executions have started one "
                "another 16 deep",
                work="yes",
            ),
            Name(
                name="Worker.<name>",
                when="A name that is the engine's own, reported by somebody else: `Worker.States.Timeout` by a "
                "handler or function, `Worker.States.Runtime` by a child workflow",
                data="as it was reported",
                work="yes",
            ),
            Name(
                name="CommandFailed",
                when="A command of the project file ended with an exit code other than 0, did not start, or wrote no "
                "UTF-8",
                work="yes",
            ),
            Name(name="Runtime.ExitError", when="The process of a function has ended, or does not start", work="yes"),
            Name(name="Runtime.MarshalError", when="A function has returned what is no JSON", work="yes"),
            Name(
                name="Function.ResponseSizeTooLarge",
                when="A function's result has more than 6 MiB",
                work="yes",
            ),
            Name(
                name="Runtime.StartError",
                when="A function or workflow of the project cannot be started: its file has problems now",
                work="yes",
            ),
            Name(
                name="Runtime.Unknown",
                when="This machine could not run a function: no processes or files are left",
                work="yes",
            ),
        ),
    ),
    Chapter(
        title="What nothing catches",
        introduction="""\
The execution fails with it at once: no catcher, compensation or `finally` runs. Whoever has started it sees it with
`Worker.` in front, and can catch that.""",
        names=(
            Name(
                name=faults.NON_DETERMINISTIC,
                when="What is recorded does not fit the definition any more ([replay.md](replay.md))",
            ),
        ),
    ),
)

UNSEEN: Final = {
    "Callback.Timeout": faults.TIMEOUT,
    "Callback.Heartbeat": faults.HEARTBEAT_TIMEOUT,
    "ChainedInvoke.Timeout": faults.TIMEOUT,
    "Sandbox.Timedout": faults.TIMEOUT,
    "Execution.Timeout": faults.TIMEOUT,
}
"""Names on the wire that a workflow sees as another."""

GROUPS: Final = {
    faults.ALL: f"everything but {', '.join(f'`{name}`' for name in sorted(faults.ONLY_BY_EXACT_NAME))}",
    faults.TASK_FAILED: "every error of a work state's own work (invoke, step, aws, http, workflow), except "
    f"`{faults.TIMEOUT}` and `{faults.HEARTBEAT_TIMEOUT}`; and the error of that name",
    faults.BRANCH_FAILED: "every error that came out of an item of a map or a branch of a parallel",
}
"""What the names that are groups match (rule 14)."""

_INTRODUCTION: Final = f"""\
# Error names

What can go wrong while a workflow runs has a name. `errors` of a retrier or catcher lists names, patterns (`*`, `?`,
`[abc]`, upper and lower case being different) and three groups:

| group | matches |
|---|---|
{"".join(f"| `{name}` | {matched} |{chr(10)}" for name, matched in GROUPS.items())}
The three that `{faults.ALL}` leaves out are caught by their whole names and by nothing else, no `*` either. A retrier
also leaves {" and ".join(f"`{name}`" for name in sorted(faults.NEVER_RETRIED_BY_GLOB))} alone unless it names them:
the same template would fail again. An error that nothing catches ends the execution FAILED with its name and message.

These are the names that durableflow raises itself; `fail` states, handlers and functions add their own. With each goes
what `error.data` is in the catcher, and what in `errors` matches it. `durableflow validate --explain NAME` prints the
same.
"""


def known() -> dict[str, Name]:
    """Return every name and family, by name."""
    return {name.name: name for chapter in CHAPTERS for name in chapter.names}


def explained(text: str) -> str | None:
    """Return what is known of an error name (of its family, where it has no entry) or group; None for nothing."""
    entries = known()
    families = (name for name in entries.values() if name.is_family and not name.name.startswith("<"))
    found = entries.get(text) or next((each for each in families if text.startswith(each.name.partition("<")[0])), None)
    parts = [] if found is None else [str(found)]
    if text in GROUPS:
        parts.append(f"As a group, {text} matches {GROUPS[text]}.")
    return "\n\n".join(parts) or None


def documentation() -> str:
    """Return `docs/faults.md`."""
    parts = [_INTRODUCTION]
    for chapter in CHAPTERS:
        head = ["| name | when | `error.data` | caught by |", "|---|---|---|---|"]
        rows = "\n".join([*head, *(name.to_markdown() for name in chapter.names)])
        parts.append(f"## {chapter.title}\n\n{chapter.introduction}\n\n{rows}\n")
    head = ["| on the wire | in a workflow |", "|---|---|"]
    rows = "\n".join([*head, *(f"| `{name}` | `{seen}` |" for name, seen in UNSEEN.items())])
    introduction = "The history of an execution may show names that a workflow never sees."
    parts.append(f"## Names on the wire\n\n{introduction}\n\n{rows}\n")
    return "\n".join(parts)
