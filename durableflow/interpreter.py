"""Given what is recorded, what happens next?

The core decides and does nothing else: no clock, no I/O, no thread, no randomness. Time comes in with recorded
operations, delays go out as numbers, work goes out as calls. Same inputs, same bytes.

The idea: a :class:`Run` walks the Plan from its beginning, in every invocation. A state whose operation is finished
answers from the record, so the walk is a replay until it meets its frontier: an operation that is absent (an update
asks to start it), or unfinished (the branch waits). frontier.py holds the record and the branches, walker.py what all
states do alike, operating.py the states with an operation of their own; here are the flow between states and the
end of the workflow.

Source: language.md 5, 6, 8 and 12, rules 8, 9, 14-21, 29; protocol.md 1.5, 1.7, 6.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NoReturn, assert_never

from durableflow import faults, values
from durableflow import operations as wire
from durableflow.decision import Decision, Failed, Pending, Succeeded
from durableflow.errors import Fault, ReplayError, diagnostic
from durableflow.expressions import EvaluationError, to_display
from durableflow.frontier import Frontier
from durableflow.operating import invoke, pause, step, wait
from durableflow.operations import operation_id
from durableflow.plan import Block, Choice, Fail, Invoke, Loop, Pass, Step, Succeed, Wait, walk
from durableflow.scope import NULL, Lazy, Record, Scope, Site, Timeline, Variables, World, site_of
from durableflow.walker import Walker, too_large

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from durableflow.decision import Completion, Outcome, SchemaCheck, Visit
    from durableflow.expressions import Program
    from durableflow.frontier import Steps
    from durableflow.operations import Operation
    from durableflow.plan import AnyNode, Catcher, Node, Plan, States

VISITS_MAX: Final = 10_000
"""How often a state may be visited by `next` (rule 29)."""


class _Ended(Exception):  # noqa: N818 - control flow, not an error: `succeed` ends the workflow from wherever it stands
    """`succeed` was come to.

    Args:
        output: the workflow's result, when `succeed` gives one.
        last: else the last state that ran before it; the innermost list that has one fills it in.
    """

    def __init__(self, output: Lazy | None) -> None:
        super().__init__()
        self.output = output
        self.last: Record | None = None


class Run:
    """One invocation of an execution: fed with what changed, answers with what happens next.

    Args:
        plan: what runs.
        execution_arn: of the execution; what `context.execution` says.
        env: the environment; templates see the names that the workflow declares.
        check_schema: checks a value against a JSON Schema; without it schemas are not checked.
        visited: called with each Visit.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        execution_arn: str = "",
        env: Mapping[str, str] | None = None,
        check_schema: SchemaCheck | None = None,
        visited: Callable[[Visit], None] | None = None,
    ) -> None:
        self.plan = plan
        self._arn = execution_arn
        self._env = env or {}
        self._frontier = Frontier(plan, visited)
        self._walker = Walker(self._frontier, check_schema)
        self._outcome: Succeeded | Failed | None = None

    @property
    def is_replaying(self) -> bool:
        """Whether recorded operations are still to be come past; loggers stay quiet while it holds."""
        return self._frontier.is_replaying

    def advance(self, operations: Iterable[Operation] = (), completions: Iterable[Completion] = ()) -> Decision:
        """Take in what changed and go as far as possible.

        The first call brings the whole recorded state. Each later one means that every update of the decision before
        has been answered.

        Args:
            operations: those that are new or changed, times in epoch milliseconds.
            completions: of calls that earlier decisions started.

        Raises:
            ValueError: the first call brings no EXECUTION operation, or the run is over.
            ServiceError: retryable; the service accepted an update and does not show its operation.
        """
        if self._outcome is not None:
            raise ValueError("this run is over")
        frontier = self._frontier
        if frontier.has_begun:
            frontier.answered(operations, completions)
        else:
            execution = frontier.begin(operations)
            frontier.spawn(self._workflow(execution))
        try:
            frontier.run()
            if frontier.updates or frontier.calls or self._outcome:
                frontier.check_unvisited()
        except ReplayError as error:
            self._outcome = _mismatched(error)
            return Decision(outcome=self._outcome)
        outcome: Outcome | None = self._outcome
        if outcome is None and frontier.is_suspended():
            outcome = Pending()
        return Decision(updates=tuple(frontier.updates), calls=tuple(frontier.calls), outcome=outcome)

    # The workflow ----------------------------------------------------------------------------------------------------

    def _workflow(self, execution: Operation) -> Steps[None]:
        world = World(self.plan, execution=execution, arn=self._arn, env=self._env)
        timeline = Timeline(self._frontier.operations, execution.get("StartTimestamp", 0))
        scope = Scope(world, records={}, variables=Variables(), visits={}, names={})
        try:
            text = yield from self._result(world, scope, timeline)
        except Fault as fault:
            self._outcome = self._failed(fault)
        else:
            self._outcome = self._succeeded(text)

    def _result(self, world: World, scope: Scope, timeline: Timeline) -> Steps[str]:
        walker = self._walker
        self._check_input(world)
        site = Site(scope, self.plan.name, self.plan.name, timeline)
        yield from walker.assign(self.plan.vars, site)
        try:
            last = yield from self._top(scope, timeline)
            result, is_given = last.result if last else NULL, False
        except _Ended as ended:
            result = ended.output or (ended.last.result if ended.last else NULL)
            is_given = ended.output is not None
        if self.plan.output is not None and not is_given:
            site.renew()
            try:
                result = Lazy((yield from walker.value(self.plan.output, site)))
            except Fault as fault:
                raise Fault(faults.OUTPUT_INVALID, f"the workflow's output: {fault.message}") from fault
        if self.plan.output_schema is not None:
            walker.check(self.plan.output_schema, result.get(), faults.OUTPUT_INVALID, "the workflow's output")
        text = values.to_text(result.get())
        if (size := values.size_bytes(text)) > wire.EXECUTION_RESULT_MAX_BYTES:
            raise too_large("the workflow's output", size, wire.EXECUTION_RESULT_MAX_BYTES)
        return text

    def _check_input(self, world: World) -> None:
        # Later invocations know that it was good and decode it only if it is read (rule 53).
        if len(self._frontier.operations) > 1:
            return
        try:
            value = world.input
        except values.ValueRefusedError as error:
            raise Fault(faults.INPUT_INVALID, f"the input is not JSON: {error}") from error
        if self.plan.input_schema is not None:
            self._walker.check(self.plan.input_schema, value, faults.INPUT_INVALID, "the input")

    def _top(self, scope: Scope, timeline: Timeline) -> Steps[Record | None]:
        """Run the top-level states and the workflow's own catch."""
        try:
            return (yield from self._states(self.plan.states, scope, timeline))
        except Fault as raised:
            fault = raised
        inner = scope.naming(error=faults.error_value(fault))
        for catcher in self.plan.catch:
            site = Site(inner, self.plan.name, self.plan.name, timeline)
            if (yield from self._catches(catcher, fault, site)):
                record = Record("caught", timeline=timeline)
                yield from self._handle(catcher, site, record)
                return record
        raise fault

    def _succeeded(self, text: str) -> Succeeded:
        if _response_bytes(text) <= wire.RESPONSE_MAX_BYTES:
            return Succeeded(text)
        # A larger result travels in an EXECUTION update, always the last of its batch (protocol.md 1.7).
        key = operation_id("execution-result")
        self._frontier.updates.append({"Id": key, "Type": "EXECUTION", "Action": "SUCCEED", "Payload": text})
        return Succeeded("")

    def _failed(self, fault: Fault) -> Failed:
        state = fault.origin.state
        node = next((node for node in walk(self.plan.states) if node.name == state), None)
        message = f"{fault.name}: {fault.message}" if fault.message else fault.name
        by = f"state '{state}' failed: " if node else ""
        problem = diagnostic("DF502", f"{by}{message}", span=self.plan.span(node.at) if node else None)
        return Failed(error=wire.error_from_fault(fault), problem=problem, state=state)

    # A list of states ------------------------------------------------------------------------------------------------

    def _states(self, states: States, scope: Scope, timeline: Timeline) -> Steps[Record | None]:
        """Run a list of states; return the record of the last one that ran and was not skipped."""
        nodes = states.nodes
        position = 0
        last: Record | None = None
        try:
            while position < len(nodes):
                node = nodes[position]
                visit = scope.visits.get(node.name, 0) + 1
                site = site_of(scope, node, timeline, visit)
                if node.when is not None:
                    # Not a generator of its own: every condition of a replay comes by here.
                    if self._frontier.is_unanswered and node.when.reads_time:
                        yield from self._frontier.answers()
                    if not _is_wanted(node.when, node, site):
                        scope.records[node.name] = Record("skipped", timeline=timeline)
                        position += 1
                        continue
                if visit > VISITS_MAX:
                    message = f"state '{node.name}' was visited more than {VISITS_MAX:,} times"
                    raise Fault(faults.LOOP_LIMIT, message).having(state=node.name, attempt=1)
                scope.visits[node.name] = visit
                target, fault = None, None
                try:
                    target = yield from self._visit(node, site)
                except Fault as raised:
                    fault = raised
                if fault is not None:
                    target = yield from self._caught(node, site, fault)
                last = scope.records[node.name]
                target = target or node.next
                position = position + 1 if target is None else states.positions[target]
        except _Ended as ended:
            ended.last = ended.last or last
            raise
        return last

    def _visit(self, node: AnyNode, site: Site) -> Steps[str | None]:  # noqa: PLR0911 - one case for each type
        """Give what runs one state; at its end, that gives where the flow goes unless to the state's `next`."""
        match node:
            case Step():
                return step(self._walker, node, site)
            case Invoke():
                return invoke(self._walker, node, site)
            case Wait():
                return wait(self._walker, node, site)
            case Choice():
                return self._choice(node, site)
            case Block():
                return self._block(node, site)
            case Loop():
                return self._loop(node, site)
            case Pass():
                return self._walker.finish(node, site, NULL)
            case Succeed():
                return self._succeed(node, site)
            case Fail():
                return self._fail(node, site)
            case _:
                assert_never(node)

    def _caught(self, node: Node, site: Site, fault: Fault) -> Steps[str | None]:
        """Let the state's catchers see a fault; return where the one that takes it goes, or raise it again."""
        if fault.origin.state is None:
            fault = fault.having(state=node.name, attempt=site.attempt)
        error = faults.error_value(fault)
        scope = site.scope.naming(error=error)
        for catcher in node.catch:
            handler = Site(scope, node.name, site.path, site.timeline)
            if not (yield from self._catches(catcher, fault, handler)):
                continue
            record = Record("caught", timeline=site.timeline, error=error)
            scope.records[node.name] = record
            yield from self._handle(catcher, handler, record)
            return catcher.next
        scope.records[node.name] = Record("failed", timeline=site.timeline, error=error)
        raise fault

    def _catches(self, catcher: Catcher, fault: Fault, site: Site) -> Steps[bool]:
        if not faults.matches(catcher.errors, fault):
            return False
        return catcher.when is None or (yield from self._walker.holds(catcher.when, site))

    def _handle(self, catcher: Catcher, site: Site, record: Record) -> Steps[None]:
        """Run a catcher: `assign`, then `states`, then `output` (rules 8, 9)."""
        if catcher.assign:
            yield from self._walker.assign(catcher.assign, site)
        if catcher.states is not None:
            last = yield from self._states(catcher.states, site.scope, site.timeline)
            record.result = last.result if last else NULL
        if catcher.output is not None:
            site.renew()
            record.result = Lazy((yield from self._walker.value(catcher.output, site)))

    # choice, block, loop, pass, succeed, fail ------------------------------------------------------------------------

    def _choice(self, node: Choice, site: Site) -> Steps[str | None]:
        states, target = node.default, None
        for arm in node.choices:
            if (yield from self._walker.holds(arm.when, site)):
                states, target = arm.states, arm.next
                break
        last = None if states is None else (yield from self._states(states, site.scope, site.timeline))
        yield from self._walker.finish(node, site, last.result if last else NULL)
        return target

    def _block(self, node: Block, site: Site) -> Steps[None]:
        last = yield from self._states(node.states, site.scope, site.timeline)
        yield from self._walker.finish(node, site, last.result if last else NULL)

    def _loop(self, node: Loop, site: Site) -> Steps[None]:
        last: Record | None = None
        number = 0
        site.extra["iteration"] = number
        while node.while_ is None or (yield from self._walker.holds(node.while_, site)):
            if number == node.max_iterations:
                self._at_limit(node)
                break
            if number and node.delay is not None:
                yield from self._delay(node.delay, node, site, number - 1)
            last = yield from self._states(node.states, site.scope.iteration(site.path, number), site.timeline)
            site.renew()
            site.extra["iteration"] = number
            if node.until is not None:
                site.extra["result"] = last.result.get() if last else None
                if (yield from self._walker.holds(node.until, site)):
                    break
            number += 1
            site.extra["iteration"] = number
        yield from self._walker.finish(node, site, last.result if last else NULL)

    def _at_limit(self, node: Loop) -> None:
        if node.on_limit == "fail" and (node.while_ is not None or node.until is not None):
            message = f"loop '{node.name}' would go on after {node.max_iterations:,} iterations"
            raise Fault(faults.LOOP_LIMIT, message)

    def _delay(self, delay: Program, node: Loop, site: Site, iteration: int) -> Steps[None]:
        """Wait between two iterations; the delay belongs to the iteration that it follows."""
        path = f"{site.path}{{{iteration}}}:delay"
        if self._frontier.key(path) in self._frontier.operations:
            seconds = 1  # recorded, so that what the delay says today does not matter
        else:
            seconds = math.ceil((yield from self._walker.seconds(delay, site, "delay")))
        if seconds > 0:
            yield from pause(self._walker, path, f"{node.name}-delay", seconds, node, site)

    def _succeed(self, node: Succeed, site: Site) -> Steps[NoReturn]:
        yield from self._walker.finish(node, site, NULL)
        raise _Ended(site.scope.records[node.name].result if node.output is not None else None)

    def _fail(self, node: Fail, site: Site) -> Steps[NoReturn]:
        name = yield from self._walker.text(node.error, site, "error")
        cause = "" if node.cause is None else to_display((yield from self._walker.value(node.cause, site)))
        data = None if node.data is None else (yield from self._walker.value(node.data, site))
        raise faults.as_recorded(Fault(name, cause, data))


