"""What engine and evaluator once disagreed about, each with its smallest workflow: a test holds that they agree now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml
from strategies import Case


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A disagreement.

    Args:
        why: what was wrong.
        states: the smallest workflow, as YAML without its head.
        answers: to the work in it.
    """

    why: str
    states: str
    answers: dict[str, Any]

    @property
    def case(self) -> Case:
        return Case(
            workflow={"durableflow": "1", "name": "d", **yaml.safe_load(self.states)},
            given={},
            answers=self.answers,
        )


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
    ),
    "retrier_fails": Finding(
        why="where a retrier's own template has no value, a step is left open on the record instead of failed",
        states="""
            states:
              - {name: a, type: step, handler: "m:f", retry: [{when: error.data.x}], catch: [{}]}
              - {name: z, type: invoke, function: z}
        """,
        answers={"a": [FAILURE]},
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
    ),
    "task_failed": Finding(
        why="States.TaskFailed is for work states (rule 14), not for those that wait (rule 23 tells them apart)",
        states="""
            states:
              - {name: a, type: wait_for_callback, catch: [{errors: [States.TaskFailed]}]}
        """,
        answers={"a": [{**FAILURE, "after": 50}]},
    ),
    "begun_in_between": Finding(
        why="an item that began when another ended was not come past once there was enough to decide",
        states="""
            states:
              - name: m
                type: map
                items: "[0, 1, 2]"
                max_concurrency: 2
                completion: {min_successful: 2}
                states: [{name: a, type: invoke, function: a, payload: {k: "{{ index }}"}}]
        """,
        answers={"a": [{"result": 0, "after": 4_000}, {"result": 1, "after": 5_000}]},
    ),
    "time_in_a_branch": Finding(
        why="a branch that reads the time waited for what another one asked for, and did not come past its own record",
        states="""
            states:
              - name: p
                type: parallel
                branches:
                  a: [{name: a, type: invoke, function: a}, {name: b, type: step, handler: "m:f"}]
                  b:
                    - {name: w, type: wait, duration: 1}
                    - {name: t, type: pass, output: "{{ context.now }}"}
                    - {name: z, type: invoke, function: z, payload: {at: "{{ states.t.result }}"}}
        """,
        answers={"a": [LONG], "z": [{"result": 1, "after": 9_000}]},
    ),
    "error_of_a_retrier": Finding(
        why="after a retry the error of the attempt stood in the place of the one around the state",
        states="""
            states:
              - name: f
                type: fail
                error: E0
                catch:
                  - states:
                      - name: a
                        type: invoke
                        function: a
                        payload: {attempt: "{{ context.state.attempt }}", x: "{{ error.name }}"}
                        retry: [{jitter: none}]
        """,
        answers={"a": [{**FAILURE, "after": 50}, SHORT]},
    ),
    "attempts_without_operations": Finding(
        why="max_duration did not count where an attempt had no operation since its arguments have no value",
        states="""
            states:
              - name: a
                type: invoke
                function: a
                payload: "{{ input.missing }}"
                retry:
                  - errors: [States.QueryEvaluationError]
                    max_attempts: 5
                    interval: 5s
                    jitter: none
                    backoff_rate: 1
                    max_duration: 12
                catch: [{}]
        """,
        answers={},
    ),
    "callback_cut_off": Finding(
        why="of a callback that was cut off by a time-out, what had been submitted was not come past any more",
        states="""
            states:
              - name: b
                type: block
                timeout: 3
                catch: [{}]
                states:
                  - {name: c, type: wait_for_callback, submit: [{name: s, type: invoke, function: s}]}
              - {name: z, type: invoke, function: z}
        """,
        answers={"c": [LONG], "s": [SHORT], "z": [SHORT]},
    ),
    "callback_answered_early": Finding(
        why="a callback that is answered before its `submit` has ended, in what a time-out cuts off",
        states="""
            states:
              - name: b
                type: block
                timeout: 3
                catch: [{}]
                states:
                  - {name: c, type: wait_for_callback, submit: [{name: s, type: invoke, function: s}]}
              - {name: z, type: invoke, function: z}
        """,
        answers={"c": [SHORT], "s": [LONG], "z": [{"result": 1, "after": 9_000}]},
    ),
    "last_check_at_the_deadline": Finding(
        why="a last check at the deadline that does not hold is too late (rule 74), not one too many",
        states="""
            states:
              - name: a
                type: wait_for_condition
                check: {type: step, handler: "m:f"}
                until: result
                interval: 2s
                max_attempts: 2
                timeout: 2
                catch: [{output: "{{ error.name }}"}]
        """,
        answers={"a": [{"result": 0}]},
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
    ),
}
