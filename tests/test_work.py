from __future__ import annotations

import importlib
import json
import logging
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from durableflow.decision import Call
from durableflow.expressions import Program
from durableflow.plan import Step
from durableflow.work import HandlerError, PythonWorker, RootFinder, check_handler, check_schema, function

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from durableflow.decision import Completion
    from durableflow.errors import Fault
    from durableflow.values import Json

KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def _own_modules() -> Iterator[None]:
    """Whatever a test imports is forgotten after it."""
    modules, finders = set(sys.modules), list(sys.meta_path)
    importlib.invalidate_caches()
    yield
    sys.meta_path[:] = finders
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(root: Path, **files: str) -> Path:
    """Write modules, named with __ for a dot."""
    for name, text in files.items():
        file = root / (name.replace("__", "/") + ".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
    return root


def call(handler: str, payload: Json = None, *, attempt: int = 1, seconds: float | None = None) -> Call:
    return Call(
        operation_id="a" * 64,
        operation_name="score",
        node=Step(name="score", handler=handler, payload=Program(["const", None])),
        path="score",
        payload=payload,
        attempt=attempt,
        idempotency_key=KEY,
        timeout_seconds=seconds,
    )


def run(root: Path, body: str, payload: Json = None, *, attempt: int = 1, seconds: float | None = None) -> Completion:
    write(root, handlers_of_test=body)
    worker = PythonWorker([root], clock_ms=lambda: 1234)
    return worker.run(call("handlers_of_test:f", payload, attempt=attempt, seconds=seconds))


def fault_of(completion: Completion) -> Fault:
    assert completion.fault is not None
    return completion.fault


def test_a_handler_gets_the_payload_and_its_result_comes_back(tmp_path: Path) -> None:
    done = run(tmp_path, "def f(order):\n    return {'total': order['price'] * 2, 'lines': (1, 2)}", {"price": 4})
    assert (done.result, done.fault) == ({"total": 8, "lines": [1, 2]}, None)
    assert (done.operation_id, done.ended_at) == ("a" * 64, 1234)


def test_a_handler_with_two_arguments_gets_the_step_context(tmp_path: Path) -> None:
    body = """
        def f(payload, context):
            return [context.attempt, context.idempotency_key, context.logger.name, context.remaining(), context.cancelled]
    """
    assert run(tmp_path, body, attempt=3).result == [3, KEY, "durableflow.handlers.score", None, False]


@pytest.mark.parametrize(
    "signature",
    ["payload, verbose=False", "payload, *rest", "payload, *, verbose=False", "*arguments", "payload, **more"],
)
def test_only_a_required_second_argument_is_the_context(tmp_path: Path, signature: str) -> None:
    assert run(tmp_path, f"def f({signature}):\n    return 'called'").result == "called"


def test_a_callable_without_a_signature_gets_the_payload(tmp_path: Path) -> None:
    assert run(tmp_path, "f = dict", {"a": 1}).result == {"a": 1}


def test_a_module_is_imported_once(tmp_path: Path) -> None:
    write(
        tmp_path,
        counted="import pathlib\nwith pathlib.Path(__file__).with_name('n').open('a') as n: n.write('x')\ndef f(_): 0",
    )
    worker = PythonWorker([tmp_path])
    for _ in range(3):
        assert worker.run(call("counted:f")).fault is None
    assert (tmp_path / "n").read_text() == "x"


def test_handlers_import_from_each_other_and_from_packages(tmp_path: Path) -> None:
    write(
        tmp_path,
        risk_of_test__rules="import beside_it\nfrom risk_of_test.tables import X\ndef f(p): return X + beside_it.Y",
    )
    write(tmp_path, risk_of_test__tables="X = 1", beside_it="Y = 2")
    assert PythonWorker([tmp_path]).run(call("risk_of_test.rules:f")).result == 3


def test_the_first_root_wins(tmp_path: Path) -> None:
    first = write(tmp_path / "first", one_of_two="def f(p): return 'first'")
    second = write(tmp_path / "second", one_of_two="def f(p): return 'second'")
    assert PythonWorker([first, second]).run(call("one_of_two:f")).result == "first"


# Time (rule 27).


def test_a_handler_in_time_is_as_one_without_a_timeout(tmp_path: Path) -> None:
    body = "def f(p, context): return [0 < context.remaining() <= 60, context.cancelled]"
    assert run(tmp_path, body, seconds=60).result == [True, False]


def test_a_handler_that_raises_in_time_raises(tmp_path: Path) -> None:
    assert fault_of(run(tmp_path, "def f(p): raise KeyError('sku')", seconds=60)).name == "KeyError"


def test_a_handler_that_is_late_has_timed_out_and_can_stop_by_itself(tmp_path: Path) -> None:
    body = """
        import threading
        ENDS = threading.Event()

        def f(p, context):
            while not context.cancelled:
                pass
            NOTED.append(context.remaining())
            ENDS.set()
            return "late"

        NOTED = []
    """
    done = run(tmp_path, body, seconds=0.05)
    fault = fault_of(done)
    assert (fault.name, fault.message) == (
        "States.Timeout",
        "handler 'handlers_of_test:f' did not return within 0.05 s",
    )
    assert done.result is None
    handlers = sys.modules["handlers_of_test"]
    assert handlers.ENDS.wait(20)
    assert handlers.NOTED == [0]


# Logs.


def test_the_logger_writes_json_lines(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    body = "def f(p, context): context.logger.info('charged %s of %s', 5, 'EUR', extra={'order': 'o1'})"
    with caplog.at_level(logging.INFO):
        run(tmp_path, body, attempt=2)
    assert json.loads(caplog.messages[0]) == {
        "timestamp": "1970-01-01T00:00:01.234Z",
        "level": "INFO",
        "message": "charged 5 of EUR",
        "operationId": "a" * 64,
        "operationName": "score",
        "attempt": 2,
        "order": "o1",
    }


# What goes wrong in a handler.


def test_an_exception_becomes_a_fault_of_its_bare_class_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        done = run(tmp_path, "class CardDeclined(Exception): pass\ndef f(p): raise CardDeclined('no funds')")
    fault = fault_of(done)
    assert (fault.name, fault.message, fault.data) == ("CardDeclined", "no funds", None)
    line = json.loads(caplog.messages[0])
    assert line["message"] == "handler 'handlers_of_test:f' of state 'score' raised"
    assert line["exception"].endswith("handlers_of_test.CardDeclined: no funds"), "with the traceback"


def test_a_raised_fault_chooses_what_is_seen(tmp_path: Path) -> None:
    body = "from durableflow.errors import Fault\ndef f(p): raise Fault('Declined', 'no funds', {'code': 51})"
    fault = fault_of(run(tmp_path, body))
    assert (fault.name, fault.message, fault.data) == ("Declined", "no funds", {"code": 51})


@pytest.mark.parametrize("name", ["States.Timeout", "States.Runtime", "NonDeterministicExecutionError"])
def test_a_handler_cannot_raise_an_error_of_the_language(tmp_path: Path, name: str) -> None:
    body = f"from durableflow.errors import Fault\ndef f(p): raise Fault('{name}')"
    assert fault_of(run(tmp_path, body)).name == f"Worker.{name}"


def test_fault_data_that_is_no_json_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    body = "from durableflow.errors import Fault\ndef f(p): raise Fault('Declined', 5, {1, 2})"
    fault = fault_of(run(tmp_path, body))
    assert (fault.name, fault.message, fault.data) == ("Declined", "5", None)
    (line,) = [json.loads(message) for message in caplog.messages]
    assert line["message"].startswith("the data of fault 'Declined' is left out: ")
    assert line["attempt"] == 1


def test_sys_exit_is_a_fault_and_not_the_end_of_the_process(tmp_path: Path) -> None:
    fault = fault_of(run(tmp_path, "import sys\ndef f(p): sys.exit(3)"))
    assert (fault.name, fault.message) == ("SystemExit", "3")


def test_an_interrupt_of_the_user_goes_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "def f(p): raise KeyboardInterrupt")


def test_an_exception_that_cannot_be_printed_is_still_a_fault(tmp_path: Path) -> None:
    body = "class Odd(Exception):\n    def __str__(self): raise ValueError\ndef f(p): raise Odd"
    fault = fault_of(run(tmp_path, body))
    assert (fault.name, fault.message) == ("Odd", "")


@pytest.mark.parametrize("returned", ["{1, 2}", "{1: 2}", "float('nan')", "2**70", "object()", "b'x'"])
def test_a_result_that_is_no_json_is_refused(tmp_path: Path, returned: str) -> None:
    fault = fault_of(run(tmp_path, f"def f(p): return {returned}"))
    assert fault.name == "States.ResultInvalid"
    assert "handlers_of_test:f" in fault.message


# Models.

MODEL = """
    {future}
    import pydantic

    class Order(pydantic.BaseModel):
        price: int
        day: 'str' = ''

    def f(order: Order):
        return [type(order).__name__, order.price]
"""


@pytest.mark.parametrize("future", ["", "from __future__ import annotations"])
def test_a_handler_that_asks_for_a_model_gets_one(tmp_path: Path, future: str) -> None:
    assert run(tmp_path, MODEL.format(future=future), {"price": 4}).result == ["Order", 4]


def test_a_payload_that_does_not_fit_the_model_is_a_fault_without_its_values(tmp_path: Path) -> None:
    fault = fault_of(run(tmp_path, MODEL.format(future=""), {"price": "secret"}))
    assert fault.name == "ValidationError"
    assert fault.message.startswith("the payload does not fit 'Order': price: Input should be a valid integer")
    assert "secret" not in fault.message + repr(fault.data)
    assert isinstance(fault.data, list)


def test_an_annotation_for_type_checkers_alone_is_no_model(tmp_path: Path) -> None:
    assert run(tmp_path, "def f(order: 'Missing | None'): return order", 1).result == 1


# Handlers that cannot be called.


@pytest.mark.parametrize(
    ("reference", "code", "words", "hint"),
    [
        ("scorning:f", "DF520", "there is no module 'scorning' in", "did you mean 'scoring'?"),
        (
            "elsewhere:f",
            "DF520",
            "there is no module 'elsewhere' in",
            "'handlers' in durableflow.yaml names the folders",
        ),
        ("scoring.deep:f", "DF520", "there is no module 'scoring.deep' in", None),
        ("broken:f", "DF521", "importing 'broken' raised ZeroDivisionError: division by zero", "broken.py:2"),
        ("unreadable:f", "DF521", "importing 'unreadable' raised SyntaxError", "unreadable.py:1"),
        ("leaving:f", "DF521", "importing 'leaving' raised SystemExit: 4", "leaving.py:2"),
        (
            "needs:f",
            "DF521",
            "importing 'needs' raised ModuleNotFoundError: No module named 'not_installed'",
            "needs.py",
        ),
        ("scoring:scope", "DF522", "module 'scoring' has no function 'scope'", "did you mean 'score'?"),
        ("scoring:zzz", "DF522", "module 'scoring' has no function 'zzz'", "define it in"),
        ("scoring:LIMIT", "DF523", "'scoring:LIMIT' is no function but a int", None),
        ("scoring:nothing", "DF523", "'scoring:nothing' cannot be called with a payload", "def handler(payload)"),
        ("scoring:three", "DF523", "'scoring:three' cannot be called with a payload", None),
        ("scoring:later", "DF523", "'scoring:later' is asynchronous", "def handler(payload)"),
        ("os:system", "DF524", "module 'os' is Python's own", "give the file another name"),
        ("pytest:main", "DF520", "there is no module 'pytest' in", None),
        (
            "jsonschema:validate",
            "DF524",
            "module 'jsonschema' is already loaded from",
            "give the file or folder another name",
        ),
    ],
)
def test_a_handler_that_cannot_be_called_is_a_problem(
    tmp_path: Path, reference: str, code: str, words: str, hint: str | None
) -> None:
    importlib.import_module("jsonschema")
    write(
        tmp_path,
        scoring="""
            LIMIT = 5
            def score(payload): pass
            def nothing(): pass
            def three(a, b, c): pass
            async def later(payload): pass
        """,
        broken="\n1 / 0",
        unreadable="def f(:",
        leaving="import sys\nsys.exit(4)",
        needs="import not_installed",
        jsonschema="def validate(payload): pass",
    )
    problem = check_handler(reference, [tmp_path])
    assert problem is not None
    assert (problem.code, problem.severity) == (code, "error")
    assert problem.message.startswith(words)
    if hint:
        assert hint in (problem.hint or "")


def test_a_handler_that_can_be_called_is_no_problem_and_is_forgotten(tmp_path: Path) -> None:
    first = write(tmp_path / "first", same_name="def one(p): pass")
    second = write(tmp_path / "second", same_name="def two(p): pass")
    finders = list(sys.meta_path)
    assert check_handler("same_name:one", [first]) is None
    assert check_handler("same_name:two", [second]) is None
    assert "same_name" not in sys.modules
    assert sys.meta_path == finders


@pytest.mark.parametrize(
    ("reference", "name"), [("absent:f", "Runtime.ImportModuleError"), ("there:g", "Runtime.HandlerNotFound")]
)
def test_a_step_whose_handler_is_not_there_fails_as_on_lambda(tmp_path: Path, reference: str, name: str) -> None:
    write(tmp_path, there="def f(p): pass")
    assert fault_of(PythonWorker([tmp_path]).run(call(reference))).name == name


def test_modules_of_the_standard_library_are_not_shadowed(tmp_path: Path) -> None:
    write(tmp_path, sunau="raise RuntimeError", colorsys="raise RuntimeError")
    finder = RootFinder.installed([tmp_path])
    assert importlib.import_module("colorsys").__file__ != str(tmp_path / "colorsys.py")
    with pytest.raises(HandlerError, match="Python's own"):
        function("colorsys:rgb_to_hsv", finder)


def test_a_folder_without_init_is_taken_from_the_roots_even_if_a_package_is_installed(tmp_path: Path) -> None:
    write(tmp_path, click_of_test__rules="def f(p): return 1")
    installed = write(tmp_path / "installed", click_of_test____init__="raise RuntimeError")
    (installed / "click_of_test.py").write_text("raise RuntimeError")
    sys.path.insert(0, str(installed))
    try:
        assert PythonWorker([tmp_path]).run(call("click_of_test.rules:f")).result == 1
    finally:
        sys.path.remove(str(installed))


def test_roots_are_installed_once(tmp_path: Path) -> None:
    assert RootFinder.installed([tmp_path]) is RootFinder.installed([tmp_path])


# Schemas.


@pytest.mark.parametrize(
    ("schema", "value", "problem"),
    [
        ({"type": "integer"}, 1, None),
        ({"type": "integer"}, "1", "'1' is not of type 'integer'"),
        ({"properties": {"a": {"items": {"minimum": 2}}}}, {"a": [3, 1]}, "'a[1]': 1 is less than the minimum of 2"),
        ({"required": ["a"]}, {}, "'a' is a required property"),
        (False, 1, "False schema does not allow 1"),
        ({"$ref": "https://example.com/a.json"}, 1, "the schema cannot be used: "),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"const": 1}}}, 1, None),
        ({"pattern": "^a+$"}, "aa", None),
        ({"pattern": "^a+$"}, "b", "'b' does not match '^a+$'"),
        ({"pattern": "^a+$"}, 5, None),
        ({"pattern": "(a+)+$"}, "a" * 40 + "b", "a repeat inside a repeat is not allowed in a pattern"),
        ({"pattern": "^a"}, "a" * 1001, "text of over 1,000 characters is matched with no pattern"),
        ({"patternProperties": {"(a+)+$": {}}}, {"a" * 40 + "b": 1}, "a repeat inside a repeat is not allowed"),
        ({"patternProperties": {"^a": {"type": "null"}}}, {"ab": 1}, "'ab': 1 is not of type 'null'"),
        ({"type": 5}, 1, "the schema cannot be used: "),
    ],
)  # fmt: skip
def test_what_does_not_fit_a_schema_is_said_in_one_line(schema: Json, value: Json, problem: str | None) -> None:
    said = check_schema(schema, value)
    if problem is None:
        assert said is None
    else:
        assert said is not None
        assert said.startswith(problem)
        assert "\n" not in said
