"""How does an author's text become a tree? Jinja2 parses, an allow-list decides, and every problem has its place.

Jinja2 knows lines only, and a template usually stands inside a YAML scalar. So its parser is fed tokens whose "line
number" is the offset in the text: every node it makes then says exactly where it stands. What it parsed is not compiled
by Jinja2; :class:`_Reader` walks it once and writes the tree that expressions.py evaluates. What is not in that walk
does not exist in the language. All names, filters, tests, functions and their arguments are checked here, so that a
typing mistake is found before anything runs.

Names that a text may read are fixed (:data:`ROOTS`); which of them make sense where is decided by rules.py.

Source: language.md section 3; section 12, rules 1, 4, 5, 6, 56; reliability.md D5, D6.
"""

from __future__ import annotations

import difflib
import inspect
import math
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from jinja2 import Environment, TemplateSyntaxError, nodes
from jinja2.lexer import Token, TokenStream, operators
from jinja2.parser import Parser

from durableflow.expressions import Tree
from durableflow.library import FILTERS, FUNCTIONS, TESTS, path_of, pattern_problem
from durableflow.source import shown
from durableflow.values import INTEGER_MAX, INTEGER_MIN, Json, size_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ROOTS = frozenset(
    "input states vars item index batch iteration result error callback previous context env".split()  # noqa: SIM905
)
"""Every name of data; which exist in which field is decided by rules.py."""
SOURCE_BYTES = 16_384
NESTING = 40
"""Brackets, tags, prefixes and `else` inside each other. Jinja2's parser recurses, about 15 frames for a bracket."""
CHAIN = 100
"""Operators, filters or keys in a row: the depth of the tree, which the evaluator goes down by recursion."""

Place: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateProblem:
    """One finding in a value template.

    Args:
        code: a key of CODES, which gives the severity.
        message: as in Diagnostic.
        hint: as in Diagnostic.
        path: where in the value the text stands.
        offset: the first character in that text.
        length: at least 1.
    """

    code: str
    message: str
    hint: str | None = None
    path: tuple[str | int, ...] = ()
    offset: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One place where data is read.

    Args:
        names: root first, as in Program.references.
        path: where in the value the text stands.
        offset: the first character of the root name in that text.
        length: up to the end of the last key.
    """

    names: tuple[str | int, ...]
    path: tuple[str | int, ...] = ()
    offset: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a function.

    Args:
        name: `load`, `secret` or `range`.
        arguments: by position, or None when one of them is not a literal.
        path: where in the value the text stands.
        offset: the first character of the name in that text.
        length: up to the closing bracket.
    """

    name: str
    arguments: tuple[Json, ...] | None
    path: tuple[str | int, ...] = ()
    offset: int
    length: int


def parse_template(value: Json) -> tuple[Tree, list[TemplateProblem]]:
    """Return the tree of a value template, and every problem in it; with an error among them the tree is of no use.

    Args:
        value: any JSON value; strings in it may hold braces. One that is exactly one `{{ … }}` gives the value of that
            expression, others with braces give text. Keys are never templates (document.py refuses braces there).
    """
    problems: list[TemplateProblem] = []
    return _template(value, (), problems), problems


def parse_expression(value: Json) -> tuple[Tree, list[TemplateProblem]]:
    """Return the tree of an expression field, and every problem in it.

    Args:
        value: a bare expression, or one inside `{{ }}` (warned of), or true, false, null or a number as itself.
    """
    if isinstance(value, str):
        reading = _read(value, is_expression=True)
        return reading.tree, [*reading.problems]
    if isinstance(value, (list, dict)):
        kind = "a list" if isinstance(value, list) else "an object"
        hint = "write it as text in quotes, such as \"['a', 'b']\""
        return ["const", None], [
            TemplateProblem(code="DF216", message=f"an expression is text, not {kind}", hint=hint, offset=0, length=1)
        ]
    return ["const", value], []


def references_in(value: Json, *, expression: bool) -> list[Reference]:
    """Return every path into the data that a template or an expression reads, in the order of the text."""
    return [
        replace(reference, path=path)
        for path, reading in _readings(value, (), is_expression=expression)
        for reference in reading.references
    ]


def calls_in(value: Json, *, expression: bool) -> list[Call]:
    """Return every call of a function in a template or an expression, in the order of the text."""
    return [
        replace(call, path=path)
        for path, reading in _readings(value, (), is_expression=expression)
        for call in reading.calls
    ]


def _template(value: Json, path: tuple[str | int, ...], problems: list[TemplateProblem]) -> Tree:
    if isinstance(value, str):
        reading = _read(value, is_expression=False)
        problems.extend(replace(problem, path=path) for problem in reading.problems)
        return reading.tree
    if isinstance(value, list):
        return _folded("array", [_template(inner, (*path, i), problems) for i, inner in enumerate(value)])
    if isinstance(value, dict):
        return _folded("object", [_template(inner, (*path, key), problems) for key, inner in value.items()], [*value])
    return ["const", value]


