"""What went wrong, where, and what to do? The one hierarchy, `Diagnostic`, and the table of codes.

    DurableflowError
    ├── WorkflowError    the author can fix the file; holds every Diagnostic, in file order
    ├── ReplayError      the record and the Plan disagree: id, expected, recorded
    ├── ServiceError     the durable execution service refused or failed; `is_retryable`
    └── UsageError       the caller can fix the call
    Fault                a failure that a workflow can catch: plain data, recorded

Catch by what you would do about it.
"""

# ruff: noqa: ERA001 - the headings of the ranges in CODES look like code to it

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from durableflow.source import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durableflow.source import Span
    from durableflow.values import Json, Object

# Nobody reads more, and a file of faults must not flood a terminal (reliability.md D3).
SHOWN_PROBLEMS = 20

Severity: TypeAlias = Literal["error", "warning", "info"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """One kind of problem: what `durableflow validate --explain` prints.

    Args:
        severity: errors refuse the file, warnings do not (unless --strict), info never does.
        title: what is wrong, in a few words, without the particulars.
    """

    severity: Severity
    title: str


CODES: dict[str, Code] = {
    # DF1xx: reading text (syntax.py, document.py)
    "DF101": Code(severity="error", title="the file is not UTF-8"),
    "DF102": Code(severity="error", title="the text is too large"),
    "DF103": Code(severity="error", title="a character that cannot stand in a file"),
    "DF104": Code(severity="error", title="the file is empty"),
    "DF105": Code(severity="error", title="nested too deeply"),
    "DF106": Code(severity="error", title="too many values"),
    "DF107": Code(severity="error", title="one text is too long"),
    "DF110": Code(severity="error", title="a tab where YAML takes only spaces"),
    "DF111": Code(severity="error", title="a line that is indented wrongly"),
    "DF112": Code(severity="error", title="a quote that is never closed"),
    "DF113": Code(severity="error", title="a bracket that is not closed, or a comma that is missing"),
    "DF114": Code(severity="error", title="a second ': ' in an unquoted value"),
    "DF115": Code(severity="error", title="an escape that does not exist"),
    "DF116": Code(severity="error", title="an unquoted value that starts with a reserved character"),
    "DF117": Code(severity="error", title="a block text whose first line is not right"),
    "DF118": Code(severity="error", title="not YAML"),
    "DF119": Code(severity="error", title="not JSON"),
    "DF120": Code(severity="error", title="a template without quotes"),
    "DF121": Code(severity="error", title="a template in a key"),
    "DF122": Code(severity="error", title="a key that is no text"),
    "DF123": Code(severity="error", title="a key that stands twice"),
    "DF124": Code(severity="error", title="an unquoted value that readers take for different things"),
    "DF125": Code(severity="error", title="a number that cannot be kept exactly"),
    "DF126": Code(severity="error", title="a text with a character that no text can hold"),
    "DF130": Code(severity="error", title="a tag"),
    "DF131": Code(severity="error", title="a directive"),
    "DF132": Code(severity="error", title="a second document"),
    "DF133": Code(severity="error", title="an alias without its anchor"),
    "DF134": Code(severity="error", title="an alias inside its own anchor"),
    "DF135": Code(severity="error", title="an anchor that is set twice"),
    "DF136": Code(severity="error", title="a merge of something that has no keys"),
    # DF15x-DF19x: the shape of a workflow (decode.py)
    "DF150": Code(severity="error", title="a file that is no mapping"),
    "DF151": Code(severity="error", title="no version of the language, or one that is not known"),
    "DF152": Code(severity="error", title="a key that is missing"),
    "DF153": Code(severity="error", title="a key that does not exist"),
    "DF154": Code(severity="error", title="a key that belongs to something else"),
    "DF155": Code(severity="error", title="no type, or one that does not exist"),
    "DF156": Code(severity="error", title="a value of the wrong kind"),
    "DF157": Code(severity="error", title="a text that is not of the form it must have"),
    "DF158": Code(severity="error", title="a text that is no duration"),
    "DF159": Code(severity="error", title="a number or duration out of its bounds"),
    "DF160": Code(severity="error", title="a word that is not one of those possible"),
    "DF161": Code(severity="error", title="keys that exclude each other, or none of several"),
    "DF162": Code(severity="error", title="a list that must not be empty"),
    # DF2xx: templates and expressions (templates.py, rules.py)
    "DF200": Code(severity="error", title="a template or expression that cannot be read"),
    "DF201": Code(severity="error", title="unknown name of data"),
    "DF202": Code(severity="error", title="unknown filter"),
    "DF203": Code(severity="error", title="unknown test"),
    "DF204": Code(severity="error", title="an expression names a state that does not exist"),
    "DF205": Code(severity="error", title="unknown function, or a method call"),
    "DF206": Code(severity="error", title="wrong arguments of a filter, test or function"),
    "DF207": Code(severity="error", title="a construct of Jinja2 that does not exist here"),
    "DF208": Code(severity="error", title="a statement tag in an expression"),
    "DF209": Code(severity="error", title="a template that is too long"),
    "DF210": Code(severity="error", title="a template that is nested too deep"),
    "DF212": Code(severity="error", title="a number literal that is out of range"),
    "DF213": Code(severity="error", title="a key that belongs to Python"),
    "DF214": Code(severity="error", title="a pattern that is refused"),
    "DF215": Code(severity="warning", title="an expression in braces"),
    "DF216": Code(severity="error", title="an expression that is no text"),
    "DF231": Code(severity="error", title="an expression reads a state that cannot be seen from there"),
    "DF232": Code(severity="error", title="an expression reads a state that cannot have run yet"),
    "DF233": Code(severity="error", title="an expression reads a variable that nothing sets"),
    "DF234": Code(severity="error", title="an expression reads a key that the schema excludes"),
    "DF235": Code(severity="error", title="an environment name that is not declared"),
    "DF236": Code(severity="error", title="a name that means nothing where it stands"),
    "DF237": Code(severity="error", title="an expression reads a field that does not exist"),
    "DF239": Code(severity="error", title="a secret where none can be"),
    "DF240": Code(severity="error", title="a secret that is not declared"),
    "DF241": Code(severity="error", title="a file name that is not known in advance or leads outside the project"),
    "DF242": Code(severity="error", title="a file of the workflow that cannot be read"),
    "DF243": Code(severity="error", title="a label that reads what can change"),
    # DF3xx: meaning (rules.py, compiler.py)
    "DF301": Code(severity="error", title="two states have the same name"),
    "DF302": Code(severity="error", title="'next' names no state of its list"),
    "DF303": Code(severity="error", title="a retry policy that does not exist"),
    "DF304": Code(severity="error", title="an AWS service that does not exist"),
    "DF305": Code(severity="error", title="an action that its AWS service does not have, or that no state can call"),
    "DF306": Code(severity="error", title="a workflow that does not exist"),
    "DF307": Code(severity="error", title="an inline workflow that comes back to itself"),
    "DF308": Code(severity="error", title="not a JSON Schema"),
    "DF309": Code(severity="error", title="a schema's reference that leads nowhere, outside or to itself"),
    "DF310": Code(severity="error", title="a schema's pattern that could run away"),
    "DF311": Code(severity="error", title="a parameter that an AWS action does not take, or needs"),
    "DF313": Code(severity="error", title="'succeed' where it is not allowed"),
    "DF314": Code(severity="error", title="'compensate' where it is not allowed"),
    "DF315": Code(severity="error", title="a function that data names, without a list of those allowed"),
    "DF317": Code(severity="error", title="too many templates"),
    "DF318": Code(severity="error", title="a former name that belongs to another state"),
    "DF319": Code(severity="error", title="too many states with those of inline workflows"),
    # DF4xx: warnings (rules.py)
    "DF401": Code(severity="warning", title="'next' goes back"),
    "DF402": Code(severity="warning", title="'next' goes back without a wait in between"),
    "DF403": Code(severity="warning", title="a state that can never run"),
    "DF404": Code(severity="warning", title="work that is not retried"),
    "DF405": Code(severity="warning", title="a timeout that costs operations for each item of a map"),
    "DF406": Code(severity="warning", title="a choice without a default"),
    "DF407": Code(severity="warning", title="a callback without a timeout"),
    "DF408": Code(severity="warning", title="a condition that is a text"),
    "DF409": Code(severity="warning", title="a decision or call that depends on the running definition"),
    "DF410": Code(severity="warning", title="a function that the project does not declare"),
    "DF411": Code(severity="warning", title="an environment name without a value"),
    "DF412": Code(severity="warning", title="a race whose losers have effects"),
    "DF413": Code(severity="warning", title="the worst path takes more operations than there are"),
    "DF414": Code(severity="warning", title="a workflow that starts itself"),
    "DF415": Code(severity="warning", title="a catcher or retrier that never matches"),
    "DF416": Code(severity="warning", title="a durable function called without a qualifier"),
    "DF417": Code(severity="warning", title="more successes asked for than there are branches"),
    "DF418": Code(severity="warning", title="a host that may not be reached without https"),
    "DF419": Code(severity="warning", title="an error name that is nearly right"),
    "DF421": Code(severity="warning", title="a value that AWS's model does not list"),
    "DF422": Code(severity="warning", title="an AWS action that the project does not allow"),
    # DF5xx: execution (interpreter, driver, work)
    "DF501": Code(severity="error", title="a file that is no compiled plan, or one of a newer durableflow"),
    "DF502": Code(severity="error", title="the execution failed"),
    "DF503": Code(severity="error", title="the record and the workflow disagree"),
    "DF504": Code(severity="error", title="a recorded result is damaged"),
    "DF505": Code(severity="error", title="a reply of the service is incomplete"),
    "DF510": Code(severity="error", title="the event or a reply is none of the durable execution service's"),
    "DF511": Code(severity="error", title="the durable execution service refused a request"),
    "DF512": Code(severity="error", title="a plan's file cannot be read"),
    "DF513": Code(severity="error", title="the plan holds no workflow of that name"),
    "DF514": Code(severity="error", title="a boto3 that knows no durable functions"),
    "DF515": Code(severity="error", title="a result that was stored apart is lost or damaged"),
    "DF516": Code(severity="error", title="the store of large results cannot be used"),
    "DF520": Code(severity="error", title="a handler's module is not in the declared folders"),
    "DF521": Code(severity="error", title="a handler's module cannot be imported"),
    "DF522": Code(severity="error", title="a handler's module has no such function"),
    "DF523": Code(severity="error", title="a handler cannot be called with a payload"),
    "DF524": Code(severity="error", title="a handler's module has the name of another one"),
    # DF6xx: replay and golden files (recording.py)
    "DF601": Code(severity="error", title="a recording that is no JSON text"),
    "DF602": Code(severity="error", title="a file that is no recording"),
    "DF603": Code(severity="error", title="a recording in a newer format"),
    "DF604": Code(severity="error", title="a damaged recording"),
    "DF605": Code(severity="error", title="a recording that is incomplete"),
    "DF606": Code(severity="error", title="a recording that is too large"),
    # DF7xx: service, store, project, command line
    "DF701": Code(severity="error", title="a file that does not exist"),
    "DF702": Code(severity="error", title="not a regular file"),
    "DF703": Code(severity="error", title="a file that is too large"),
    "DF704": Code(severity="error", title="a file that cannot be read"),
    "DF720": Code(severity="error", title="the service refuses a request"),
    "DF721": Code(severity="error", title="the service knows nothing of that name"),
    "DF722": Code(severity="error", title="an execution of that name was started with another input"),
    "DF723": Code(severity="error", title="a callback that is closed"),
    "DF724": Code(severity="error", title="a request that is too large"),
    "DF725": Code(severity="error", title="the service could not answer"),
    "DF726": Code(severity="error", title="an execution that is in no state for this"),
    "DF730": Code(severity="error", title="not a store of durableflow"),
    "DF731": Code(severity="error", title="a store of a newer durableflow"),
    "DF732": Code(severity="error", title="a store that is damaged"),
    "DF733": Code(severity="error", title="a store that cannot be opened"),
    "DF734": Code(severity="error", title="what is recorded of an execution is damaged"),
    "DF735": Code(severity="warning", title="rows of a store that belong to no execution"),
    "DF736": Code(severity="warning", title="an execution whose function is gone"),
    "DF737": Code(severity="warning", title="a store that other users can open"),
    "DF738": Code(severity="warning", title="a store whose owner was killed"),
    "DF739": Code(severity="warning", title="a store on a disk that is nearly full"),
    "DF750": Code(severity="error", title="a project names what does not exist"),
    "DF751": Code(severity="error", title="two workflows of a project have one name"),
    "DF753": Code(severity="error", title="a function has the name of a workflow"),
    "DF754": Code(severity="error", title="no workflow of this name is known here"),
    "DF760": Code(severity="error", title="the lock file of a store cannot be used"),
    "DF761": Code(severity="error", title="the owner of a store does not answer"),
    "DF762": Code(severity="error", title="the owner of a store works in another way"),
    "DF763": Code(severity="error", title="the owner of a store does not say where it listens"),
    "DF764": Code(severity="error", title="another process runs the executions of a store"),
    "DF765": Code(severity="error", title="a port cannot be listened on"),
    "DF780": Code(severity="error", title="no callback of that name is open"),
    "DF781": Code(severity="error", title="an answer to callbacks that is not NAME=JSON"),
    "DF782": Code(severity="error", title="a service that does not answer"),
    "DF783": Code(severity="error", title="no credentials for AWS"),
    "DF784": Code(severity="error", title="a profile of AWS that does not exist"),
    "DF785": Code(severity="error", title="no region of AWS"),
    "DF786": Code(severity="error", title="AWS does not allow it"),
    "DF787": Code(severity="error", title="an address that is none of a service"),
    "DF788": Code(severity="error", title="a service that has no such operation"),
    "DF790": Code(severity="error", title="a folder that is in use"),
    "DF791": Code(severity="error", title="workflows that one plan cannot hold together"),
    "DF792": Code(severity="error", title="an environment value that is not NAME=VALUE"),
    "DF793": Code(severity="error", title="a file that cannot be written"),
    "DF794": Code(severity="error", title="an input that is not JSON"),
    "DF795": Code(severity="error", title="a name that no execution can have"),
    "DF796": Code(severity="error", title="no execution of that name"),
    "DF797": Code(severity="error", title="options that exclude each other"),
    "DF798": Code(severity="error", title="an input that is too large"),
    "DF799": Code(severity="error", title="a code that does not exist"),
    # DF9xx: information
    "DF900": Code(severity="info", title="the price of the worst path"),
}
"""Every code there is. Each module that reports problems has its range, above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One finding.

    Args:
        code: a key of CODES.
        message: what is wrong, one line, with the author's own words in single quotes (passed through `shown`).
        hint: what to do next, one line, or None.
        span: where, or None for a finding about no text (a missing file).
        severity: from CODES unless given.
    """

    code: str
    message: str
    hint: str | None = None
    span: Span | None = None
    severity: Severity = "error"

    def __str__(self) -> str:
        """Return the block that people read: place, code, message, excerpt, hint."""
        place = f"{self.span}: " if self.span else ""
        level = "" if self.severity == "error" else f"{self.severity}: "
        rows = [f"{place}{self.code} {level}{self.message}"]
        if self.span and (excerpt := self.span.excerpt()):
            rows.append(excerpt)
        if self.hint:
            rows.append(f"hint: {self.hint}")
        return "\n".join(rows)

    def line(self) -> str:
        """Return the one-line form: `FILE:LINE:COL: CODE severity: message (hint: …)`."""
        place = f"{self.span}: " if self.span else ""
        hint = f" (hint: {self.hint})" if self.hint else ""
        return f"{place}{self.code} {self.severity}: {self.message}{hint}"

    def to_json(self) -> Object:
        """Return the same facts for tools: code, severity, message, hint, and the place or null."""
        where: Json = None
        if self.span:
            where = {
                "file": self.span.source.name,
                "line": self.span.start.line,
                "column": self.span.start.column,
                "endLine": self.span.end.line,
                "endColumn": self.span.end.column,
            }
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "hint": self.hint,
            "location": where,
        }


