"""Who does the work a call names? Python handlers, imported from declared folders only; and JSON Schemas.

A handler is an ordinary function of an ordinary module. What it returns becomes a JSON value, what it raises becomes a
fault, here and once: beyond this module an exception is a defect. Modules come from the declared roots and from nowhere
else, so that a workflow file cannot reach into the standard library (`os:system`) or an installed package. Packages of
others are loaded only when needed: pydantic is never imported here (a handler that wants a model has done it),
jsonschema only when a schema must be checked.

Source: language.md 4 and 12, rules 12, 13, 27, 51, 53, 57, 65.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import sys
import time
import traceback
import typing
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache, partial
from importlib.machinery import PathFinder
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from durableflow import faults, library, values
from durableflow.deadlines import OverdueError, within
from durableflow.decision import Completion
from durableflow.errors import DurableflowError, Fault, diagnostic
from durableflow.logs import StepLogger
from durableflow.plan import Step
from durableflow.source import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from durableflow.decision import Call
    from durableflow.errors import Diagnostic
    from durableflow.values import Json, Object

IMPORT_ERROR: Final = "Runtime.ImportModuleError"
HANDLER_NOT_FOUND: Final = "Runtime.HandlerNotFound"
"""What Lambda calls a function whose module cannot be imported, and one whose handler is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepContext:
    """What a step handler with two positional arguments gets as the second.

    Args:
        logger: writes JSON lines that say which execution, state and attempt they are of.
        attempt: the number of this attempt, from 1.
        idempotency_key: 32 hex digits, the same in every attempt of this state and on every replay: the key to hand to
            an API that must not act twice.
        ends_at: when the state's `timeout` is over, by `time.monotonic`; None without one.
    """

    logger: StepLogger
    attempt: int
    idempotency_key: str
    ends_at: float | None = None

    def remaining(self) -> float | None:
        """Return how many seconds are left until the state's `timeout`, at least 0; None without one."""
        return None if self.ends_at is None else max(0.0, self.ends_at - time.monotonic())

    @property
    def cancelled(self) -> bool:
        """Whether the attempt has timed out. Nobody waits for its result any more; the handler does well to stop."""
        return self.remaining() == 0


class HandlerError(DurableflowError):
    """A handler cannot be called at all.

    Args:
        problem: what is wrong and what to do.
        name: what Lambda calls it, IMPORT_ERROR or HANDLER_NOT_FOUND.
    """

    def __init__(self, problem: Diagnostic, *, name: str) -> None:
        super().__init__(problem)
        self.name = name


def system_milliseconds() -> int:
    """Return the time of this machine in epoch milliseconds."""
    return time.time_ns() // 1_000_000