def _readings(
    value: Json, path: tuple[str | int, ...], *, is_expression: bool
) -> Iterator[tuple[tuple[str | int, ...], _Reading]]:
    if isinstance(value, str):
        yield path, _read(value, is_expression=is_expression)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _readings(inner, (*path, i), is_expression=False)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _readings(inner, (*path, key), is_expression=False)


def _has_braces(text: str) -> bool:
    return "{{" in text or "{%" in text or "{#" in text


def _node(word: str, *operands: Any) -> Tree:
    return [word, *operands]


def _folded(word: str, trees: list[Tree], keys: list[str] | None = None) -> Tree:
    """Return a container node, or a constant when everything in it is one."""
    parts = [cast("list[Json]", tree) for tree in trees]
    if all(part[0] == "const" for part in parts):
        made = [part[1] for part in parts]
        return ["const", made if keys is None else dict(zip(keys, made, strict=True))]
    return _node(word, trees) if keys is None else _node(word, keys, trees)


# One text ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Reading:
    """What one text came to. Never changed: it is shared by all who ask for the same text."""

    tree: Tree
    problems: tuple[TemplateProblem, ...] = ()
    references: tuple[Reference, ...] = ()
    calls: tuple[Call, ...] = ()


class _RefusedError(Exception):
    """Reading a text cannot go on."""

    def __init__(self, code: str, message: str, hint: str | None, offset: int, length: int = 1) -> None:
        super().__init__(message)
        self.problem = TemplateProblem(code=code, message=message, hint=hint, offset=offset, length=length)


@lru_cache(maxsize=4096)  # the rules, the compiler and the estimate ask for the same texts
def _read(text: str, *, is_expression: bool) -> _Reading:
    if not is_expression and not _has_braces(text):
        return _Reading(_node("const", text))
    reader = _Reader(text)
    try:
        tree = reader.expression_text() if is_expression else reader.template_text()
    except _RefusedError as error:
        reader.problems.append(error.problem)
        tree = _NOTHING
    except TemplateSyntaxError as error:
        reader.problems.append(reader.syntax_problem(error))
        tree = _NOTHING
    return _Reading(tree, tuple(reader.problems), tuple(reader.references), tuple(reader.calls))


class _OffsetEnvironment(Environment):
    """Jinja2's environment for a parser whose tokens are made already."""

    prepared: list[Token]

    def _tokenize(
        self, source: str, name: str | None, filename: str | None = None, state: str | None = None
    ) -> TokenStream:
        del source, state
        return TokenStream(iter(self.prepared), name, filename)


_LEXER = Environment(keep_trailing_newline=True).lexer  # noqa: S701 - nothing is rendered by Jinja2
_IGNORED = frozenset({"whitespace", "comment_begin", "comment", "comment_end", "raw_begin", "raw_end"})
_KNOWN_ESCAPE = re.compile(r"\\([\s\S])")


@dataclass(frozen=True, slots=True)
class _Word:
    """One token as it stands in the text."""

    start: int
    end: int
    sort: str
    text: str


def _scan(text: str, *, is_expression: bool) -> tuple[list[Token], list[_Word]]:
    """Return the tokens of a text, with offsets for line numbers, and the same as they stand in the text.

    Raises:
        _RefusedError: a character or number that no template has, or nesting over the limit.
    """
    # Jinja2 turns every line end into "\n"; a space character that the text does not have keeps them as they are.
    stand_in = next((c for c in "\x1c\x1d\x1e\x1f\x0b\x0c" if c not in text), "\x1c") if "\r" in text else "\r"
    source = text.replace("\r", stand_in)
    tokens: list[Token] = []
    words: list[_Word] = []
    nesting = _Nesting()
    position = 0
    try:
        for _, sort, raw in _LEXER.tokeniter(source, None, None, "variable" if is_expression else None):
            # What Jinja2 leaves out between two tokens (`{%-`) is space, and no token but data begins with it.
            start = source.index(raw, position)
            position = start + len(raw)
            if sort in _IGNORED:
                continue
            token = _token(start, sort, raw, stand_in)
            nesting.count(token)
            tokens.append(token)
            words.append(_Word(start, position, token.type, raw))
    except TemplateSyntaxError as error:
        message = re.sub(r" at \d+$", "", error.message or "")
        start = len(text) - len(text[position:].lstrip())
        if "end of comment" in message:
            start = text.rfind("{#")
        raise _RefusedError("DF200", _sentence(message), _syntax_hint(message), min(start, len(text) - 1)) from error
    return tokens, words


def _token(start: int, sort: str, raw: str, stand_in: str) -> Token:
    value: object = raw
    match sort:
        case "data":
            value = raw.replace(stand_in, "\r")
        case "string":
            # A backslash before any other character stands for itself, which Python only lets pass with a warning.
            body = _KNOWN_ESCAPE.sub(
                lambda m: m[0] if m[1] in "\\'\"abfnrtvxuUN0123\n" else "\\" + m[0], raw[1:-1].replace(stand_in, "\r")
            )
            try:
                value = body.encode("ascii", "backslashreplace").decode("unicode-escape")
            except UnicodeDecodeError as error:
                hint = "in quotes a backslash begins an escape; write two for one"
                raise _RefusedError("DF200", f"bad escape in text: {error.reason}", hint, start, len(raw)) from error
        case "integer":
            digits = raw.replace("_", "")
            if len(digits) > 70 or int(digits, 0) > INTEGER_MAX:
                raise _number_problem(start, raw)
            value = int(digits, 0)
        case "float":
            value = float(raw.replace("_", ""))
            if not math.isfinite(value):
                raise _number_problem(start, raw)
        case "operator":
            sort = operators[raw]
        case "name" if not raw.isidentifier():
            hint = "a name is letters, digits and '_'"
            raise _RefusedError("DF200", f"'{shown(raw)}' is no name", hint, start, len(raw))
        case _:
            pass
    return Token(start, sort, cast("str", value))  # Jinja2 puts numbers there too


