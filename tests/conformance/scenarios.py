"""What every service must do alike: workflows, their inputs, the functions they invoke, and how they end.

Nothing is imported here but the standard library: the official runner's environment reads this file, too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HANDLERS = Path(__file__).parent / "handlers"


class CardDeclined(Exception):  # noqa: N818 - an error name as functions report it
    pass


def targets() -> dict[str, Any]:
    """The plain functions of one execution, by name: what they get and give are JSON values."""
    calls: list[Any] = []

    def second_time(payload: Any) -> Any:
        calls.append(payload)
        if len(calls) < 2:
            raise CardDeclined("not yet")
        return len(calls)

    def declined(payload: Any) -> Any:
        raise CardDeclined(f"card of {payload['who']}")

    return {
        "double": lambda payload: payload["n"] * 2,
        "echo": lambda payload: payload,
        "nothing": lambda _: None,
        "declined": declined,
        "second_time": second_time,
    }


@dataclass(frozen=True)
class Scenario:
    """One execution.

    Args:
        workflow: the text of `workflow.yaml` after its first two lines.
        status: how the execution ends.
        result: its result, when it succeeds.
        error: its error's type and message, when it fails.
        operations: what is recorded, in order: type, name, status.
        input: the execution's input.
        children: workflows that are invoked as durable functions, by function name.
    """

    workflow: str
    status: str
    operations: tuple[tuple[str, str, str], ...]
    result: Any = None
    error: tuple[str, str] | None = None
    input: Any = field(default_factory=dict)
    children: dict[str, str] = field(default_factory=dict)

    def text(self, name: str = "scenario") -> str:
        """The whole workflow file."""
        return workflow(name, self.workflow)


def workflow(name: str, states: str) -> str:
    return f'durableflow: "1"\nname: {name}\n{states}'


def invoked(name: str, status: str = "SUCCEEDED") -> tuple[str, str, str]:
    return ("CHAINED_INVOKE", name, status)


def stepped(name: str, status: str = "SUCCEEDED") -> tuple[str, str, str]:
    return ("STEP", name, status)


def waited(name: str) -> tuple[str, str, str]:
    return ("WAIT", name, "SUCCEEDED")


SCENARIOS = {
    "an invoke of a plain function": Scenario(
        """
states:
  - {name: call, type: invoke, function: double, payload: {n: "{{ input.n }}"}, retry: []}
output: {twice: "{{ states.call.result }}"}
""",
        input={"n": 21},
        status="SUCCEEDED",
        result={"twice": 42},
        operations=(invoked("call"),),
    ),
    "a chain of invokes": Scenario(
        """
states:
  - {name: a, type: invoke, function: double, payload: {n: 1}, retry: []}
  - {name: b, type: invoke, function: double, payload: {n: "{{ states.a.result }}"}, retry: []}
  - {name: c, type: invoke, function: double, payload: {n: "{{ states.b.result }}"}, retry: []}
""",
        status="SUCCEEDED",
        result=8,
        operations=(invoked("a"), invoked("b"), invoked("c")),
    ),
    "a function that gives nothing": Scenario(
        """
states:
  - {name: call, type: invoke, function: nothing, retry: []}
""",
        status="SUCCEEDED",
        result=None,
        operations=(invoked("call"),),
    ),
    "a payload of every kind of value": Scenario(
        """
states:
  - {name: call, type: invoke, function: echo, payload: "{{ input }}", retry: []}
""",
        input={"text": 'ä€😀\n"\\', "numbers": [0, -1, 1.5, 12345678901234567], "deep": [[{"x": None}], True, {}]},
        status="SUCCEEDED",
        result={"text": 'ä€😀\n"\\', "numbers": [0, -1, 1.5, 12345678901234567], "deep": [[{"x": None}], True, {}]},
        operations=(invoked("call"),),
    ),
    "an invoke that fails and is caught": Scenario(
        """
states:
  - name: call
    type: invoke
    function: declined
    payload: {who: Zoe}
    retry: []
    catch:
      - errors: [CardDeclined]
        output: "{{ error.name }}: {{ error.message }}, {{ error.status }}"
""",
        status="SUCCEEDED",
        result="CardDeclined: card of Zoe, FAILED",
        operations=(invoked("call", "FAILED"),),
    ),
    "an invoke that fails and ends the execution": Scenario(
        """
states:
  - {name: call, type: invoke, function: declined, payload: {who: Zoe}, retry: []}
""",
        status="FAILED",
        error=("CardDeclined", "card of Zoe"),
        operations=(invoked("call", "FAILED"),),
    ),
    "an invoke of an unknown function": Scenario(
        """
states:
  - name: call
    type: invoke
    function: missing
    retry: []
    catch:
      - errors: [Lambda.ResourceNotFoundException]
        output: "{{ error.name }}"
""",
        status="SUCCEEDED",
        result="Lambda.ResourceNotFoundException",
        operations=(invoked("call", "FAILED"),),
    ),
    "an invoke that is tried again": Scenario(
        """
states:
  - name: call
    type: invoke
    function: second_time
    retry: [{errors: [CardDeclined], max_attempts: 3, interval: 2s, jitter: none}]
""",
        status="SUCCEEDED",
        result=2,
        operations=(invoked("call", "FAILED"), waited("call-backoff-1"), invoked("call")),
    ),
    "an invoke of a durable function": Scenario(
        """
states:
  - {name: ship, type: invoke, function: "shipping:live", payload: {order: 7}, retry: []}
""",
        children={
            "shipping:live": """
states:
  - {name: pack, type: wait, duration: 3s}
  - {name: carry, type: step, handler: "jobs:echo", payload: ["{{ input.order }}"], retry: []}
