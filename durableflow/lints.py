"""Is this what was meant? What runs, and is probably a mistake: a tuple of small functions, each with its codes.

These rules only warn. They have the form of those in `rules.py`, which runs them with its own.

Source: language.md sections 5 to 7; section 12, as each rule says.
"""

from __future__ import annotations

import difflib
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from durableflow import faults
from durableflow.errors import diagnostic
from durableflow.estimate import RACED, WORK
from durableflow.flow import jumps, waits
from durableflow.forms import is_template
from durableflow.model import (
    Aws,
    Block,
    ChildWorkflow,
    Choice,
    Fail,
    Http,
    HttpCheck,
    Invoke,
    Loop,
    Map,
    Parallel,
    RetriedState,
    WaitForCallback,
    WaitForCondition,
    lists_in,
)
from durableflow.source import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durableflow.document import Path
    from durableflow.errors import Diagnostic
    from durableflow.model import Catcher, Completion, Placed, Retrier, State
    from durableflow.rules import Subject

# Flow (section 5).


def everything_is_reached(subject: Subject) -> Iterator[Diagnostic]:
    """Every state can be reached; of what stands behind an unreachable one only the first is reported."""
    unreachable: set[Path] = set()
    for list_path, states in subject.layout.lists.items():
        if any(list_path[:length] in unreachable for length in range(len(list_path))):
            continue
        flow = subject.layout.flow(list_path)
        if not flow.is_certain:
            continue
        lost = [i for i in range(len(states)) if i not in flow.reached]
        unreachable.update((*list_path, i) for i in lost)
        for i in lost:
            if i - 1 in lost:
                continue
            behind = next(k for k in range(i, len(states) + 1) if k not in lost) - i - 1
            others = f" (nor can the {behind} after it)" if behind else ""
            yield diagnostic(
                "DF403",
                f"state '{states[i].name}' can never run{others}",
                span=subject.document.span((*list_path, i, "name")),
                hint="what stands before it never goes on to it: take it away, or let a 'next' lead here",
            )


def jumps_go_forward(subject: Subject) -> Iterator[Diagnostic]:
    """A `next` that goes back is better a loop, and without a wait in between it spins (rule 29)."""
    for list_path, states in subject.layout.lists.items():
        positions = {state.name: i for i, state in enumerate(states)}
        for position, inner, target in jumps(states):
            back_to = positions.get(target, len(states))
            if back_to > position:
                continue
            span = subject.document.span((*list_path, position, *inner))
            if any(waits(state) for state in states[back_to : position + 1]):
                message = f"'next: {target}' goes back"
                hint = "a 'loop' says how often at most; a 'wait_for_condition' polls"
                yield diagnostic("DF401", message, span=span, hint=hint)
            else:
                message = f"'next: {target}' goes back without a wait in between"
                hint = "use a 'loop' with 'max_iterations', and a 'delay' or a 'wait' if it waits for something"
                yield diagnostic("DF402", message, span=span, hint=hint)


def choices_have_a_default(subject: Subject) -> Iterator[Diagnostic]:
    """A choice without a match and without a default goes on (section 5)."""
    for placed in subject.places:
        state = placed.state
        if isinstance(state, Choice) and state.default is None and not any(arm.when is True for arm in state.choices):
            message = f"choice '{state.name}' has no default: when no arm matches, the flow goes on behind it"
            hint = "write 'default: []' if that is meant"
            yield diagnostic("DF406", message, span=subject.name_span(placed), hint=hint)


# Retries, catchers, time (section 6).


def work_is_retried(subject: Subject) -> Iterator[Diagnostic]:
    """Nothing is retried unless the file says so (section 6)."""
    defaults = subject.workflow.defaults
    if defaults and defaults.retry is not None:
        return
    for placed in subject.places:
        state = placed.state
        if isinstance(state, WORK) and state.retry is None:
            yield diagnostic(
                "DF404",
                f"state '{state.name}' is not retried when it fails",
                span=subject.name_span(placed),
                hint="give it a 'retry', or 'retry: []' if one attempt is meant; 'defaults: {retry: …}' holds for all",
            )


def callbacks_time_out(subject: Subject) -> Iterator[Diagnostic]:
    """A callback that nobody answers waits as long as the execution may live (section 7)."""
    for placed in subject.places:
        if isinstance(placed.state, WaitForCallback) and placed.state.timeout is None:
            message = f"callback '{placed.state.name}' has no timeout"
            hint = "give it a 'timeout' and catch States.Timeout"
            yield diagnostic("DF407", message, span=subject.name_span(placed), hint=hint)