def _number_problem(start: int, raw: str) -> _RefusedError:
    message = f"the number {shown(raw[:40])} is outside what JSON numbers here can hold"
    hint = "integers go from -2^63 to 2^64-1, other numbers are doubles; write it as text"
    return _RefusedError("DF212", message, hint, start, len(raw))


class _Nesting:
    """Counts how deep the parser will have to go for the tokens that come, and refuses before it goes."""

    def __init__(self) -> None:
        self.brackets = self.tags = self.prefixes = self.branches = 0
        self.is_tag_name = self.is_set = False

    def count(self, token: Token) -> None:
        match token.type:
            case "lparen" | "lbracket" | "lbrace":
                self.brackets += 1
            case "rparen" | "rbracket" | "rbrace":
                self.brackets -= 1
            case "variable_begin" | "block_begin":
                self.brackets = self.branches = 0
                self.is_set = False
            case "name" if self.is_tag_name:
                self.tags += (token.value in {"for", "if", "set"}) - token.value.startswith("end")
                self.is_set = token.value == "set"
            case "assign" if self.is_set and not self.brackets:
                # With a value in it the tag holds nothing inside and has no end of its own.
                self.tags -= 1
                self.is_set = False
            case "name" if token.value == "else":
                self.branches += 1
            case _:
                pass
        is_prefix = token.type in {"sub", "add"} or (token.type == "name" and token.value == "not")
        self.prefixes = self.prefixes + 1 if is_prefix else 0
        self.is_tag_name = token.type == "block_begin"
        if self.brackets + max(0, self.tags) + self.prefixes + self.branches > NESTING:
            raise _RefusedError(
                "DF210",
                f"this is nested more than {NESTING} levels deep (limit 'nesting')",
                "take a part out into a variable with 'assign'",
                token.lineno,
            )


def _sentence(message: str) -> str:
    """Return a message of Jinja2 as ours begin and end."""
    message = shown(message).removesuffix(".")
    return message[:1].lower() + message[1:]


_PATTERN_HINT: Final = "a pattern is a literal of at most 200 characters, without a repeat inside a repeat"
_SYNTAX_HINTS: Final = (
    ("end of comment", "close the comment with '#}'"),
    ("end of raw", "close it with {% endraw %}"),
    ("looking for the following tags", "close the tag that is open with its end tag, such as {% endif %}"),
    ("unexpected end of template", "every '{{' needs its '}}', and every '{%' its '%}'"),
    ("unknown tag", "the tags are if, elif, else, for, set and raw"),
    ("tag name expected", "the tags are if, elif, else, for, set and raw"),
    ("expected an expression", "write a value between the braces, as {{ input.id }}"),
    ("expected ':'", "an object is written {'key': value}, a list [1, 2]; there are no sets"),
    ("unexpected char", "text stands in quotes, which must be closed"),
    ("unexpected ", "close the bracket that was opened last"),
    ("expected token", "between two values stands an operator, such as ~ or 'and'; conditions are {{ a if b else c }}"),
)


def _syntax_hint(message: str) -> str:
    """Return what to do about a message of Jinja2's parser."""
    known = (hint for part, hint in _SYNTAX_HINTS if part in message)
    return next(known, "docs/expressions.md shows how expressions are written")


def _near(name: str, names: Any) -> str:
    """Return the hint for a name that is none."""
    close = difflib.get_close_matches(name, sorted(names), n=1)
    return f"did you mean '{close[0]}'?" if close else f"there is: {', '.join(sorted(names))}"


_METHODS = {
    "items": "| items",
    "keys": "| list",
    "values": "| items, and take the second of each pair",
    "get": "the key and | default(…)",
    "upper": "| upper",
    "lower": "| lower",
    "title": "| title",
    "capitalize": "| capitalize",
    "strip": "| trim",
    "split": "| split(…)",
    "join": "| join(…)",
    "replace": "| replace(…)",
    "format": "'~' to join text and values",
    "format_map": "'~' to join text and values",
    "append": "a + [b]",
    "extend": "a + b",
    "update": "| merge(…)",
    "count": "| length",
    "index": "'in'",
    "isoformat": "| isoformat",
    "startswith": "| regex_match('…')",
}
"""What to write in place of a Python method."""