"""
        },
        status="SUCCEEDED",
        result=[7],
        operations=(invoked("ship"),),
    ),
    "an invoke of a durable function that fails": Scenario(
        """
states:
  - name: ship
    type: invoke
    function: "shipping:live"
    retry: []
    catch: [{errors: [NoCarrier], output: "{{ error.message }}"}]
""",
        children={
            "shipping:live": """
states:
  - {name: pack, type: wait, duration: 3s}
  - {name: stop, type: fail, error: NoCarrier, cause: nobody drives today}
"""
        },
        status="SUCCEEDED",
        result="nobody drives today",
        operations=(invoked("ship", "FAILED"),),
    ),
    "a step": Scenario(
        """
states:
  - {name: work, type: step, handler: "jobs:add", payload: [1, 2, "{{ input.n }}"], retry: []}
""",
        input={"n": 4},
        status="SUCCEEDED",
        result=7,
        operations=(stepped("work"),),
    ),
    "a step that succeeds at the third attempt": Scenario(
        """
states:
  - name: work
    type: step
    handler: jobs:third_time
    payload: {n: 1}
    retry: [{errors: [Busy], max_attempts: 3, interval: 2s, jitter: none}]
""",
        status="SUCCEEDED",
        result={"attempt": 3, "payload": {"n": 1}},
        operations=(stepped("work"),),
    ),
    "a step that runs out of attempts": Scenario(
        """
states:
  - name: work
    type: step
    handler: jobs:broken
    payload: luck
    retry: [{errors: [ValueError], max_attempts: 2, interval: 2s, jitter: none}]
""",
        status="FAILED",
        error=("ValueError", "no luck"),
        operations=(stepped("work", "FAILED"),),
    ),
    "a step at most once": Scenario(
        """
states:
  - {name: work, type: step, handler: "jobs:echo", payload: once, semantics: at_most_once, retry: []}
""",
        status="SUCCEEDED",
        result="once",
        operations=(stepped("work"),),
    ),
    "a wait": Scenario(
        """
states:
  - {name: rest, type: wait, duration: 5s}
output: rested
""",
        status="SUCCEEDED",
        result="rested",
        operations=(waited("rest"),),
    ),
    "everything in a row": Scenario(
        """
states:
  - {name: reserve, type: invoke, function: double, payload: {n: 3}, retry: []}
  - name: charge
    type: step
    handler: jobs:third_time
    payload: "{{ states.reserve.result }}"
    retry: [{max_attempts: 3, interval: 2s, jitter: none}]
  - {name: rest, type: wait, duration: 60s}
  - name: route
    type: choice
    choices:
      - when: states.charge.result.attempt == 3
        states: [{name: ship, type: invoke, function: echo, payload: "{{ states.charge.result }}", retry: []}]
output: "{{ states.ship.result }}"
""",
        status="SUCCEEDED",
        result={"attempt": 3, "payload": 6},
        operations=(invoked("reserve"), stepped("charge"), waited("rest"), invoked("ship")),
    ),
    "a loop": Scenario(
        """
vars: {total: 0}
states:
  - name: again
    type: loop
    max_iterations: 4
    delay: 1s
    states:
      - name: call
        type: invoke
        function: double
        payload: {n: "{{ iteration }}"}
        retry: []
        assign: {total: "{{ vars.total + result }}"}
output: "{{ vars.total }}"
""",
        status="SUCCEEDED",
        result=12,
        operations=(
            invoked("call"),
            waited("again-delay"),
            invoked("call"),
            waited("again-delay"),
            invoked("call"),
            waited("again-delay"),
            invoked("call"),
        ),
    ),
    "a history of many pages": Scenario(
        """
vars: {size: 0}
states:
  - name: again
    type: loop
    max_iterations: 40
    states:
      - name: text
        type: step
        handler: jobs:long_text
        payload: 2000
        retry: []
        assign: {size: "{{ vars.size + result | length }}"}
  - {name: rest, type: wait, duration: 5s}
  - {name: call, type: invoke, function: echo, payload: "{{ vars.size }}", retry: []}
""",
        status="SUCCEEDED",
        result=80_000,
        operations=(*[stepped("text")] * 40, waited("rest"), invoked("call")),
    ),
    "a failure of the workflow's own": Scenario(
        """
states:
  - {name: first, type: step, handler: "jobs:echo", retry: []}
  - {name: stop, type: fail, error: Rejected, cause: "too much: {{ input.n }}"}
""",
        input={"n": 9},
        status="FAILED",
        error=("Rejected", "too much: 9"),
        operations=(stepped("first"),),
    ),
    "a workflow without operations": Scenario(
        """
states:
  - {name: sum, type: pass, assign: {total: "{{ input.lines | sum }}"}}
output: "{{ vars.total }}"
""",
        input={"lines": [1, 2, 3]},
        status="SUCCEEDED",
        result=6,
        operations=(),
    ),
}


@dataclass(frozen=True)
class Ended:
    """How an execution ended, and what was recorded."""

    status: str
    result: Any
    error: tuple[str, str] | None
    operations: tuple[tuple[str, str, str], ...]


def ended(output: dict[str, Any], operations: list[Any]) -> Ended:
    """An execution by its last output and its operations as on the wire."""
    error = output.get("Error")
    return Ended(
        status=output["Status"],
        result=json.loads(output["Result"]) if output["Status"] == "SUCCEEDED" else None,
        error=(error["ErrorType"], error["ErrorMessage"]) if error else None,
        operations=tuple((o["Type"], o["Name"], o["Status"]) for o in operations if o["Type"] != "EXECUTION"),
    )