class PythonWorker:
    """Calls Python handlers: does the work of steps, alone (:meth:`run`) or for a worker that knows more.

    Args:
        roots: folders that handlers may be imported from, searched in this order. They stay importable for the rest of
            the process, as the handlers themselves import from each other.
        clock_ms: the time in epoch milliseconds, for `Completion.ended_at` and log lines.
    """

    def __init__(self, roots: Sequence[Path], *, clock_ms: Callable[[], int] = system_milliseconds) -> None:
        self._finder = RootFinder.installed(roots)
        self._clock_ms = clock_ms
        self._handlers: dict[str, _Handler] = {}

    def run(self, call: Call) -> Completion:
        """Do one attempt of a step that needs no secrets; whatever goes wrong is a fault in the completion."""
        result, raised = None, None
        log = step_logger(call, self._clock_ms)
        try:
            if not isinstance(call.node, Step):
                raise TypeError(f"'{call.path}' is no step")
            result = self.called(call.node.handler, call.arguments(_no_secrets), call, log)
        except Fault as fault:
            raised = sound(fault, log)
        return Completion(operation_id=call.operation_id, result=result, fault=raised, ended_at=self._clock_ms())

    def called(self, reference: str, payload: Json, call: Call, log: StepLogger) -> Json:
        """Return what a handler makes of a payload, within the time of the call.

        Args:
            reference: `package.module:function`.
            payload: what it gets.
            call: on whose behalf.
            log: the logger of its context.

        Raises:
            Fault: whatever went wrong; States.Timeout when the time is over. The handler runs on then, for nobody.
        """
        try:
            handler = self._handlers.get(reference) or self._loaded(reference)
        except HandlerError as error:
            raise Fault(error.name, error.problem.message) from error
        argument = handler.argument(payload)
        seconds = call.timeout_seconds
        context = StepContext(
            logger=log,
            attempt=call.attempt,
            idempotency_key=call.idempotency_key,
            ends_at=None if seconds is None else time.monotonic() + seconds,
        )
        try:
            returned = within(seconds, partial(_returned, handler, argument, context))
        except OverdueError:
            raise Fault(faults.TIMEOUT, f"handler '{reference}' did not return within {seconds:g} s") from None
        except Fault as fault:
            raise Fault(faults.foreign_name(str(fault.name)), fault.message, fault.data) from fault
        except (Exception, SystemExit) as error:
            # The edge: whatever a handler raises is data from here on. SystemExit too, since an attempt that ends the
            # process would be made again for ever; KeyboardInterrupt is the user's and goes on.
            log.warning("handler '%s' of state '%s' raised", reference, call.path, exc_info=error)
            raise Fault(faults.foreign_name(type(error).__name__), message_of(error)) from error
        try:
            return values.checked(returned)
        except values.ValueRefusedError as error:
            raise Fault(faults.RESULT_INVALID, f"handler '{reference}' returned what is no JSON: {error}") from error

    def _loaded(self, reference: str) -> _Handler:
        handler = _handler(reference, function(reference, self._finder))
        self._handlers[reference] = handler
        return handler


def step_logger(
    call: Call,
    clock_ms: Callable[[], int],
    *,
    execution_arn: str | None = None,
    request_id: str | None = None,
    redact: Callable[[str], str] = str,
) -> StepLogger:
    """Return the logger of one attempt, `durableflow.handlers.STATE`.

    Args:
        call: what is attempted.
        clock_ms: the time in epoch milliseconds.
        execution_arn: of the execution, when it is known.
        request_id: of the invocation on Lambda.
        redact: takes the secrets out of a line.
    """
    facts: Object = {
        "executionArn": execution_arn,
        "requestId": request_id,
        "operationId": call.operation_id,
        "operationName": call.operation_name,
        "parentId": call.parent_id,
        "attempt": call.attempt,
    }
    logger_ = logging.getLogger(f"durableflow.handlers.{call.node.name}")
    return StepLogger(logger_, facts, clock_ms=clock_ms, redact=redact)


def _no_secrets(name: str) -> str:
    raise Fault("Secret.NotFound", f"secret '{shown(name)}' has no source here")


def _returned(handler: _Handler, argument: object, context: StepContext) -> object:
    try:
        return handler.function(argument, context) if handler.takes_context else handler.function(argument)
    finally:
        if context.cancelled:  # one that stops by itself has not made it in time either
            raise OverdueError


def check_handler(reference: str, roots: Sequence[Path]) -> Diagnostic | None:
    """Import a handler and say what is wrong with it, or None.

    The modules that this imports are forgotten afterwards, so that workflows with different roots do not meet.

    Args:
        reference: `package.module:function`.
        roots: folders that it may be imported from.
    """
    finder = RootFinder(roots)
    importlib.invalidate_caches()
    before = set(sys.modules)
    sys.meta_path.insert(0, finder)
    try:
        _handler(reference, function(reference, finder))
    except HandlerError as error:
        return error.problem
    else:
        return None
    finally:
        sys.meta_path.remove(finder)
        for name in set(sys.modules) - before:
            if name.partition(".")[0] in finder.served:
                del sys.modules[name]