_ABSENT_FILTERS = {
    "random": "templates give the same on every replay; draw in a step",
    "shuffle": "templates give the same on every replay; draw in a step",
    "format": "join text and values with '~'",
    "attr": "write x[key]",
    "safe": "nothing is escaped, so nothing needs it",
    "pprint": "use tojson(indent=2)",
    "to_json": "use tojson",
    "from_json": "use fromjson",
    "e": "HTML is not escaped here; make it in a step",
    "escape": "HTML is not escaped here; make it in a step",
}
_ABSENT_NAMES = {
    "now": "write context.now",
    "range": "call it, as range(10)",
    "load": "call it, as load('file.json')",
    "secret": "call it, as secret('name')",
    "loop": "'loop' exists inside {% for %} only",
    "True": "write true",
    "self": "there is no 'self'",
}
_TEST_SIGNS = {"==": "eq", "!=": "ne", ">": "gt", ">=": "ge", "<": "lt", "<=": "le"}
_OPERATORS: dict[type[nodes.Expr], str] = {
    nodes.Add: "add",
    nodes.Sub: "sub",
    nodes.Mul: "mul",
    nodes.Div: "div",
    nodes.FloorDiv: "floordiv",
    nodes.Mod: "mod",
    nodes.Pow: "pow",
}
_COMPARISONS = {"gteq": "ge", "lteq": "le"}
_SELECTING = {"select": False, "reject": False, "selectattr": True, "rejectattr": True}
_FILTER_NAMES = frozenset(FILTERS) | {"map", *_SELECTING}
_TEST_NAMES = frozenset(TESTS) | {"defined", "undefined"}
_FUNCTION_NAMES = frozenset(FUNCTIONS) | {"load", "secret"}
_NOTHING: Tree = ["const", None]


def _load(path: Json) -> Json:
    """Stand for the parameters of `load`; the compiler reads the file."""
    return path


def _secret(name: Json) -> Json:
    """Stand for the parameters of `secret`; the worker looks it up."""
    return name


@lru_cache(maxsize=256)
def _parameters(sort: str, name: str) -> tuple[inspect.Parameter, ...]:
    """Return what an author may pass: without the budget, and without the value that a filter or test is applied to."""
    if name in {"defined", "undefined"}:
        return ()
    if sort == "function":
        own: dict[str, Callable[..., Any]] = {"load": _load, "secret": _secret}
        parameters = inspect.signature(own.get(name) or FUNCTIONS[name]).parameters.values()
        return tuple(parameters)[name in FUNCTIONS :]
    function = FILTERS[name] if sort == "filter" else TESTS[name]
    return tuple(inspect.signature(function).parameters.values())[2:]