def _is_wanted(when: Program, node: Node, site: Site) -> bool:
    # A state's own catch does not cover its `when` (rule 18).
    try:
        return when.is_true(site.lookup, site.budget)
    except EvaluationError as error:
        raise Fault(faults.QUERY_EVALUATION, error.message).having(state=node.name, attempt=1) from error


def decide(
    plan: Plan,
    operations: Iterable[Operation],
    *,
    execution_arn: str = "",
    env: Mapping[str, str] | None = None,
    check_schema: SchemaCheck | None = None,
) -> Decision:
    """Return the decision of one fresh Run that is fed once."""
    return Run(plan, execution_arn=execution_arn, env=env, check_schema=check_schema).advance(operations)


_RESPONSE_FRAME: Final = len('{"Status":"SUCCEEDED","Result":}')


def _response_bytes(text: str) -> int:
    # Escaping makes a byte six at most, so small results need not be escaped to be judged.
    if len(text) * 6 < wire.RESPONSE_MAX_BYTES:
        return len(text)
    return values.size_bytes(values.to_text(text)) + _RESPONSE_FRAME


def _mismatched(error: ReplayError) -> Failed:
    fault = Fault(faults.NON_DETERMINISTIC, error.problem.message)
    state = error.expected.get("state") if error.expected else None
    return Failed(
        error=wire.error_from_fault(fault),
        problem=error.problem,
        state=state if isinstance(state, str) else None,
        mismatch=error,
    )
