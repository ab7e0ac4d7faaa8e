"""What engine and evaluator are known to disagree about: one list with reasons.

Each finding has a smallest workflow, which a test expects to disagree: it fails as soon as one agrees, and then the
finding is to be taken out. Random workflows that show a finding are passed over.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml
from evaluator import Outcome
from strategies import Case


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A disagreement.

    Args:
        why: what the rules say and what the engine does instead.
        states: the smallest workflow, as YAML without its head.
        answers: to the work in it.
        shows: says whether a random workflow and what the engine made of it (or raised) show it.
    """

    why: str
    states: str
    answers: dict[str, Any]
    shows: Callable[[Case, Outcome | BaseException], bool]

    @property
    def case(self) -> Case:
        return Case(
            workflow={"durableflow": "1", "name": "d", **yaml.safe_load(self.states)},
            given={},
            answers=self.answers,
        )


def _says(*words: str) -> Callable[[Case, Outcome | BaseException], bool]:
    """Return what finds words in the error that the engine ends with."""

    def shows(_: Case, found: Outcome | BaseException) -> bool:
        told = str(found.error) if isinstance(found, Outcome) else str(found)
        return all(word in told for word in words)

    return shows


def _holds(*words: str) -> Callable[[Case, Outcome | BaseException], bool]:
    """Return what finds words in the workflow."""
    return lambda case, _: all(word in json.dumps(case.workflow) for word in words)


FAILURE = {"error": {"name": "E1", "message": "m", "data": None}}
LONG, SHORT = {"result": 1, "after": 5_000}, {"result": 1, "after": 50}

FINDINGS: dict[str, Finding] = {
    "workflow_timeout": Finding(
        why="after a workflow's own time-out nothing can suspend: the next invocation does not come past its WAIT",
        states="""
            timeout: 2
            states: [{name: a, type: invoke, function: a}]
            finally: [{name: z, type: invoke, function: z}]
        """,
        answers={"a": [LONG], "z": [SHORT]},
        shows=_says("NonDeterministic", "WAIT/Wait", "-timeout"),
    ),
    "argument_in_context": Finding(
        why="a state in a replayed context whose arguments have no value never had an operation; replay misses one",
        states="""
            states:
              - name: b
                type: block
                retry: [{errors: [Other]}]
                states: [{name: a, type: invoke, function: a, payload: "{{ input.missing }}"}]
                catch: [{}]
              - {name: z, type: invoke, function: z}
        """,
        answers={},
        shows=_says("NonDeterministic", "in a context that has finished without it"),
    ),
    "retrier_fails": Finding(
        why="where a retrier's own template has no value, a step is left open on the record instead of failed",
        states="""
            states:
              - {name: a, type: step, handler: "m:f", retry: [{when: error.data.x}], catch: [{}]}
              - {name: z, type: invoke, function: z}
        """,
        answers={"a": [FAILURE]},
        shows=_says("NonDeterministic", "which the workflow does not come past before STEP"),
    ),
    "parallel_timeout": Finding(
        why="a parallel that times out while a completed branch is to be undone waits for ever",
        states="""
            states:
              - name: p
                type: parallel
                timeout: 3
                branches:
                  a: [{name: a, type: invoke, function: a}]
                  b: [{name: b, type: invoke, function: b, compensate: [{name: c, type: invoke, function: c}]}]
        """,
        answers={"a": [LONG], "b": [SHORT], "c": [SHORT]},
        shows=_says("PENDING with nothing pending"),
    ),
    "task_failed": Finding(
        why="States.TaskFailed is for work states (rule 14), not for those that wait (rule 23 tells them apart)",
        states="""
            states:
              - {name: a, type: wait_for_callback, catch: [{errors: [States.TaskFailed]}]}
        """,
        answers={"a": [{**FAILURE, "after": 50}]},
        shows=_holds("States.TaskFailed", "wait_for_"),
    ),
    "state_of_catcher": Finding(
        why="the error of a catcher's own template has the state around as error.state, not the catcher's (rule 15)",
        states="""
            states:
              - name: b
                type: block
                states: [{name: a, type: invoke, function: a, catch: [{when: error.data.x}]}]
                catch: [{output: "{{ error.state }}"}]
        """,
        answers={"a": [FAILURE]},
        shows=lambda _, __: False,
    ),
}


def known(case: Case, found: Outcome | BaseException) -> bool:
    """Say whether a disagreement shows a finding."""
    return any(finding.shows(case, found) for finding in FINDINGS.values())