class _Reader:
    """Reads one text.

    `scope` holds the variables of a text that exist at this point: true when one is surely set, false when it may be.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.problems: list[TemplateProblem] = []
        self.references: list[Reference] = []
        self.calls: list[Call] = []
        self.words: list[_Word] = []
        self.at: dict[int, int] = {}
        self.scope: dict[str, bool] = {}
        self.depth = 0

    # The whole text

    def expression_text(self) -> Tree:
        stripped = self.text.strip()
        if not stripped:
            raise _RefusedError("DF200", "the expression is empty", "write true, or what must hold", 0)
        if stripped.startswith("{{") and stripped.endswith("}}"):
            start = self.text.index("{{")
            tree = self._wrapped()
            hint = f"write {shown(stripped[2:-2].strip())}"
            self.problem("DF215", "an expression needs no braces", hint, (start, len(stripped)))
            return tree
        for sign, code in (("{%", "DF208"), ("{{", "DF200")):
            if sign in self.text:
                hint = "write a bare expression, such as input.total > 100"
                raise _RefusedError(code, f"'{sign}' has no place in an expression", hint, self.text.index(sign), 2)
        parser = self._parser(is_expression=True)
        node = parser.parse_expression()
        if not parser.stream.eos:
            word = self.words[self.at[parser.stream.current.lineno]]
            message = f"'{shown(word.text)}' is not expected here; the expression has ended before it"
            hint = "between two values stands an operator, such as ~, == or 'and'"
            raise _RefusedError("DF200", message, hint, word.start, len(word.text))
        return self.expression(node)

    def _wrapped(self) -> Tree:
        body = self._parser(is_expression=False).parse().body
        outputs = [n for b in body if isinstance(b, nodes.Output) for n in b.nodes if not _is_space(n)]
        if any(not isinstance(b, nodes.Output) for b in body) or len(outputs) != 1:
            hint = "write a bare expression, such as input.total > 100"
            raise _RefusedError("DF200", "an expression is one expression, not a text with braces", hint, 0)
        return self.expression(outputs[0])

    def template_text(self) -> Tree:
        body = self._parser(is_expression=False).parse().body
        match body:
            case [nodes.Output(nodes=[only])] if (
                not isinstance(only, nodes.TemplateData) and self.text.startswith("{{") and self.text.endswith("}}")
            ):
                return self.expression(only)
            case _:
                parts = self.parts(body)
        texts = [cast("list[Json]", part) for part in parts]
        if all(part[0] == "const" and isinstance(part[1], str) for part in texts):
            return _node("const", "".join(cast("str", part[1]) for part in texts))
        return _node("text", parts)

    def _parser(self, *, is_expression: bool) -> Parser:
        if (size := size_bytes(self.text)) > SOURCE_BYTES:
            message = f"this template has {size:,} bytes, {SOURCE_BYTES:,} are allowed (limit 'source')"
            raise _RefusedError("DF209", message, "put long text into a file, and read it with load('file')", 0)
        tokens, self.words = _scan(self.text, is_expression=is_expression)
        self.at = {word.start: i for i, word in enumerate(self.words)}
        environment = _OffsetEnvironment()
        environment.prepared = tokens
        return Parser(environment, "", state="variable" if is_expression else None)

    # Places and problems

    def problem(self, code: str, message: str, hint: str | None, place: Place) -> None:
        offset, length = place
        self.problems.append(
            TemplateProblem(code=code, message=message, hint=hint, offset=offset, length=max(1, length))
        )

    def syntax_problem(self, error: TemplateSyntaxError) -> TemplateProblem:
        offset = min(error.lineno, max(0, len(self.text) - 1))
        word = self.words[self.at[offset]] if offset in self.at else None
        message = _sentence(error.message or "this is no template")
        if message.startswith("unexpected end of template, expected"):
            offset = max(self.text.rfind("{{"), self.text.rfind("{%"), 0)
            word = None
        hint = _syntax_hint(message)
        return TemplateProblem(
            code="DF200", message=message, hint=hint, offset=offset, length=len(word.text) if word else 1
        )

    def place(self, offset: int, node_end: int | None = None) -> Place:
        """Return from `offset` to `node_end`, else the token there."""
        if node_end is not None:
            return offset, node_end - offset
        return offset, len(self.words[self.at[offset]].text) if offset in self.at else 1

    def place_of_word(self, offset: int, name: str) -> Place:
        """Return the first token at or after `offset` that is `name`."""
        for word in self.words[self.at.get(offset, 0) :]:
            if word.start >= offset and word.text == name:
                return word.start, len(name)
        return self.place(offset)

    def end_of_brackets(self, offset: int) -> int:
        """Return where the bracket that opens at `offset` has closed."""
        depth = 0
        for word in self.words[self.at[offset] :]:
            if word.sort in {"lparen", "lbracket", "lbrace"}:
                depth += 1
            elif word.sort in {"rparen", "rbracket", "rbrace"}:
                depth -= 1
                if not depth:
                    return word.end
        return offset + 1  # pragma: no cover - Jinja2 has seen the closing bracket

    def end_of_key(self, offset: int) -> int:
        """Return where the `.key` or `[key]` that begins at `offset` ends."""
        index = self.at[offset]
        return self.words[index + 1].end if self.words[index].sort == "dot" else self.end_of_brackets(offset)

    # Text with tags

    def parts(self, body: list[nodes.Node]) -> list[Tree]:
        made: list[Tree] = []
        for node in body:
            match node:
                case nodes.Output():
                    made.extend(self.expressions(node.nodes))
                case nodes.If():
                    made.append(self.choose(node))
                case nodes.For():
                    made.append(self.loop(node))
                case nodes.Assign():
                    tree = self.expression(node.node)
                    made.append(["set", self.target(node.target, self.scope), tree])
                case nodes.AssignBlock() if node.filter is None:
                    before = dict(self.scope)
                    text: Tree = ["text", self.parts(node.body)]
                    self.scope = before
                    made.append(["set", self.target(node.target, self.scope), text])
                case _:
                    self.refuse_tag(node)
        return made

    def refuse_tag(self, node: nodes.Node) -> None:
        place = self.place(node.lineno) if node.lineno in self.at else (0, 1)
        tag = self.text[place[0] : place[0] + place[1]]
        self.problem("DF207", f"the tag '{shown(tag)}' does not exist here", "the tags are if, for, set and raw", place)

    def choose(self, node: nodes.If) -> Tree:
        before = dict(self.scope)
        arms: list[tuple[Tree, list[Tree]]] = []
        scopes: list[dict[str, bool]] = []
        for arm in (node, *node.elif_):
            self.scope = dict(before)
            condition = self.expression(arm.test)
            arms.append((condition, self.parts(arm.body)))
            scopes.append(self.scope)
        self.scope = dict(before)
        otherwise = self.parts(node.else_)
        scopes.append(self.scope)
        # A variable is surely set afterwards when every way through the arms sets it.
        self.scope = {name: all(s.get(name, False) for s in scopes) for s in scopes for name in s}
        if len(arms) > CHAIN:
            raise self.too_long(node)
        for condition, body in reversed(arms):
            otherwise = [_node("choose", condition, body, otherwise)]
        return otherwise[0]

    def loop(self, node: nodes.For) -> Tree:
        if node.recursive:
            self.problem("DF207", "a 'for' cannot be recursive", "take 'recursive' out", self.place(node.lineno))
        source = self.expression(node.iter)
        before = self.scope
        self.scope = {name: is_set for name, is_set in before.items() if name != "loop"}
        target = self.target(node.target, self.scope)
        condition = None if node.test is None else self.expression(node.test)
        self.scope["loop"] = True
        body = self.parts(node.body)
        self.scope = dict(before)
        otherwise = self.parts(node.else_)
        self.scope = before
        return _node("for", target, source, condition, body, otherwise)

    def target(self, node: nodes.Node, scope: dict[str, bool]) -> Json:
        match node:
            case nodes.Name() if node.name == "loop":
                self.problem("DF207", "'loop' cannot be set", "take another name", self.place(node.lineno))
                return node.name
            case nodes.Name():
                scope[node.name] = True
                return node.name
            case nodes.Tuple():
                return [self.target(inner, scope) for inner in node.items]
            case _:
                self.problem("DF207", "only a name can be set", "write {% set name = … %}", self.place(node.lineno))
                return ""

    # Expressions

    def expression(self, node: nodes.Node) -> Tree:
        self.depth += 1
        if self.depth > CHAIN:
            raise self.too_long(node)
        made = self._expression(node)
        self.depth -= 1
        return made

    def too_long(self, node: nodes.Node) -> _RefusedError:
        message = f"more than {CHAIN} operators, filters or branches depend on each other here (limit 'chain')"
        return _RefusedError("DF210", message, "take a part out into a variable with 'assign'", node.lineno)

    def expressions(self, found: Iterable[nodes.Expr]) -> list[Tree]:
        return [self.expression(node) for node in found]

    def optional(self, node: nodes.Node | None) -> Tree | None:
        return None if node is None else self.expression(node)

    def _expression(self, node: nodes.Node) -> Tree:  # noqa: PLR0911, PLR0912, C901 - one case for each node there is
        match node:
            case nodes.Const():
                return _node("const", node.value)
            case nodes.TemplateData():
                return _node("const", node.data)
            case nodes.Name():
                return self.name(node, node.name, self.place(node.lineno), ())
            case nodes.Getattr() | nodes.Getitem():
                return self.access(node)
            case nodes.List() | nodes.Tuple():
                return _folded("array", self.expressions(node.items))
            case nodes.Dict():
                return self.dictionary(node)
            case nodes.CondExpr():
                return _node("if", self.expression(node.test), self.expression(node.expr1), self.optional(node.expr2))
            case nodes.And() | nodes.Or():
                return self.conjunction(node)
            case nodes.Not():
                return _node("not", self.expression(node.node))
            case nodes.Neg() | nodes.Pos():
                return self.sign(node)
            case nodes.Concat():
                return _node("join", self.expressions(node.nodes))
            case nodes.Compare():
                operators_ = [_COMPARISONS.get(operand.op, operand.op) for operand in node.ops]
                others = self.expressions([operand.expr for operand in node.ops])
                return _node("compare", self.expression(node.expr), cast("list[Json]", operators_), others)
            case nodes.Filter() if node.node is not None:
                return self.filter(node, node.node)
            case nodes.Test():
                return self.test(node)
            case nodes.Call():
                return self.call(node)
            case nodes.BinExpr() if type(node) in _OPERATORS:
                return _node(_OPERATORS[type(node)], self.expression(node.left), self.expression(node.right))
            case _:
                self.problem(
                    "DF207",
                    "this does not exist in expressions",
                    "docs/expressions.md lists what does",
                    self.place(node.lineno),
                )
                return _NOTHING

    def sign(self, node: nodes.Neg | nodes.Pos) -> Tree:
        tree = self.expression(node.node)
        match tree:
            case ["const", bool()]:
                pass
            case ["const", int(value) | float(value)] if isinstance(node, nodes.Neg) and value <= -INTEGER_MIN:
                return _node("const", -value)
            case _:
                pass
        return _node("neg" if isinstance(node, nodes.Neg) else "pos", tree)

    def conjunction(self, node: nodes.And | nodes.Or) -> Tree:
        word = "and" if isinstance(node, nodes.And) else "or"
        trees: list[Tree] = []
        for side in (node.left, node.right):
            tree = self.expression(side)
            inner = cast("list[Any]", tree)
            trees.extend(inner[1] if inner[0] == word else [tree])
        return _node(word, trees)

    def dictionary(self, node: nodes.Dict) -> Tree:
        keys = self.expressions([pair.key for pair in node.items])
        values = self.expressions([pair.value for pair in node.items])
        texts: list[str] = []
        for key, pair in zip(keys, node.items, strict=True):
            match key:
                case ["const", str(text)]:
                    texts.append(text)
                case ["const", _]:
                    self.problem("DF207", "a key of an object is text", "quote it", self.place(pair.key.lineno))
                case _:
                    pass
        if len(set(texts)) == len(keys):
            return _folded("object", values, texts)
        return _node("dict", [part for pair in zip(keys, values, strict=True) for part in pair])

    # Names and paths

    def name(self, node: nodes.Name, name: str, place: Place, keys: tuple[str | int, ...]) -> Tree:
        if name in self.scope:
            if self.scope[name]:
                return _node("local", name, None)
            return _node("local", name, self.root(name, place, keys) if name in ROOTS else None)
        if name in ROOTS:
            return self.root(name, place, keys)
        if name == "null":
            return _NOTHING
        hint = _ABSENT_NAMES.get(name) or _near(name, ROOTS | self.scope.keys())
        self.problem("DF201", f"there is no data called '{shown(name)}'", hint, self.place(node.lineno))
        return _NOTHING

    def root(self, name: str, place: Place, keys: tuple[str | int, ...]) -> Tree:
        self.references.append(Reference(names=(name, *keys), offset=place[0], length=place[1]))
        return _node("name", name)

    def access(self, node: nodes.Getattr | nodes.Getitem) -> Tree:
        """Read a path as far as its keys are literal, so that the reference to it is whole."""
        keys: list[str | int] = []
        base: nodes.Node = node
        while isinstance(base, (nodes.Getattr, nodes.Getitem)) and (key := _literal_key(base)) is not None:
            self.check_key(key, (base.lineno, self.end_of_key(base.lineno) - base.lineno))
            keys.append(key)
            base = base.node
        if len(keys) > CHAIN:
            raise self.too_long(node)
        keys.reverse()
        if isinstance(base, nodes.Name) and keys:
            tree = self.name(base, base.name, self.place(base.lineno, self.end_of_key(node.lineno)), tuple(keys))
        elif isinstance(base, nodes.Getitem) and not keys:
            tree = self.subscript(base)
        else:
            tree = self.expression(base)
        for key in keys:
            tree = _node("attr", tree, key)
        return tree

    def subscript(self, node: nodes.Getitem) -> Tree:
        base = self.expression(node.node)
        if isinstance(node.arg, nodes.Slice):
            return _node("slice", base, *(self.optional(end) for end in (node.arg.start, node.arg.stop, node.arg.step)))
        return _node("item", base, self.expression(node.arg))

    def check_key(self, key: str | int, place: Place) -> None:
        # Data is read by key alone, so this protects nothing; it tells the author that he is not in Python.
        if isinstance(key, str) and len(key) > 4 and key.startswith("__") and key.endswith("__"):
            self.problem("DF213", f"'{shown(key)}' is Python's, not data", "templates see JSON values only", place)

    # Filters, tests, functions

    def filter(self, node: nodes.Filter, subject: nodes.Node) -> Tree:
        place = self.place(node.lineno)
        tree = self.expression(subject)
        if node.name not in _FILTER_NAMES:
            hint = _ABSENT_FILTERS.get(node.name) or _near(node.name, _FILTER_NAMES)
            self.problem("DF202", f"there is no filter called '{shown(node.name)}'", hint, place)
            return _NOTHING
        if self.has_stars(node, place):
            return _NOTHING
        if node.name == "map":
            return self.map(node, tree, place)
        if node.name in _SELECTING:
            return self.select(node, tree, place)
        return _node("filter", node.name, tree, self.arguments("filter", node.name, node.args, _named(node), place))

    def map(self, node: nodes.Filter, subject: Tree, place: Place) -> Tree:
        named = _named(node)
        match node.args:
            case [nodes.Const(value=str(name)), *rest] if name in FILTERS:
                return _node("map", subject, name, self.arguments("filter", name, rest, named, place))
            case [nodes.Const(value=str(name)), *_]:
                self.problem("DF202", f"'map' has no filter '{shown(name)}'", _near(name, FILTERS), place)
            case [] if (
                named.keys() <= {"attribute", "default"} and (key := _attribute(named.get("attribute"))) is not None
            ):
                self.check_attribute(key, place)
                return _node("pluck", subject, key, self.optional(named.get("default")))
            case _:
                hint = "write map('upper') or map(attribute='name'), with the name in quotes"
                self.problem("DF206", "'map' needs the name of a filter, or attribute=", hint, place)
        return _NOTHING

    def select(self, node: nodes.Filter, subject: Tree, place: Place) -> Tree:
        given, key = node.args, None
        if _SELECTING[node.name]:
            key = _attribute(given[0]) if given else None
            if key is None:
                hint = f"write {node.name}('name') or {node.name}('name', 'defined')"
                self.problem("DF206", f"'{node.name}' needs the name of an attribute in quotes", hint, place)
                return _NOTHING
            self.check_attribute(key, place)
            given = given[1:]
        name, arguments = None, list[Tree]()
        match given:
            case [nodes.Const(value=str(sign)), *rest]:
                name = _TEST_SIGNS.get(sign, sign)
                if name not in _TEST_NAMES:
                    self.problem("DF203", f"there is no test called '{shown(name)}'", _near(name, _TEST_NAMES), place)
                    return _NOTHING
                arguments = self.arguments("test", name, rest, _named(node), place)
            case [] if not node.kwargs:
                pass
            case _:
                hint = "write it as in select('odd') or selectattr('name', 'defined')"
                self.problem("DF206", f"'{node.name}' needs the name of a test in quotes", hint, place)
        return _node("select", subject, key, name, arguments, node.name.startswith("select"))

    def test(self, node: nodes.Test) -> Tree:
        place = self.place_of_word(node.lineno, node.name)
        tree = self.expression(node.node)
        if node.name not in _TEST_NAMES:
            self.problem("DF203", f"there is no test called '{shown(node.name)}'", _near(node.name, _TEST_NAMES), place)
            return _NOTHING
        if self.has_stars(node, place):
            return _NOTHING
        return _node("test", node.name, tree, self.arguments("test", node.name, node.args, _named(node), place))

    def call(self, node: nodes.Call) -> Tree:
        end = self.end_of_brackets(node.lineno)
        match node.node:
            case nodes.Name() as callee if callee.name not in self.scope and callee.name in _FUNCTION_NAMES:
                pass
            case nodes.Getattr() as callee:
                hint = f"use {_METHODS[callee.attr]}" if callee.attr in _METHODS else "use a filter, as in x | upper"
                place = self.place(callee.lineno, end)
                self.problem("DF205", f"values have no methods: '.{shown(callee.attr)}()'", hint, place)
                return _NOTHING
            case nodes.Name() as callee:
                hint = _ABSENT_NAMES.get(callee.name) or f"the functions are {', '.join(sorted(_FUNCTION_NAMES))}"
                place = self.place(callee.lineno)
                self.problem("DF205", f"there is no function called '{shown(callee.name)}'", hint, place)
                return _NOTHING
            case _:
                hint = f"the functions are {', '.join(sorted(_FUNCTION_NAMES))}"
                self.problem("DF205", "this cannot be called", hint, self.place(node.lineno, end))
                return _NOTHING
        place = self.place(callee.lineno, end)
        if self.has_stars(node, place):
            return _NOTHING
        arguments = self.arguments("function", callee.name, node.args, _named(node), place)
        parts = [cast("list[Json]", tree) for tree in arguments]
        literal = tuple(part[1] for part in parts) if all(part[0] == "const" for part in parts) else None
        self.calls.append(Call(name=callee.name, arguments=literal, offset=place[0], length=place[1]))
        return _node("call", callee.name, arguments)

    def has_stars(self, node: nodes.Filter | nodes.Test | nodes.Call, place: Place) -> bool:
        if node.dyn_args is None and node.dyn_kwargs is None:
            return False
        self.problem("DF206", "arguments cannot be unpacked with '*'", "write them one by one", place)
        return True

    def arguments(
        self, sort: str, name: str, given: list[nodes.Expr], named: dict[str, nodes.Expr], place: Place
    ) -> list[Tree]:
        """Return the arguments by position, as the function of the library declares them."""
        parameters = _parameters(sort, name)
        if parameters and parameters[-1].kind is inspect.Parameter.VAR_POSITIONAL:
            if named:
                self.problem("DF206", f"'{name}' takes no named arguments", "write them without their names", place)
            return self.expressions(given)
        names = [parameter.name for parameter in parameters]
        takes = f"it takes ({', '.join(names)})" if names else "it takes none"
        trees: dict[str, Tree] = dict(zip(names, self.expressions(given[: len(names)]), strict=False))
        if len(given) > len(names):
            self.problem("DF206", f"'{name}' has too many arguments", takes, place)
        for key, node in named.items():
            if key not in names or key in trees:
                what = "given twice" if key in trees else "unknown"
                self.problem("DF206", f"'{name}': the argument '{shown(key)}' is {what}", takes, place)
            else:
                trees[key] = self.expression(node)
        made: list[Tree] = []
        for position, parameter in enumerate(parameters):
            if not trees.keys() & names[position:]:
                if parameter.default is inspect.Parameter.empty:
                    self.problem("DF206", f"'{name}' needs the argument '{parameter.name}'", takes, place)
                break
            default = None if parameter.default is inspect.Parameter.empty else parameter.default
            made.append(trees.get(parameter.name, ["const", default]))
            self.check_argument(name, parameter.name, made[-1], place)
        return made

    def check_argument(self, name: str, parameter: str, tree: Tree, place: Place) -> None:
        match parameter, tree:
            case "attribute", ["const", str(attribute)]:
                self.check_attribute(attribute, place)
            case "pattern", ["const", str(pattern)]:
                if problem := pattern_problem(pattern):
                    self.problem("DF214", f"'{name}': {problem}", _PATTERN_HINT, place)
            case "pattern", _:
                self.problem("DF214", f"'{name}' needs its pattern as text in quotes", _PATTERN_HINT, place)
            case _:
                pass

    def check_attribute(self, attribute: str | int, place: Place) -> None:
        for key in path_of(attribute):
            self.check_key(key, place)


def _named(node: nodes.Filter | nodes.Test | nodes.Call) -> dict[str, nodes.Expr]:
    """Return the arguments given by name; of two with one name the last."""
    return {cast("Any", pair).key: pair.value for pair in node.kwargs}


def _attribute(node: nodes.Expr | None) -> str | int | None:
    """Return the name or index that stands in the text, or None when it is something else."""
    match node:
        case nodes.Const(value=str() | int() as key) if not isinstance(key, bool):
            return key
        case _:
            return None


def _is_space(node: nodes.Node) -> bool:
    return isinstance(node, nodes.TemplateData) and not node.data.strip()


def _literal_key(node: nodes.Getattr | nodes.Getitem) -> str | int | None:
    """Return the key that stands in the text, or None when it is computed."""
    if isinstance(node, nodes.Getattr):
        return node.attr
    match node.arg:
        case nodes.Const(value=str() | int() as key) if not isinstance(key, bool):
            return key
        case nodes.Neg(node=nodes.Const(value=int(index))) if not isinstance(index, bool):
            return -index
        case _:
            return None