_ARTICLES: Final = {"invoke": "an"}
_NUMBERS: Final = {1: "one extra operation", 2: "two extra operations"}


def timeouts_are_cheap(subject: Subject) -> Iterator[Diagnostic]:
    """A timeout that races a WAIT costs an operation, which a map pays for each item (rules 23, 27, 28)."""
    defaults = subject.workflow.defaults
    for placed in subject.places:
        state = placed.state
        around = subject.map_around(placed) if isinstance(state, RACED) else None
        if around is None or not isinstance(state, RACED):
            continue
        what = f"{_ARTICLES.get(state.type, 'a')} {state.type}"
        per = "item" if around.batch_size is None else "batch"
        hint = "the timeout of the function itself costs nothing"
        if state.timeout is not None:
            makes_context = isinstance(state, (Block, Choice, Loop)) and not state.retry
            makes_context = makes_context and not (isinstance(state, Block) and state.context)
            costs = _NUMBERS[2 if makes_context else 1]
            message = f"timeout on {what} inside a map costs {costs} per {per}"
            yield diagnostic("DF405", message, span=subject.document.key_span((*placed.path, "timeout")), hint=hint)
        elif defaults and defaults.timeout is not None and isinstance(state, (Invoke, ChildWorkflow)):
            message = f"the default timeout on {what} inside a map costs {_NUMBERS[1]} per {per}"
            hint += "; 'timeout' can stand at the states that need it"
            yield diagnostic("DF405", message, span=subject.name_span(placed), hint=hint)


_EVERYTHING: Final = frozenset({faults.ALL, "*"})


def handlers_of_errors_can_match(subject: Subject) -> Iterator[Diagnostic]:
    """A catcher or retrier behind one that takes everything never counts, but for errors caught by name (14, 18)."""
    for path, handlers in _error_handlers(subject):
        noun, done, by_name = "retrier", "takes", faults.ONLY_BY_EXACT_NAME | faults.NEVER_RETRIED_BY_GLOB
        if path[-1] == "catch":
            noun, done, by_name = "catcher", "catches", faults.ONLY_BY_EXACT_NAME
        taken = False
        for i, handler in enumerate(handlers):
            span = subject.document.span((*path, i))
            if set(handler.errors) == {faults.NON_DETERMINISTIC}:
                message = f"this {noun} never matches: '{faults.NON_DETERMINISTIC}' always ends the execution"
                yield diagnostic("DF415", message, span=span, hint="take it away")
            elif taken and not by_name.issuperset(handler.errors):
                message = f"this {noun} never matches: one before it {done} every error"
                yield diagnostic("DF415", message, span=span, hint=f"put the {noun} for {faults.ALL} last")
            taken = taken or (handler.when is True and not _EVERYTHING.isdisjoint(handler.errors))


def errors_have_names(subject: Subject) -> Iterator[Diagnostic]:
    """A name of the language's own errors that is nearly right matches nothing (section 6)."""
    own = {placed.state.error for placed in subject.places if isinstance(placed.state, Fail)}
    for path, handlers in _error_handlers(subject):
        for i, handler in enumerate(handlers):
            for j, name in enumerate(handler.errors):
                is_known = name in own or any(fnmatchcase(known, name) for known in faults.NAMES)
                if is_known or not name.startswith("States."):
                    continue
                near = difflib.get_close_matches(name, faults.NAMES, n=1, cutoff=0.85)
                if near:
                    span = subject.document.span((*path, i, "errors", j))
                    message = f"no error is called '{shown(name)}'"
                    yield diagnostic("DF419", message, span=span, hint=f"did you mean '{near[0]}'?")


def _error_handlers(subject: Subject) -> Iterator[tuple[Path, tuple[Catcher | Retrier, ...]]]:
    """Give every list of catchers and of retriers."""
    workflow = subject.workflow
    yield ("catch",), workflow.catch
    for name, policy in workflow.retry_policies.items():
        yield ("retry_policies", name), policy
    retried: list[tuple[Path, str | tuple[Retrier, ...] | None]] = []
    if workflow.defaults:
        retried.append((("defaults", "retry"), workflow.defaults.retry))
    for placed in subject.places:
        yield (*placed.path, "catch"), placed.state.catch
        if isinstance(placed.state, RetriedState):
            retried.append(((*placed.path, "retry"), placed.state.retry))
        if isinstance(placed.state, WaitForCondition):
            retried.append(((*placed.path, "check", "retry"), placed.state.check.retry))
    for path, retry in retried:
        if isinstance(retry, tuple):
            yield path, retry


