"""What does every state do alike? Evaluate its templates, keep its result, assign, be tried again.

A :class:`Walker` is what the constructs share on their walk along the Plan: the frontier of the record, the templates'
evaluation with its rule about recorded times, and the records of the states that have run.

Source: language.md 3, 6 and 12, rules 7, 9, 22, 26, 64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias, cast

from durableflow import faults, retries
from durableflow import operations as wire
from durableflow.errors import Fault
from durableflow.expressions import EvaluationError, to_display
from durableflow.library import kind, parse_duration
from durableflow.operations import given_name
from durableflow.scope import Lazy, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from durableflow.decision import SchemaCheck
    from durableflow.expressions import Program
    from durableflow.frontier import Frontier, Steps
    from durableflow.plan import Node, Retrier
    from durableflow.scope import Site
    from durableflow.values import Json, Object


_NOTHING: Final = cast("Steps[None]", ())
"""Steps of which there are none: most states of a replay end so, and a generator for each would double the price."""

ChildTarget: TypeAlias = tuple[str, bool]
"""The function that runs a child workflow, and whether it holds several and has to be told which (rule 52)."""


def _by_name(workflow: str) -> ChildTarget:
    return workflow, False


class Walker:
    """What the constructs share.

    Args:
        frontier: what is recorded.
        check_schema: checks a value against a JSON Schema; without it schemas are not checked.
        child: gives the function that runs a child workflow; without it that is the workflow's name.
        noted: called with what happened and facts, when something happens that no operation shows.
        load: gives the text of a large result that is kept elsewhere, by the pointer to it; with it results may be as
            large as the driver can keep.
    """

    def __init__(
        self,
        frontier: Frontier,
        check_schema: SchemaCheck | None,
        *,
        child: Callable[[str], ChildTarget] | None = None,
        noted: Callable[[str, Object], None] | None = None,
        load: Callable[[Json], str] | None = None,
    ) -> None:
        self.frontier = frontier
        self.load = load
        self.child: Callable[[str], ChildTarget] = child or _by_name
        self._check_schema = check_schema
        self._noted = noted

    # Templates -------------------------------------------------------------------------------------------------------

    def value(self, program: Program, site: Site) -> Steps[Json]:
        """Evaluate; what reads recorded times waits until everything asked for so far is recorded (rule 64).

        Raises:
            Fault: States.QueryEvaluationError.
        """
        if program.is_constant:
            return program.constant
        if self.frontier.unanswered and program.reads_time:
            yield from self.frontier.answers(site.timeline.last)
        return evaluated(program, site)

    def holds(self, program: Program, site: Site) -> Steps[bool]:
        """Evaluate a condition."""
        return bool((yield from self.value(program, site)))

    def text(self, program: Program, site: Site, what: str) -> Steps[str]:
        """Evaluate what must be text; `what` names it in the fault."""
        value = yield from self.value(program, site)
        if not isinstance(value, str):
            raise Fault(faults.QUERY_EVALUATION, f"{what} must be text, not {kind(value)}")
        return value

    def seconds(self, program: Program, site: Site, what: str) -> Steps[float]:
        """Evaluate a duration; `what` names it in the fault."""
        return duration_seconds((yield from self.value(program, site)), what)

    def label(self, label: Program, site: Site) -> Steps[str]:
        """Return the Name on the wire of a state with a label; an empty one is as none (rule 77)."""
        return given_name(to_display((yield from self.value(label, site)))) or site.wire

    def check(self, schema: Json, value: Json, name: str, what: str) -> None:
        """Check a value against a schema.

        Raises:
            Fault: called `name`; its message begins with `what`.
        """
        if self._check_schema is not None and (problem := self._check_schema(schema, value)) is not None:
            raise Fault(name, f"{what} does not fit its schema: {problem}")

    def note(self, happened: str, facts: Object) -> None:
        """Tell what no operation shows; once, not again on every replay."""
        if self._noted is not None and not self.frontier.is_replaying:
            self._noted(happened, facts)

    # Results ---------------------------------------------------------------------------------------------------------

    def finish(
        self, node: Node, site: Site, raw: Lazy, operation: str | None = None, more: Object | None = None
    ) -> Steps[None]:
        """Project a raw result, check it, record the state as succeeded, and assign (rule 7)."""
        if node.output is None and node.result_schema is None and not node.assign:
            site.scope.records[node.name] = Record("succeeded", raw, site.timeline, operation, more)
            return _NOTHING
        # What follows an operation is evaluated on every replay, what came before it only once: so they do not share
        # a budget, or a limit could trip in one invocation and not in another.
        site.renew()
        return self._finish(node, site, raw, operation, more)

    def _finish(self, node: Node, site: Site, raw: Lazy, operation: str | None, more: Object | None) -> Steps[None]:
        result = raw
        if node.output is not None:
            site.extra["result"] = raw.get()
            result = Lazy((yield from self.value(node.output, site)))
        if node.result_schema is not None:
            self.check(node.result_schema, result.get(), faults.RESULT_INVALID, f"the result of '{node.name}'")
        yield from self.keep(node, site, result, operation, more)

    def keep(
        self, node: Node, site: Site, result: Lazy, operation: str | None = None, more: Object | None = None
    ) -> Steps[None]:
        """Record a state as succeeded with its projected result, and assign."""
        site.scope.records[node.name] = Record("succeeded", result, site.timeline, operation, more)
        return self._assigned(node, site, result) if node.assign else _NOTHING

    def _assigned(self, node: Node, site: Site, result: Lazy) -> Steps[None]:
        site.extra["result"] = result.get()
        yield from self.assign(node.assign, site)

    def assign(self, programs: Mapping[str, Program], site: Site) -> Steps[None]:
        """Set variables, all from the values before (rule 9)."""
        made: Object = {}
        for name, program in programs.items():
            made[name] = yield from self.value(program, site)
        variables = site.scope.variables
        variables.values = {**variables.values, **made}

    # Again -----------------------------------------------------------------------------------------------------------

    def retry_seconds(
        self, retriers: tuple[Retrier, ...], fault: Fault, site: Site, *, key: str, elapsed_seconds: float | None
    ) -> Steps[int | None]:
        """Return in how many seconds a state is tried again after a fault, or None.

        Args:
            retriers: of the state.
            fault: of the attempt that just ended; `site.attempt` is its number.
            site: of the state.
            key: the operation's id, which the jitter is made of.
            elapsed_seconds: since the first attempt began, or None when that is not known.
        """
        if not retriers:
            return None
        # In a site of its own: the state's other templates have the `error` around them, if any.
        known = site.knowing({"error": faults.error_value(fault)})
        # What a retrier evaluates is asked for by retries.py, which cannot wait.
        if self.frontier.unanswered and any(retries.reads_time(retrier) for retrier in retriers):
            yield from self.frontier.answers(site.timeline.last)
        retrier = retries.matching(retriers, fault, holds=lambda program: bool(evaluated(program, known)))
        if retrier is None:
            return None
        return retries.delay_seconds(
            retrier,
            site.attempt,
            # With the execution in it, executions that fail together do not come back together.
            seed=f"{site.scope.world.execution['Id']}\n{key}\n{site.attempt}",
            seconds=lambda program: duration_seconds(evaluated(program, known), "a duration of retry"),
            elapsed_seconds=elapsed_seconds,
        )


def evaluated(program: Program, site: Site) -> Json:
    """Evaluate what needs no waiting.

    Raises:
        Fault: States.QueryEvaluationError.
    """
    try:
        return program.evaluate(site.lookup, site.budget)
    except EvaluationError as error:
        raise Fault(faults.QUERY_EVALUATION, error.message) from error


def duration_seconds(value: Json, what: str) -> float:
    """Return a duration of templates in seconds: a number, or text such as `2d` (rules 26, 56).

    Raises:
        Fault: States.QueryEvaluationError, when it is none or longer than 366 days.
    """
    if isinstance(value, str):
        try:
            value = parse_duration(value)
        except EvaluationError as error:
            raise Fault(faults.QUERY_EVALUATION, f"{what}: {error.message}") from error
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Fault(faults.QUERY_EVALUATION, f"{what} must be a duration, not {kind(value)}")
    if value > wire.DELAY_MAX_SECONDS:
        raise Fault(faults.QUERY_EVALUATION, f"{what} is longer than {wire.DELAY_MAX_SECONDS:,} seconds (366 days)")
    return float(value)


def too_large(what: str, size_bytes: int, limit_bytes: int) -> Fault:
    """Return the fault of something that exceeds a limit of the service (rule 45)."""
    return Fault(faults.DATA_LIMIT, f"{what} has {size_bytes:,} bytes, more than the limit of {limit_bytes:,}")