def diagnostic(code: str, message: str, *, span: Span | None = None, hint: str | None = None) -> Diagnostic:
    """Return a Diagnostic with the severity that CODES gives its code."""
    return Diagnostic(code=code, message=message, hint=hint, span=span, severity=CODES[code].severity)


def in_file_order(problems: Sequence[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Return problems by file, line and column; those without a place first."""
    return tuple(
        sorted(problems, key=lambda p: (p.span.source.name, *p.span.start, p.code) if p.span else ("", 0, 0, p.code))
    )


def _rebuild(kind: type[Exception], attributes: dict[str, object]) -> Exception:
    error = kind.__new__(kind)
    error.__dict__.update(attributes)
    return error


class DurableflowError(Exception):
    """Whatever durableflow raises on purpose; carries one Diagnostic.

    `str()` prints the block with place, excerpt and hint, `to_json()` the same facts.
    """

    def __init__(self, problem: Diagnostic) -> None:
        super().__init__(problem.message)
        self.problem = problem

    def __reduce__(self) -> tuple[object, ...]:
        """Let the error cross to another process, whatever its constructor takes."""
        return _rebuild, (type(self), self.__dict__)

    @property
    def code(self) -> str:
        """The code of the (first) problem."""
        return self.problem.code

    def __str__(self) -> str:
        return str(self.problem)

    def to_json(self) -> Object:
        """Return the facts of the problem for tools."""
        return self.problem.to_json()


class WorkflowError(DurableflowError):
    """A file has problems that its author can fix.

    Args:
        problems: every finding, at least one of severity error; kept in file order.
    """

    def __init__(self, problems: Sequence[Diagnostic]) -> None:
        self.problems = in_file_order(problems)
        super().__init__(next(p for p in self.problems if p.severity == "error"))

    def __str__(self) -> str:
        """Return the blocks of the first 20 problems and the number of the others."""
        blocks = [str(p) for p in self.problems[:SHOWN_PROBLEMS]]
        if (others := len(self.problems) - SHOWN_PROBLEMS) > 0:
            blocks.append(f"and {others:,} more")
        return "\n\n".join(blocks)

    def to_json(self) -> Object:
        """Return all findings for tools."""
        return {"problems": [p.to_json() for p in self.problems]}


class ReplayError(DurableflowError):
    """The record and the Plan disagree; the execution must not go on (language.md 12, rules 47, 48).

    Args:
        problem: names both sides; its span is the state's.
        operation_id: the operation in question.
        expected: what the Plan has there (type, subtype, name), or None when it has nothing.
        recorded: what the record has there, or None when it has nothing.
    """

    def __init__(
        self, problem: Diagnostic, *, operation_id: str, expected: Object | None, recorded: Object | None
    ) -> None:
        super().__init__(problem)
        self.operation_id = operation_id
        self.expected = expected
        self.recorded = recorded


class ServiceError(DurableflowError):
    """The durable execution service refused a request or could not answer it.

    Args:
        problem: with the API's message.
        name: the API's error code, such as `InvalidParameterValueException`.
        status: the HTTP status of the API (protocol.md 7.5).
        is_retryable: whether the same invocation, made again, could succeed (protocol.md 11.3).
    """

    def __init__(self, problem: Diagnostic, *, name: str, status: int, is_retryable: bool) -> None:
        super().__init__(problem)
        self.name = name
        self.status = status
        self.is_retryable = is_retryable


class UsageError(DurableflowError):
    """The caller can fix the call: a wrong option, a name that is taken, a file that is no workflow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What the interpreter adds to a fault on its way: what a catcher sees besides name, message and data.

    Args:
        state: the name of the (innermost) state that raised it.
        attempt: the number of attempts made, from 1.
        status: FAILED, TIMED_OUT, STOPPED or CANCELLED for invoke and workflow states, else None.
        index: the item of a map it came out of, else None.
        branch: the branch of a parallel it came out of, else None.
        is_work: whether a work state's own work failed; what `States.TaskFailed` matches (rule 14).
    """

    state: str | None = None
    attempt: int | None = None
    status: str | None = None
    index: int | None = None
    branch: str | None = None
    is_work: bool = False


@dataclass(eq=False)
class Fault(Exception):  # noqa: N818 - the language's word; authors raise it by this name
    """A failure that a workflow can catch. A step handler raises it to choose what `catch` sees.

    Args:
        name: the error name, such as `CardDeclined` or `States.Timeout`; what `errors:` globs match.
        message: for people; becomes `error.message`.
        data: any JSON value; becomes `error.data`.
        origin: filled in by the interpreter.
    """

    name: str
    message: str = ""
    data: Json = None
    origin: Origin = field(default=Origin(), repr=False)

    def __str__(self) -> str:
        return f"{self.name}: {shown(self.message)}" if self.message else self.name

    def __reduce__(self) -> tuple[object, ...]:
        """Let the fault cross to another process: as an exception it would be made anew without its fields."""
        return _rebuild, (type(self), self.__dict__)

    def having(self, **origin: object) -> Fault:
        """Return the same fault with these fields of its origin set."""
        return Fault(self.name, self.message, self.data, replace(self.origin, **origin))  # type: ignore[arg-type]
