"""Given what is recorded, what happens next?

The core decides and does nothing else: no clock, no I/O, no thread, no randomness. Time comes in with recorded
operations, delays go out as numbers, work goes out as calls. Same inputs, same bytes.

The idea: a :class:`Run` walks the Plan from its beginning, in every invocation. A state whose operation is finished
answers from the record, so the walk is a replay until it meets its frontier: an operation that is absent (an update
asks to start it), or unfinished (the branch waits). frontier.py holds the record and the branches, walker.py what all
states do alike, operating.py the states with an operation of their own, contexts.py and fanout.py those that hold
states and are on record themselves; here are the flow between states, what happens after a failure, and the end of the
workflow.

Source: language.md 5, 6, 8 and 12, rules 8, 9, 14-21, 24, 29, 31, 33, 38, 39, 58, 59, 61, 62, 70-73;
protocol.md 1.5, 1.7, 6.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn, assert_never

from durableflow import faults, values
from durableflow import operations as wire
from durableflow.attempts import attempts, pause, timed
from durableflow.contexts import Context
from durableflow.decision import Decision, Failed, Pending, Succeeded
from durableflow.errors import Fault, Origin, ReplayError, diagnostic
from durableflow.expressions import EvaluationError, to_display
from durableflow.fanout import fan_out
from durableflow.frontier import Frontier, Leaving
from durableflow.operating import answer, awaited, callback, condition, invoke, started_callback, wait, work
from durableflow.operations import operation_id, wire_name
from durableflow.plan import (
    Aws,
    Block,
    ChildWorkflow,
    Choice,
    Fail,
    Http,
    Invoke,
    Loop,
    Map,
    Parallel,
    Pass,
    Step,
    Succeed,
    Wait,
    WaitForCallback,
    WaitForCondition,
)
from durableflow.scope import (
    NULL,
    Lazy,
    Mode,
    Record,
    Scope,
    Site,
    Timeline,
    Undo,
    World,
    former_paths,
    site_of,
)
from durableflow.walker import Walker, too_large

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from durableflow.decision import Completion, Outcome, SchemaCheck, Visit
    from durableflow.expressions import Program
    from durableflow.frontier import Steps
    from durableflow.operations import Operation
    from durableflow.plan import AnyNode, Catcher, Node, Plan, States
    from durableflow.values import Json, Object
    from durableflow.walker import ChildTarget

OPERATIONS_MAX: Final = 3_000
"""Operations that the platform allows an execution (protocol.md 9)."""
COMPENSATION_FAILED: Final = "compensation failed"
"""What is noted of a compensation that failed and was passed over (rule 39)."""
VISITS_MAX: Final = 10_000
"""How often a state may be visited by `next` (rule 29)."""


class _Ended(Leaving):
    """`succeed` was come to: it ends the workflow, the item or the branch from wherever it stands.

    Args:
        output: the result, when `succeed` gives one.
        last: else the last state that ran before it; the innermost list that has one fills it in.
    """

    def __init__(self, output: Lazy | None) -> None:
        super().__init__()
        self.output = output
        self.last: Record | None = None

    @property
    def result(self) -> Lazy:
        """What the workflow, item or branch has as its result."""
        return self.output or (self.last.result if self.last else NULL)


class Run:
    """One invocation of an execution: fed with what changed, answers with what happens next.

    Args:
        plan: what runs.
        execution_arn: of the execution; what `context.execution` says.
        env: the environment; templates see the names that the workflow declares.
        check_schema: checks a value against a JSON Schema; without it schemas are not checked.
        visited: called with each Visit.
        noted: called with what happened and facts, when something happens that no operation shows: a compensation
            that failed and was passed over.
        child: gives the function that runs a child workflow, and whether it holds several; without it that is the
            workflow's name (rule 52).
        operations_max: how many operations the execution may have, as the platform meters them (rule 42).
        load: gives the text of a large result that is kept elsewhere; the driver keeps them (rule 68).
    """

    def __init__(  # noqa: PLR0913 - each is a part of the world that comes in; all by keyword
        self,
        plan: Plan,
        *,
        execution_arn: str = "",
        env: Mapping[str, str] | None = None,
        check_schema: SchemaCheck | None = None,
        visited: Callable[[Visit], None] | None = None,
        noted: Callable[[str, Object], None] | None = None,
        child: Callable[[str], ChildTarget] | None = None,
        operations_max: int = OPERATIONS_MAX,
        load: Callable[[Json], str] | None = None,
    ) -> None:
        self.plan = plan
        self._arn = execution_arn
        self._env = env or {}
        self._frontier = Frontier(plan, visited, operations_max)
        self._walker = Walker(self._frontier, check_schema, child=child, noted=noted, load=load)
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
        try:
            self._check_input(world)
            result = yield from self._whole(Scope(world), timeline)
            text = values.to_text(result.get())
            if (size := values.size_bytes(text)) > wire.EXECUTION_RESULT_MAX_BYTES:
                raise too_large("the workflow's output", size, wire.EXECUTION_RESULT_MAX_BYTES)
        except Fault as fault:
            self._outcome = self._failed(fault)
        else:
            self._outcome = self._succeeded(text)

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

    def _whole(self, scope: Scope, timeline: Timeline) -> Steps[Lazy]:
        """Run a workflow, the execution's or an inline one, and return its result (rule 20)."""
        walker, plan = self._walker, scope.world.plan
        scope.on_error = plan.on_error
        site = Site(scope, plan.name, scope.prefix + plan.name, timeline)
        yield from walker.assign(plan.vars, site)
        last, ended, fault = yield from self._guarded(self._top(plan, site))
        if fault is not None:
            fault = yield from self._compensated(scope, 0, fault, timeline)
            error = faults.error_value(fault)
            last, ended, fault = yield from self._guarded(self._workflow_catch(plan, scope, timeline, fault))
            if fault is not None:
                error = faults.error_value(fault)
        else:
            error = None
        if plan.finally_ is not None:
            yield from self._states(plan.finally_, scope.reserved(error), timeline)
        if fault is not None:
            raise fault
        result = ended.result if ended else last.result if last else NULL
        if plan.output is not None and (ended is None or ended.output is None):
            site.renew()
            try:
                result = Lazy((yield from walker.value(plan.output, site)))
            except Fault as raised:
                raise Fault(faults.OUTPUT_INVALID, f"the workflow's output: {raised.message}") from raised
        if plan.output_schema is not None:
            walker.check(plan.output_schema, result.get(), faults.OUTPUT_INVALID, "the workflow's output")
        return result

    def _guarded(self, steps: Steps[Record | None]) -> Steps[tuple[Record | None, _Ended | None, Fault | None]]:
        """Run steps and return how they ended."""
        try:
            return (yield from steps), None, None
        except _Ended as ended:
            return None, ended, None
        except Fault as fault:
            return None, None, fault

    def _top(self, plan: Plan, site: Site) -> Steps[Record | None]:
        run = partial(self._states, plan.states)
        return timed(self._walker, plan.timeout, plan, site, plan.name, run, path=site.scope.prefix)

    def _workflow_catch(self, plan: Plan, scope: Scope, timeline: Timeline, fault: Fault) -> Steps[Record | None]:
        """Let the workflow's own catchers see a fault; return what the one that takes it gives, or raise it again."""
        inner = scope.naming(error=faults.error_value(fault))
        for catcher in plan.catch:
            site = Site(inner, plan.name, scope.prefix + plan.name, timeline)
            if (yield from self._catches(catcher, fault, site)):
                record = Record("caught", NULL, timeline)
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
        span = self.plan.place_of(state) if state is not None else None
        message = f"{fault.name}: {fault.message}" if fault.message else fault.name
        by = f"state '{state}' failed: " if span else ""
        problem = diagnostic("DF502", f"{by}{message}", span=span)
        return Failed(error=wire.error_from_fault(fault), problem=problem, state=state)

    # A list of states ------------------------------------------------------------------------------------------------

    def _states(  # noqa: C901, PLR0912 - one loop, in line: every state of a replay comes by here
        self, states: States, scope: Scope, timeline: Timeline
    ) -> Steps[Record | None]:
        """Run a list of states; return the record of the last one that ran and was not skipped."""
        walker = self._walker
        nodes = states.nodes
        position = 0
        last: Record | None = None
        try:
            while position < len(nodes):
                node = nodes[position]
                visit = scope.visits.get(node.name, 0) + 1
                site = site_of(scope, node, timeline, visit)
                if scope.others or node.renamed_from:
                    self._find_former(node, site, visit)
                if node.when is not None:
                    # Not a generator of its own: every condition of a replay comes by here.
                    if self._frontier.unanswered and node.when.reads_time:
                        yield from self._frontier.answers(timeline.last)
                    try:
                        is_wanted = node.when.is_true(site.lookup, site.budget)
                    except EvaluationError as error:
                        # A state's own catch does not cover its `when` (rule 18).
                        raise Fault(faults.QUERY_EVALUATION, error.message).having(
                            state=node.name, attempt=1
                        ) from error
                    if not is_wanted:
                        scope.records[node.name] = Record("skipped", NULL, timeline)
                        position += 1
                        continue
                if visit > VISITS_MAX:
                    message = f"state '{node.name}' was visited more than {VISITS_MAX:,} times"
                    raise Fault(faults.LOOP_LIMIT, message).having(state=node.name, attempt=1)
                scope.visits[node.name] = visit
                target, fault = None, None
                try:
                    # Most states are one of these two, and telling the types apart is not free.
                    steps: Steps[str | None]
                    if type(node) is Step:
                        steps = work(walker, node, site)
                    elif type(node) is Invoke:
                        steps = invoke(walker, node, site)
                    else:
                        steps = self._visit(node, site)
                    # What is on record has no steps any more.
                    target = (yield from steps) if steps else None
                except Fault as raised:
                    fault = raised
                if fault is not None:
                    target = yield from self._caught(node, site, fault)
                record: Record = scope.records[node.name]
                last = record
                if node.compensate is not None and record.status == "succeeded":
                    scope.undos.add(Undo(node.compensate, scope, node.name))
                target = target or node.next
                position = position + 1 if target is None else states.positions[target]
        except _Ended as ended:
            ended.last = ended.last or last
            raise
        return last

    def _find_former(self, node: AnyNode, site: Site, visit: int) -> None:
        """Take the path under which a state is recorded, when it or a scope around it was renamed (rule 66)."""
        others: list[tuple[str, str]] = []
        for path, name in former_paths(site.scope, node, visit):
            wire = name if site.scope.flat is None else wire_name(path[site.scope.flat :])
            if self._frontier.key(path) in self._frontier.operations:
                site.path, site.wire = path, wire
                return
            others.append((path, wire))
        site.others = tuple(others[1:])

    def _visit(self, node: AnyNode, site: Site) -> Steps[str | None]:  # noqa: C901, PLR0911, PLR0912 - one case for each type
        """Give what runs one state; at its end, that gives where the flow goes unless to the state's `next`."""
        match node:
            case Step() | Aws() | Http():
                return work(self._walker, node, site)
            case Invoke():
                return invoke(self._walker, node, site)
            case ChildWorkflow():
                return (
                    invoke(self._walker, node, site) if node.inline is None else self._inline(node, node.inline, site)
                )
            case Wait():
                return wait(self._walker, node, site)
            case WaitForCallback():
                return callback(self._walker, node, site) if node.submit is None else self._submitted(node, site)
            case WaitForCondition():
                return condition(self._walker, node, site)
            case Choice():
                return self._choice(node, site)
            case Block():
                return self._block(node, site) if node.finally_ is None else self._with_finally(node, site)
            case Loop():
                return self._loop(node, site)
            case Parallel() | Map():
                return self._fan_out(node, site)
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
        if isinstance(node, Block) and node.finally_ is not None:
            raise fault  # they have seen it, before `finally`
        return (yield from self._caught_by(node, site, fault))

    def _caught_by(self, node: Node, site: Site, fault: Fault) -> Steps[str | None]:
        if fault.origin.state is None:
            fault = fault.having(state=node.name, attempt=site.attempt)
        error = faults.error_value(fault)
        scope = site.scope.naming(error=error)
        for catcher in node.catch:
            handler = Site(scope, node.name, site.path, site.timeline)
            try:
                if not (yield from self._catches(catcher, fault, handler)):
                    continue
                record = Record("caught", NULL, site.timeline, error=error)
                scope.records[node.name] = record
                yield from self._handle(catcher, handler, record)
            except Fault as raised:
                # Of the catcher's own templates; what its states raise says itself where it comes from.
                raise raised if raised.origin.state else raised.having(state=node.name, attempt=site.attempt) from None
            return catcher.next
        scope.records[node.name] = Record("failed", NULL, site.timeline, error=error)
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

    # After a failure -------------------------------------------------------------------------------------------------

    def _with_finally(self, node: Block, site: Site) -> Steps[str | None]:
        """Run a block, its catchers and then, however it ended, its `finally` once."""
        assert node.finally_ is not None
        leaving: Fault | _Ended | None = None
        target, error = None, None
        try:
            yield from self._block(node, site)
        except (Fault, _Ended) as raised:
            leaving = raised
        if isinstance(leaving, Fault):
            error = faults.error_value(leaving)
            try:
                target = yield from self._caught_by(node, site, leaving)
                leaving = None
            except (Fault, _Ended) as raised:
                leaving = raised
        if isinstance(leaving, Fault):
            error = faults.error_value(leaving)
        try:
            yield from self._states(node.finally_, site.scope.reserved(error), site.timeline)
        except Fault as raised:
            error = faults.error_value(raised)
            site.scope.records[node.name] = Record("failed", NULL, site.timeline, error=error)
            raise
        if leaving is not None:
            raise leaving
        return target

    def _compensated(self, scope: Scope, mark: int, fault: Fault, timeline: Timeline) -> Steps[Fault]:
        """Undo what has completed since `mark`, the latest first; return the fault to go on with (rule 39)."""
        error = faults.error_value(fault)
        while (undo := scope.undos.take(mark)) is not None:
            inner = scope.undoing(undo, error)
            before = dict(inner.records)
            failed: Fault | None = None
            try:
                yield from self._states(undo.states, inner, timeline)
            except Fault as raised:
                failed = raised
            changed = {name: record for name, record in inner.records.items() if before.get(name) is not record}
            scope.records.update(changed)
            if failed is None:
                continue
            self._walker.note(COMPENSATION_FAILED, {"state": undo.name, "error": failed.name})
            if scope.on_error == "fail":
                scope.undos.forget(mark)
                message = f"undoing '{undo.name}' failed: {failed.name}"
                data: Object = {"original": _told(fault), "failed": _told(failed)}
                stopped = Fault(faults.COMPENSATION_FAILED, message, data)
                stopped.origin = Origin(state=failed.origin.state, attempt=failed.origin.attempt)
                return faults.as_recorded(stopped)
        return fault

    def _undone(self, site: Site, mark: int) -> Callable[[Fault], Steps[None]]:
        """Give what takes a failed attempt back before the next one (rules 24, 58, 73)."""
        variables = site.scope.variables
        before = variables.values

        def undone(fault: Fault) -> Steps[None]:
            failed = yield from self._compensated(site.scope, mark, fault, site.timeline)
            variables.values = before
            if failed is not fault:
                raise failed

        return undone

    # choice, block, loop ---------------------------------------------------------------------------------------------

    def _choice(self, node: Choice, site: Site) -> Steps[str | None]:
        if _is_enclosed(node):
            return (yield from self._enclosed(node, site, partial(self._choice_states, node, site)))
        record, target = yield from self._choice_states(node, site, site.scope, site.timeline)
        yield from self._walker.finish(node, site, record.result if record else NULL)
        return target

    def _choice_states(
        self, node: Choice, site: Site, scope: Scope, timeline: Timeline
    ) -> Steps[tuple[Record | None, str | None]]:
        states, target = node.default, None
        for arm in node.choices:
            if (yield from self._walker.holds(arm.when, site)):
                states, target = arm.states, arm.next
                break
        last = None if states is None else (yield from self._states(states, scope, timeline))
        return last, target

    def _block(self, node: Block, site: Site) -> Steps[None]:
        if _is_enclosed(node) or node.context:
            yield from self._enclosed(node, site, partial(self._block_states, node))
            return
        scope = site.scope if node.on_error == site.scope.on_error else site.scope.policed(node.on_error)
        mark = scope.undos.mark
        try:
            last = yield from self._states(node.states, scope, site.timeline)
            yield from self._walker.finish(node, site, last.result if last else NULL)
        except Fault as raised:
            fault = raised
        else:
            return
        raise (yield from self._compensated(scope, mark, fault, site.timeline))

    def _block_states(self, node: Block, scope: Scope, timeline: Timeline) -> Steps[tuple[Record | None, str | None]]:
        return (yield from self._states(node.states, scope, timeline)), None

    def _loop(self, node: Loop, site: Site) -> Steps[None]:
        if _is_enclosed(node):
            yield from self._enclosed(node, site, partial(self._loop_states, node, site))
            return
        last, _ = yield from self._loop_states(node, site, site.scope, site.timeline)
        yield from self._walker.finish(node, site, last.result if last else NULL)

    def _loop_states(
        self, node: Loop, site: Site, scope: Scope, timeline: Timeline
    ) -> Steps[tuple[Record | None, str | None]]:
        last: Record | None = None
        number = 0
        site.extra["iteration"] = number
        while node.while_ is None or (yield from self._walker.holds(node.while_, site)):
            if number == node.max_iterations:
                self._at_limit(node)
                break
            if number and node.delay is not None:
                yield from self._delay(node.delay, node, site, scope, number - 1)
            last = yield from self._states(node.states, scope.iteration(site, number), timeline)
            site.renew()
            site.extra["iteration"] = number
            if node.until is not None:
                site.extra["result"] = last.result.get() if last else None
                if (yield from self._walker.holds(node.until, site)):
                    break
            number += 1
            site.extra["iteration"] = number
        return last, None

    def _at_limit(self, node: Loop) -> None:
        if node.on_limit == "fail" and (node.while_ is not None or node.until is not None):
            message = f"loop '{node.name}' would go on after {node.max_iterations:,} iterations"
            raise Fault(faults.LOOP_LIMIT, message)

    def _delay(self, delay: Program, node: Loop, site: Site, scope: Scope, iteration: int) -> Steps[None]:
        """Wait between two iterations; the delay belongs to the iteration that it follows."""
        paths = [
            (f"{path}{{{iteration}}}:delay", f"{wire}-delay")
            for path, wire in ((site.attempt_path, site.wire), *site.others)
        ]
        recorded = [each for each in paths if self._frontier.key(each[0]) in self._frontier.operations]
        if recorded:
            paths, seconds = recorded, 1  # what the delay says today does not matter
        else:
            seconds = math.ceil((yield from self._walker.seconds(delay, site, "delay")))
        if seconds > 0:
            inner = Site(scope, node.name, site.path, site.timeline)
            yield from pause(self._walker, *paths[0], seconds, node, inner)

    # States that hold states and are on record themselves ------------------------------------------------------------

    def _enclosed(
        self,
        node: Choice | Block | Loop,
        site: Site,
        run: Callable[[Scope, Timeline], Steps[tuple[Record | None, str | None]]],
    ) -> Steps[str | None]:
        """Run a block, choice or loop in a context of its own (rules 23, 31)."""
        walker = self._walker
        name = site.wire if node.label is None else (yield from walker.label(node.label, site))
        undone = self._undone(site, site.scope.undos.mark)
        return (
            yield from attempts(
                walker, node, site, name, lambda: self._enclosed_once(node, site, name, run), undone=undone
            )
        )

    def _enclosed_once(
        self,
        node: Choice | Block | Loop,
        site: Site,
        name: str,
        run: Callable[[Scope, Timeline], Steps[tuple[Record | None, str | None]]],
    ) -> Steps[str | None]:
        is_stored = isinstance(node, Block) and not _is_enclosed(node) and not node.is_replayed
        context = yield from Context(
            self._frontier, node, name, site.attempt_path, site.scope, is_replayed=not is_stored
        ).entered()
        if context.is_answered:
            site.timeline.passed(context.key)
            yield from self._walker.finish(node, site, context.result(), context.key)
            return None
        inner = context.within(_inner_scope(node, site, context.key))
        if isinstance(node, Block) and is_stored:
            yield from self._stored(node, site, inner, context, run)
            return None
        mark = inner.undos.mark

        def states(scope: Scope, timeline: Timeline) -> Steps[tuple[Record | None, str | None]]:
            is_cut_off = scope.mode is Mode.FROZEN
            return run(inner.in_mode(Mode.FROZEN, scope.open_ids) if is_cut_off else inner, timeline)

        try:
            last, target = yield from timed(
                self._walker, node.timeout, node, site, name, states, path=site.attempt_path
            )
            yield from self._walker.finish(node, site, last.result if last else NULL, context.key)
        except Fault as raised:
            fault = raised
            if isinstance(node, Block):
                fault = yield from self._compensated(inner, mark, fault, site.timeline)
            context.replay()
            site.timeline.passed(context.key)
            raise fault from None
        context.replay()
        site.timeline.passed(context.key)
        return target

    def _stored(
        self,
        node: Block,
        site: Site,
        scope: Scope,
        context: Context,
        run: Callable[[Scope, Timeline], Steps[tuple[Record | None, str | None]]],
    ) -> Steps[None]:
        """Run a block whose context keeps its result: nothing in it is seen from outside or has to be undone."""
        try:
            last, _ = yield from run(scope, site.timeline)
        except Fault as raised:
            fault = context.fail(raised)
            site.timeline.passed(context.key)
            raise fault from raised
        result = last.result if last else NULL
        context.succeed(result)
        site.timeline.passed(context.key)
        yield from self._walker.finish(node, site, result, context.key)

    def _inline(self, node: ChildWorkflow, plan: Plan, site: Site) -> Steps[None]:
        """Run another workflow as a part of this one (rule 33)."""
        walker = self._walker
        name = site.wire if node.label is None else (yield from walker.label(node.label, site))
        yield from attempts(walker, node, site, name, lambda: self._inline_once(node, plan, site, name))

    def _inline_once(self, node: ChildWorkflow, plan: Plan, site: Site, name: str) -> Steps[None]:
        walker, path = self._walker, site.attempt_path
        work = partial(self._inline_states, node, plan, site, name)
        result = yield from timed(walker, node.timeout, node, site, name, work, path=path)
        key = self._frontier.key(path)
        site.timeline.passed(key)
        yield from walker.finish(node, site, result, key)

    def _inline_states(
        self, node: ChildWorkflow, plan: Plan, site: Site, name: str, scope: Scope, timeline: Timeline
    ) -> Steps[Lazy]:
        path = site.attempt_path
        world = None
        if self._frontier.key(path) not in self._frontier.operations:
            world = yield from self._inline_world(node, plan, site)  # wrong input costs nothing (rule 58)
        context = yield from Context(self._frontier, node, name, path, scope).entered()
        if context.is_answered:
            return context.result()
        world = world or (yield from self._inline_world(node, plan, site))
        inner = context.within(scope.workflow(world, f"{path}/", context.key))
        # Its compensations are its own; while it runs, they are what has to be undone should it be cut off.
        mark = scope.undos.mark
        scope.undos.group().append(inner.undos)
        try:
            result = yield from self._whole(inner, timeline)
        except Fault as fault:
            scope.undos.forget(mark)
            raise context.fail(fault) from fault
        scope.undos.forget(mark)
        context.succeed(result)
        return result

    def _inline_world(self, node: ChildWorkflow, plan: Plan, site: Site) -> Steps[World]:
        value = yield from self._walker.value(node.payload, site)
        if plan.input_schema is not None:
            self._walker.check(plan.input_schema, value, faults.INPUT_INVALID, f"the payload of '{node.name}'")
        return site.scope.world.inner(plan, value)

    def _submitted(self, node: WaitForCallback, site: Site) -> Steps[None]:
        """Start a callback, run the states that tell somebody its id, and wait for the answer (protocol.md 5.4)."""
        walker = self._walker
        name = site.wire if node.label is None else (yield from walker.label(node.label, site))
        yield from attempts(walker, node, site, name, lambda: self._submitted_once(node, site, name))

    def _submitted_once(self, node: WaitForCallback, site: Site, name: str) -> Steps[None]:
        walker, path = self._walker, site.attempt_path
        context = yield from Context(self._frontier, node, name, path, site.scope, subtype="WaitForCallback").entered()
        if context.is_answered:
            site.timeline.passed(context.key)
            yield from walker.finish(node, site, context.result(), context.key)
            return
        assert node.submit is not None
        inner = context.within(site.scope.hidden(f"{path}/", context.key))
        called = f"{path}:callback"
        try:
            operation = yield from started_callback(walker, node, site, name, called, inner)
            id_ = operation.get("CallbackDetails", {}).get("CallbackId")
            yield from self._states(node.submit, inner.naming(callback={"id": id_}), site.timeline)
            operation = yield from awaited(walker, operation, called, inner)
            site.timeline.passed(operation["Id"])
            result = answer(operation, node, site)
        except Fault as fault:
            failed = context.fail(fault if fault.origin.state else fault.having(state=node.name, attempt=site.attempt))
            site.timeline.passed(context.key)
            raise failed from fault
        context.succeed(result)
        site.timeline.passed(context.key)
        yield from walker.finish(node, site, result, context.key)

    def _fan_out(self, node: Map | Parallel, site: Site) -> Steps[None]:
        walker = self._walker
        name = site.wire if node.label is None else (yield from walker.label(node.label, site))
        undone = self._undone(site, site.scope.undos.mark)
        yield from attempts(walker, node, site, name, lambda: self._fan_out_once(node, site, name), undone=undone)

    def _fan_out_once(self, node: Map | Parallel, site: Site, name: str) -> Steps[None]:
        walker, path = self._walker, site.attempt_path
        slots = partial(fan_out, walker, node, site, name, self._slot)
        made = yield from timed(walker, node.timeout, node, site, name, slots, path=path)
        key = self._frontier.key(path)
        site.timeline.passed(key)
        if made.fault is not None:
            raise made.fault
        more: Object = {"failures": made.failures, "summary": made.summary}
        yield from walker.finish(node, site, made.result, key, more)

    def _slot(self, states: States, scope: Scope, timeline: Timeline) -> Steps[Lazy]:
        try:
            last = yield from self._states(states, scope, timeline)
        except _Ended as ended:
            return ended.result
        return last.result if last else NULL

    # succeed, fail ---------------------------------------------------------------------------------------------------

    def _succeed(self, node: Succeed, site: Site) -> Steps[NoReturn]:
        yield from self._walker.finish(node, site, NULL)
        raise _Ended(site.scope.records[node.name].result if node.output is not None else None)

    def _fail(self, node: Fail, site: Site) -> Steps[NoReturn]:
        name = yield from self._walker.text(node.error, site, "error")
        cause = "" if node.cause is None else to_display((yield from self._walker.value(node.cause, site)))
        data = None if node.data is None else (yield from self._walker.value(node.data, site))
        raise faults.as_recorded(Fault(name, cause, data))


def _is_enclosed(node: Choice | Block | Loop) -> bool:
    """Say whether `retry` or `timeout` make a context of a state (rule 23)."""
    return bool(node.retry) or node.timeout is not None


def _inner_scope(node: Choice | Block | Loop, site: Site, parent_id: str) -> Scope:
    if isinstance(node, Block):
        scope = (
            site.scope.hidden(f"{site.attempt_path}/", parent_id)
            if node.context
            else site.scope.inside(site, parent_id)
        )
        scope.on_error = node.on_error
        return scope
    return site.scope.inside(site, parent_id)


def _told(fault: Fault) -> Object:
    return {"name": fault.name, "message": fault.message, "state": fault.origin.state}


def decide(
    plan: Plan,
    operations: Iterable[Operation],
    *,
    execution_arn: str = "",
    env: Mapping[str, str] | None = None,
    check_schema: SchemaCheck | None = None,
    load: Callable[[Json], str] | None = None,
) -> Decision:
    """Return the decision of one fresh Run that is fed once."""
    run = Run(plan, execution_arn=execution_arn, env=env, check_schema=check_schema, load=load)
    return run.advance(operations)


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