# Where handlers come from.


class RootFinder:
    """Finds top-level modules in declared folders before Python looks anywhere else.

    Names of the standard library are left alone: `email.py` among the handlers must not break Python's own imports.
    """

    def __init__(self, roots: Iterable[Path]) -> None:
        self.roots = tuple(str(root.absolute()) for root in roots)
        self.served: set[str] = set()
        """Names of the top-level modules that were found here."""

    @classmethod
    def installed(cls, roots: Iterable[Path]) -> RootFinder:
        """Return the finder of these roots that Python's imports use, a new one only when there is none."""
        finder = cls(roots)
        for known in sys.meta_path:
            if isinstance(known, RootFinder) and known.roots == finder.roots:
                return known
        sys.meta_path.insert(0, finder)
        return finder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a top-level module is, or None; parts of packages are found through their package."""
        if path is not None or fullname in sys.stdlib_module_names:
            return None
        spec = PathFinder.find_spec(fullname, self.roots, target)
        if spec is None:
            return None
        self.served.add(fullname)
        if spec.loader is None and spec.submodule_search_locations is not None:
            # A folder without __init__.py: a plain list, or Python would look it up anew along sys.path.
            spec.submodule_search_locations = list(spec.submodule_search_locations)
        return spec

    def forget(self) -> None:
        """Have the modules that were found here loaded anew by whoever wants them next; who has them keeps them."""
        for name in list(sys.modules):
            if name.partition(".")[0] in self.served:
                del sys.modules[name]

    def modules(self) -> list[str]:
        """Return the names of the top-level modules and packages that stand in the roots."""
        found: set[str] = set()
        for root in self.roots:
            folder = Path(root)
            entries = list(folder.iterdir()) if folder.is_dir() else []
            found |= {entry.stem for entry in entries if entry.suffix == ".py"}
            found |= {entry.name for entry in entries if entry.is_dir() and entry.name.isidentifier()}
        return sorted(found - {"__init__", "__pycache__"})


def function(reference: str, finder: RootFinder) -> Callable[..., object]:
    """Return the function that a reference names; its module is imported once.

    Args:
        reference: `package.module:function`.
        finder: the roots; it must be in use (see :meth:`RootFinder.installed`).

    Raises:
        HandlerError: with DF520 to DF523, the module or the function is not there, not importable, no function.
    """
    name, _, attribute = reference.partition(":")
    module = _module(name, finder)
    found: object = getattr(module, attribute, None)
    if found is None:
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise HandlerError(
            diagnostic(
                "DF522",
                f"module '{shown(name)}' has no function '{shown(attribute)}'",
                hint=_near(attribute, known) or f"define it in {shown(_file(module))}",
            ),
            name=HANDLER_NOT_FOUND,
        )
    if not callable(found):
        raise HandlerError(
            diagnostic(
                "DF523",
                f"'{shown(reference)}' is no function but a {type(found).__name__}",
                hint="a handler is a function of one JSON argument and, if it takes two, the step context",
            ),
            name=HANDLER_NOT_FOUND,
        )
    return found


def _module(name: str, finder: RootFinder) -> ModuleType:
    top = name.partition(".")[0]
    folders = ", ".join(f"'{shown(root)}'" for root in finder.roots)
    if top in sys.stdlib_module_names:
        raise _import_error(
            "DF524",
            f"module '{shown(top)}' is Python's own",
            f"handlers come from {folders}; give the file another name",
        )
    spec = finder.find_spec(top)
    if spec is None:
        hint = (
            _near(top, finder.modules()) or "'handlers' in durableflow.yaml names the folders; else the workflow's own"
        )
        raise _import_error("DF520", f"there is no module '{shown(top)}' in {folders}", hint)
    try:
        _refuse_another(top, spec)
        module = importlib.import_module(name)
        # Where folders of handlers and of functions both have a module of this name, the first of them is imported.
        _refuse_another(top, spec)
    except HandlerError:
        raise
    except (Exception, SystemExit) as error:
        missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
        if missing and (name == missing or name.startswith(f"{missing}.")):
            raise _import_error("DF520", f"there is no module '{shown(name)}' in {folders}", None) from error
        raise _import_error(
            "DF521",
            f"importing '{shown(name)}' raised {type(error).__name__}: {shown(message_of(error))}",
            _where(error, finder),
        ) from error
    else:
        return module


def _refuse_another(top: str, spec: ModuleSpec) -> None:
    loaded = sys.modules.get(top)
    if loaded is not None and not _is_from(loaded, spec):
        raise _import_error(
            "DF524",
            f"module '{shown(top)}' is already loaded from {shown(_file(loaded))}",
            "give the file or folder another name than an installed package or a module of another folder",
        )


def _import_error(code: str, message: str, hint: str | None) -> HandlerError:
    return HandlerError(diagnostic(code, message, hint=hint), name=IMPORT_ERROR)


def _is_from(module: ModuleType, spec: ModuleSpec) -> bool:
    if spec.origin is not None:
        return getattr(module, "__file__", None) == spec.origin
    return not set(getattr(module, "__path__", ())).isdisjoint(spec.submodule_search_locations or ())


def _file(module: ModuleType) -> str:
    return getattr(module, "__file__", None) or f"the built-in '{module.__name__}'"


def _where(error: BaseException, finder: RootFinder) -> str | None:
    """Say which line of the author's files an import failed at."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"see {shown(error.filename)}:{error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.startswith(finder.roots):
            return f"see {shown(frame.filename)}:{frame.lineno}"
    return None


