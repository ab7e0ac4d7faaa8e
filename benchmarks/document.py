"""What does an author's file cost? Reading, checking and compiling it; loading its plan; evaluating an expression.

An operation of microseconds is timed in a row of many, since a clock cannot see one.
"""

from __future__ import annotations

import json

import worlds
import yaml
from measure import figure, in_turn, is_quick, ratios

from durableflow import plan as plans
from durableflow import values
from durableflow.compiler import compile_workflow
from durableflow.decode import decode_workflow
from durableflow.document import read_document
from durableflow.expressions import Budget, Program
from durableflow.source import Source
from durableflow.templates import parse_expression

LOAD_BAR_MS = 2.0
EVALUATE_BAR_US = 2.0
IN_A_ROW = 1_000

EXPRESSION = "vars.total > 100 and input.vip"
DATA = {"vars": {"total": 250}, "input": {"vip": True}}


def main() -> None:
    is_small = is_quick(__doc__)
    rounds, count = (2, 20) if is_small else (7, 500)
    _documents(count, rounds)
    _plans(count, rounds)
    _expressions(rounds)


def _documents(count: int, rounds: int) -> None:
    text = yaml.safe_dump(json.loads(worlds.workflow(count, "invoke", is_conditional=True)), sort_keys=False)
    source = Source(name="bench.yaml", text=text)
    document = read_document(source)
    costs = in_turn(
        rounds,
        yaml=lambda: yaml.load(text, yaml.CSafeLoader),
        read=lambda: read_document(source),
        decode=lambda: decode_workflow(document),
        whole=lambda: compile_workflow(source),
    )
    for name, metric in (("read", "read"), ("decode", "decode"), ("whole", "read, check and compile")):
        figure("document", metric, [cost.cpu * 1000 for cost in costs[name]], "ms", n=count)
    figure("document", "read/CSafeLoader", ratios(costs["read"], costs["yaml"]), "ratio", n=count)
    figure("document", "read, check and compile/CSafeLoader", ratios(costs["whole"], costs["yaml"]), "ratio", n=count)


def _plans(count: int, rounds: int) -> None:
    text = values.to_text(worlds.plan_of(worlds.workflow(count, "invoke", is_conditional=True)).to_json())
    costs = in_turn(rounds, loads=lambda: json.loads(text), load=lambda: plans.from_json(values.from_text(text)))
    bar = LOAD_BAR_MS if count == 500 else None
    figure("document", "load a plan", [cost.cpu * 1000 for cost in costs["load"]], "ms", bar=bar, n=count)
    figure("document", "load a plan/json.loads", ratios(costs["load"], costs["loads"]), "ratio", n=count)


def _expressions(rounds: int) -> None:
    tree, problems = parse_expression(EXPRESSION)
    assert not problems
    program, lookup = Program(tree), DATA.__getitem__

    def evaluate() -> None:
        budget = Budget()
        for _ in range(IN_A_ROW):
            program.evaluate(lookup, budget)

    costs = in_turn(rounds, evaluate=evaluate)["evaluate"]
    each = [cost.cpu * 1e6 / IN_A_ROW for cost in costs]
    figure("document", f"evaluate {EXPRESSION}", each, "us", bar=EVALUATE_BAR_US)


if __name__ == "__main__":
    main()