# Maps and parallels (section 7).


def races_have_no_effects(subject: Subject) -> Iterator[Diagnostic]:
    """The losers of a race are abandoned, not cancelled: what they do still happens (section 7)."""
    for placed, completion in _races(subject):
        state = placed.state
        if isinstance(state, Parallel):
            is_race, bodies = (completion.min_successful or 0) < len(state.branches), list(state.branches.values())
            who = "branches"
        else:
            assert isinstance(state, Map)
            is_race, bodies, who = True, [state.states], "items"
        if is_race and any(map(_has_effects, bodies)):
            message = f"the {who} of '{state.name}' that lose the race still do their work"
            hint = "let them only read, or make what they do harmless"
            span = subject.document.key_span((*placed.path, "completion", "min_successful"))
            yield diagnostic("DF412", message, span=span, hint=hint)


def successes_are_possible(subject: Subject) -> Iterator[Diagnostic]:
    """More successes than there are branches are capped (rule 34): was another number meant?"""
    for placed, completion in _races(subject):
        state = placed.state
        wanted = completion.min_successful or 0
        if isinstance(state, Parallel) and wanted > (there := len(state.branches)):
            branches = "1 branch" if there == 1 else f"{there:,} branches"
            message = f"'min_successful' is {wanted:,}, but '{state.name}' has {branches}"
            span = subject.document.span((*placed.path, "completion", "min_successful"))
            yield diagnostic("DF417", message, span=span, hint="it counts as the number of branches: all must succeed")


def _races(subject: Subject) -> Iterator[tuple[Placed, Completion]]:
    for placed in subject.places:
        state = placed.state
        if isinstance(state, (Parallel, Map)) and state.completion and state.completion.min_successful is not None:
            yield placed, state.completion


_READING_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_READING_ACTIONS: Final = ("batch_get_", "describe_", "get_", "head_", "list_", "query", "scan")


def _has_effects(states: tuple[State, ...]) -> bool:
    """Say whether states, or states in them, may change something; what is named like reading only reads."""
    for state in states:
        match state:
            case Http():
                found = state.method not in _READING_METHODS
            case Aws():
                found = not state.action.startswith(_READING_ACTIONS)
            case _:
                found = isinstance(state, WORK)
        if found or any(_has_effects(inner) for _, inner in lists_in(state)):
            return True
    return False


# What the file calls (section 4).


def durable_functions_are_qualified(subject: Subject) -> Iterator[Diagnostic]:
    """Lambda takes no call of a durable function without a qualifier (section 4; protocol.md 7.4)."""
    for placed in subject.places:
        state = placed.state
        if isinstance(state, Invoke) and state.function in subject.known.durable:
            name = shown(state.function)
            message = f"'{name}' is a durable function and is called without a qualifier"
            hint = f"add an alias or a version, such as '{name}:live', here and in durableflow.yaml"
            yield diagnostic("DF416", message, span=subject.document.span((*placed.path, "function")), hint=hint)


def plain_http_is_allowed(subject: Subject) -> Iterator[Diagnostic]:
    """Without https only the hosts that the project allows are reached (rule 42)."""
    hosts = subject.known.hosts
    if hosts is None:
        return
    for placed in subject.places:
        state = placed.state
        if isinstance(state, Http):
            url, path = state.url, (*placed.path, "url")
        elif isinstance(state, WaitForCondition) and isinstance(state.check, HttpCheck):
            url, path = state.check.url, (*placed.path, "check", "url")
        else:
            continue
        host = "" if is_template(url) or not url.startswith("http://") else urlsplit(url).netloc.lower()
        if host and host not in hosts and host.rpartition(":")[0] not in hosts:
            message = f"'{shown(host)}' is reached without https, which the project does not allow"
            hint = f"write https://, or add '{shown(host)}' to 'http: {{allow: […]}}' in durableflow.yaml"
            yield diagnostic("DF418", message, span=subject.document.span(path), hint=hint)


LINTS: Final = (
    everything_is_reached,
    jumps_go_forward,
    choices_have_a_default,
    work_is_retried,
    callbacks_time_out,
    timeouts_are_cheap,
    handlers_of_errors_can_match,
    errors_have_names,
    races_have_no_effects,
    successes_are_possible,
    durable_functions_are_qualified,
    plain_http_is_allowed,
)
"""Every rule that only warns; their order does not matter."""