def _near(name: str, known: Iterable[str]) -> str | None:
    near = get_close_matches(name, list(known), n=1)
    return f"did you mean '{shown(near[0])}'?" if near else None


# How handlers are called.


class _Model(Protocol):
    """What is used of a pydantic model class."""

    __name__: str

    def model_validate_json(self, json_data: str) -> object: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Handler:
    function: Callable[..., object]
    takes_context: bool
    model: _Model | None

    def argument(self, payload: Json) -> object:
        """Return what the handler gets: the payload, or the model that it asks for.

        Raises:
            Fault: ValidationError, the payload does not fit the model.
        """
        if self.model is None:
            return payload
        try:
            return self.model.model_validate_json(values.to_text(payload))
        except ValueError as error:
            # pydantic.ValidationError, which is not imported to say so. The values stay out: they may be secret.
            listed = cast("Any", error).errors(include_url=False, include_context=False, include_input=False)
            problems = [{"loc": list(item["loc"]), "type": item["type"], "msg": item["msg"]} for item in listed]
            told = "; ".join(f"{'.'.join(map(str, item['loc'])) or 'payload'}: {item['msg']}" for item in problems)
            message = f"the payload does not fit '{self.model.__name__}': {told}"
            raise Fault("ValidationError", message, values.checked(problems)) from error


def _handler(reference: str, target: Callable[..., object]) -> _Handler:
    """Look once at how a handler wants to be called.

    Raises:
        HandlerError: DF523, it cannot be called with a payload and perhaps a context.
    """
    wrong = None
    if inspect.iscoroutinefunction(target):
        wrong = f"'{shown(reference)}' is asynchronous"
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):  # some callables written in C tell nothing
        return _Handler(function=target, takes_context=False, model=None)
    positional = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    # A second argument with a default is the author's own option, not a place for the context.
    takes_context = len(positional) > 1 and positional[1].default is inspect.Parameter.empty
    try:
        signature.bind(*((None, None) if takes_context else (None,)))
    except TypeError as error:
        wrong = f"'{shown(reference)}' cannot be called with a payload and a context: {error}"
    if wrong:
        raise HandlerError(
            diagnostic("DF523", wrong, hint="write `def handler(payload):` or `def handler(payload, context):`"),
            name=HANDLER_NOT_FOUND,
        )
    return _Handler(function=target, takes_context=takes_context, model=_model(target, positional))


def _model(target: Callable[..., object], positional: Sequence[inspect.Parameter]) -> _Model | None:
    """Return the pydantic model that the first argument is annotated with."""
    if not positional:
        return None
    annotation = positional[0].annotation
    if isinstance(annotation, str):
        # Only this one is evaluated: others may name what exists for type checkers alone.
        names = getattr(inspect.unwrap(target), "__globals__", {})
        try:
            annotation = typing.get_type_hints(SimpleNamespace(__annotations__={"it": annotation}), names)["it"]
        except Exception:  # noqa: BLE001 - evaluating an author's annotation may raise anything; then it is no model
            return None
    return cast("_Model", annotation) if callable(getattr(annotation, "model_validate_json", None)) else None


def sound(fault: Fault, log: StepLogger | logging.Logger) -> Fault:
    """Return a fault whose members are what they should be, whatever a handler put there; the log hears of the loss."""
    try:
        data = values.checked(fault.data)
    except values.ValueRefusedError as error:
        log.warning("the data of fault '%s' is left out: %s", shown(str(fault.name)), error)
        data = None
    return Fault(str(fault.name), str(fault.message), data)


def message_of(error: BaseException) -> str:
    """Return the text of an exception, or none where its author's `__str__` fails."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - it may raise anything
        return ""


# What values must look like.


def check_schema(schema: Json, value: Json) -> str | None:
    """Say in one line what about a value does not fit a JSON Schema, or None (rule 53).

    References to other documents are not followed. A schema that cannot be used is what does not fit.
    """
    check = _validator(values.canonical_bytes(schema))
    try:
        return check(value)
    except Exception as error:  # noqa: BLE001 - jsonschema raises what `referencing` and `re` do; all say: a bad schema
        return f"the schema cannot be used: {shown(message_of(error))}"


@lru_cache(maxsize=256)
def _validator(schema: bytes) -> Callable[[Json], str | None]:
    # Loaded here: a Lambda function without schemas starts without them (issue 2, part 7).
    from jsonschema import exceptions, validators  # noqa: PLC0415
    from referencing import Registry  # noqa: PLC0415

    known = cast("Any", values.from_text(schema.decode()))
    base = cast("Any", validators.validator_for(known, default=validators.Draft202012Validator))

    kind = cast("Any", validators.extend)(
        base,
        {
            keyword: _bounded(usual, exceptions.ValidationError)
            for keyword in ("pattern", "patternProperties")
            if (usual := base.VALIDATORS.get(keyword))
        },
    )
    validator = kind(known, registry=cast("Any", Registry)())  # an empty registry of our own fetches nothing

    def check(value: Json) -> str | None:
        error = cast("Any", exceptions).best_match(validator.iter_errors(value))
        if error is None:
            return None
        place = error.json_path.removeprefix("$").removeprefix(".")
        return f"'{shown(place)}': {shown(error.message)}" if place else shown(error.message)

    return check


def _bounded(usual: Callable[..., Iterable[Exception]], error: Callable[[str], Exception]) -> Callable[..., object]:
    """Return a keyword of patterns that never takes long: patterns and texts keep to the limits of `regex_match`."""

    def bounded(
        validator: object, patterns: str | dict[str, Json], instance: Json, schema: object
    ) -> Iterator[Exception]:
        texts = list(instance) if isinstance(instance, dict) else [instance] if isinstance(instance, str) else []
        for pattern in [patterns] if isinstance(patterns, str) else patterns:
            problem = library.pattern_problem(pattern)
            for text in texts:
                problem = problem or library.match_problem(pattern, text, is_search=True)
            if problem:
                yield error(problem)
                return
        yield from usual(validator, patterns, instance, schema)

    return bounded
