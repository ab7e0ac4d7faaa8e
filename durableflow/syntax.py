"""What do YAML and JSON say, one event after the other, and what is wrong with a text that is neither?

Both readers tell a :class:`Receiver` what they find while they go, so that it can stop them before a hostile text has
become an object. YAML comes from PyYAML's event parser, in C where there is one; its complaints are said again in our
own words. JSON has a reader of its own: read as YAML, a tab, an escaped `/` or a surrogate pair would be an error.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, cast

import yaml

from durableflow.errors import diagnostic
from durableflow.source import shown

if TYPE_CHECKING:
    from durableflow.errors import Diagnostic
    from durableflow.source import Ruler, Span

PARSER: type[yaml.CLoader | yaml.Loader] = getattr(yaml, "CLoader", yaml.Loader)
"""PyYAML's parser. The one in Python is 20 times slower and refuses tabs after values, which the one in C skips."""


class Receiver(Protocol):
    """Who is told what a text says; places are character offsets."""

    def open(self, start: int, *, is_mapping: bool, anchor: str | None = None) -> None:
        """Take note that a mapping or a list begins."""

    def close(self, end: int | None = None) -> None:
        """Take note that the innermost mapping or list ends, at `end` or with its last part."""

    def scalar(self, text: str, start: int, end: int, *, is_plain: bool, anchor: str | None = None) -> None:
        """Take note of a scalar; a plain one is not quoted."""

    def alias(self, anchor: str, start: int, end: int) -> None:
        """Take note that the node with this anchor stands here once more."""


class _Mark(Protocol):
    index: int


class _Event(Protocol):
    """An event of PyYAML's; which attributes it has beside the marks depends on its class."""

    start_mark: _Mark
    end_mark: _Mark
    anchor: str | None  # an alias always has one
    tag: str | None
    value: str
    style: str | None
    flow_style: bool


class _Events(Protocol):
    def get_event(self) -> _Event | None: ...
    def dispose(self) -> None: ...


def read_yaml(ruler: Ruler, receiver: Receiver) -> Diagnostic | None:
    """Tell `receiver` what a YAML text says; return what ended the reading before its end, or None."""
    text = ruler.source.text
    if directive := _DIRECTIVE.match(text):
        return _directive(ruler, directive.end() - 1)
    events = cast("_Events", PARSER(text))
    try:
        return _tell(events, ruler, receiver)
    except yaml.MarkedYAMLError as error:
        return _translated(ruler, error)
    except (ValueError, OverflowError):
        # PyYAML's own parser hands any eight digits after \U to chr().
        escape = _HUGE_ESCAPE.search(text)
        return _no_escape(ruler, escape.start() if escape else 0)
    finally:
        events.dispose()


# A directive can only stand before the first document, after empty lines and comments.
_DIRECTIVE: Final = re.compile(r"(?:[ \t]*+(?:#[^\n]*+)?\r?\n)*+%")
_HUGE_ESCAPE: Final = re.compile(r"\\U(?!000[0-9a-fA-F]|0010)[0-9a-fA-F]{8}")


def _tell(events: _Events, ruler: Ruler, receiver: Receiver) -> Diagnostic | None:
    flows: list[bool] = []  # of the open mappings and lists: whether brackets enclose them
    documents = 0
    while (event := events.get_event()) is not None:
        kind = type(event).__name__
        start = event.start_mark.index
        if kind == "ScalarEvent":
            if event.tag is not None:
                return _tag(ruler, event)
            receiver.scalar(event.value, start, event.end_mark.index, is_plain=not event.style, anchor=event.anchor)
        elif kind in {"MappingStartEvent", "SequenceStartEvent"}:
            if event.tag is not None:
                return _tag(ruler, event)
            flows.append(event.flow_style)
            receiver.open(start, is_mapping=kind == "MappingStartEvent", anchor=event.anchor)
        elif kind in {"MappingEndEvent", "SequenceEndEvent"}:
            # A block ends where the next thing begins, comments later; its last part tells better.
            receiver.close(event.end_mark.index if flows.pop() else None)
        elif kind == "AliasEvent":
            receiver.alias(event.anchor or "", start, event.end_mark.index)
        elif kind == "DocumentStartEvent":
            documents += 1
            if documents > 1:
                return _second_document(ruler, start)
    return None


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    end = len(text) if end < 0 else end
    return start + len(text[start:end].rstrip())


def _tag(ruler: Ruler, event: _Event) -> Diagnostic:
    text = ruler.source.text
    start = event.start_mark.index
    found = re.compile(r"!\S*").search(text, start)
    span = ruler.span(found.start(), found.end()) if found else ruler.span(start, _line_end(text, start))
    name = found.group() if found else ""
    return diagnostic("DF130", f"the tag '{shown(name)}' has no meaning here", span=span, hint=_HINTS["tag"])


def _directive(ruler: Ruler, start: int) -> Diagnostic:
    span = ruler.span(start, _line_end(ruler.source.text, start))
    return diagnostic(
        "DF131", "a YAML directive has no meaning here", span=span, hint="remove the line that starts with %"
    )


def _second_document(ruler: Ruler, start: int) -> Diagnostic:
    span = ruler.span(start, _line_end(ruler.source.text, start))
    return diagnostic(
        "DF132",
        "a second document begins here",
        span=span,
        hint="a file holds one; put the other into a file of its own",
    )


_ESCAPE: Final = re.compile(r"\\(?:x[0-9a-fA-F]{0,2}|u[0-9a-fA-F]{0,4}|U[0-9a-fA-F]{0,8}|.?)")
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


def _no_escape(ruler: Ruler, start: int) -> Diagnostic:
    """Return that the escape at `start` is none, or that no text can hold its character."""
    found = _ESCAPE.match(ruler.source.text, start)
    escape = found.group() if found else ""
    span = ruler.span(start, start + len(escape))
    if _SURROGATE.match(escape):
        return bad_character(escape, span)
    return diagnostic("DF115", f"'{shown(escape)}' is no character", span=span, hint=_HINTS["escape"])


def bad_character(character: str, span: Span) -> Diagnostic:
    """Return the finding that a decoded text holds a NUL or half of a surrogate pair."""
    hint = r"remove it; a character beyond \uFFFF is written as itself or as \UXXXXXXXX, not as two halves"
    return diagnostic("DF126", f"a text cannot hold the character '{shown(character)}'", span=span, hint=hint)


def unquoted_template(ruler: Ruler, start: int) -> Diagnostic:
    """Return the finding that a template begins at `start` without quotes around it."""
    text = ruler.source.text
    line_end = _line_end(text, start)
    close = text.find({"{": "}}", "%": "%}", "#": "#}"}[text[start + 1]], start + 2, line_end)
    end = close + 2 if close >= 0 else line_end
    written = shown(text[start:end])
    quote = "'" if '"' in written else '"'
    return diagnostic(
        "DF120",
        f"the template '{written}' has no quotes",
        span=ruler.span(start, end),
        hint=f"quote the template, with all the text around it: {quote}{written}{quote}",
    )


_HINTS: Final = {
    "tag": "remove it; values are text, numbers, true, false, null, lists and mappings",
    "escape": r"write \\ for a backslash, \UXXXXXXXX for any character, or use single quotes, which have no escapes",
    "anchor": "an anchor or alias needs a name of letters, digits, - and _; quote the value if & or * is text",
    "block": "write | or >, then at most - or + and a digit from 1 to 9; the text starts on the next line",
    "quote": "close it, and write a quote inside the text twice ('it''s') or as \\\" in double quotes",
}


class _Words(NamedTuple):
    """Our words for a complaint of PyYAML's."""

    code: str
    message: str
    hint: str
    is_since: bool = False  # shown where the construct began that could not be read, not where reading stopped


# The first pattern that is found in PyYAML's "context: problem" counts. The parsers in C and in Python differ in a few
# words; {0} is the character where reading stopped.
_TRANSLATIONS: Final = tuple(
    (re.compile(pattern), words)
    for pattern, words in {
        r"directive": _Words("DF131", "a YAML directive has no meaning here", "remove the line that starts with %"),
        r"ing a tag|tag handle": _Words("DF130", "a tag has no meaning here", _HINTS["tag"], is_since=True),
        r"an anchor|an alias": _Words("DF116", "no name follows the '&' or '*'", _HINTS["anchor"], is_since=True),
        r"a block scalar": _Words("DF117", "the first line of a block text is not right", _HINTS["block"]),
        r"quoted scalar: found unexpected (end|document)": _Words(
            "DF112", "this quote is never closed", _HINTS["quote"], is_since=True
        ),
        r"cannot start any token": _Words(
            "DF116", "an unquoted value cannot start with '{0}'", "put quotes around the value"
        ),
        r"sequence entries are not allowed": _Words(
            "DF111",
            "a list entry cannot start here",
            "start it on a line of its own, or quote the text that starts with -",
        ),
        r"mapping keys are not allowed": _Words("DF118", "a '? ' cannot start here", "put quotes around the value"),
        r"could not find expected ':'": _Words(
            "DF118",
            "no ':' follows this key",
            "write 'key: value', or indent the line if it continues the text above",
            is_since=True,
        ),
        r"expected the node content|expected node content": _Words(
            "DF118",
            "a value is missing before '{0}'",
            "write it, or put quotes around text that starts with this character",
        ),
    }.items()
)


def _translated(ruler: Ruler, error: yaml.MarkedYAMLError) -> Diagnostic:
    """Return what PyYAML complains about, in our words."""
    text = ruler.source.text
    said = f"{error.context}: {error.problem}"
    at = error.problem_mark.index if error.problem_mark else 0
    since = error.context_mark.index if error.context_mark else at
    if (template := _template_before(text, at)) is not None:
        return unquoted_template(ruler, template)
    character = text[at : at + 1]
    if character == "\t" and re.search(r"cannot start|a tab", said):
        hint = "indent and separate with spaces"
        return diagnostic("DF110", "a tab where YAML takes only spaces", span=ruler.span(at, at + 1), hint=hint)
    if re.search(r"escape|hexdecimal", said):
        return _no_escape(ruler, text.rfind("\\", since, at + 1))
    for pattern, words in _TRANSLATIONS:
        if pattern.search(said):
            start = since if words.is_since else at
            break
    else:
        words, start = _misplaced(ruler, said, at, since)
    span = ruler.span(start, start + 1)
    return diagnostic(words.code, words.message.replace("{0}", shown(character)), span=span, hint=words.hint)


def _misplaced(ruler: Ruler, said: str, at: int, since: int) -> tuple[_Words, int]:
    """Return the words for something that stands where it cannot, which depends on what is around it."""
    text = ruler.source.text
    row = text[text.rfind("\n", 0, at) + 1 : at]
    words = _Words("DF118", "this is not YAML", f"the parser says: {said.removeprefix('None: ')}")
    if "mapping values" in said and ": " in row:
        words = _Words("DF114", "a second ': ' in an unquoted value", "put quotes around the value")
    elif "mapping values" in said:
        hint = "indent it like the keys beside it; a key above it that has a value cannot hold others"
        words = _Words("DF111", "no key can stand here", hint)
    elif flow := re.search(r"expected ',' or '(.)'", said):
        return _open_flow(ruler, flow[1], at, since)
    elif _AFTER_END.search(said) and re.search(r"^\.\.\.", text[:at], re.MULTILINE):
        words = _Words("DF132", "a second document begins here", "a file holds one")
    elif _AFTER_END.search(said):
        words = _Words("DF118", "more text follows the end of the value", "a file holds one value")
    elif re.search(r"expected (<block end>|key|'-' indicator)", said):
        words = _interruption(ruler, at, since) if not row.strip(" ") else _TWO_VALUES
    return words, at


_AFTER_END: Final = re.compile("expected '?<document start>")
_TWO_VALUES: Final = _Words(
    "DF118",
    "more text follows the end of a value",
    "put quotes around the whole value; a quote inside it is written twice ('it''s')",
)


def _open_flow(ruler: Ruler, closing: str, at: int, since: int) -> tuple[_Words, int]:
    text = ruler.source.text
    bracket = text[since]
    if at >= len(text.rstrip()):
        return _Words("DF113", f"the '{bracket}' is never closed", f"write the '{closing}' that belongs to it"), since
    message = f"neither ',' nor '{closing}' follows in the '{bracket}' of line {ruler.mark(since).line}"
    return _Words("DF113", message, f"write what is missing, or quote the text that holds '{text[at]}'"), at


def _interruption(ruler: Ruler, at: int, since: int) -> _Words:
    if ruler.source.text.startswith(":", at):
        return _Words("DF122", "a key is missing before ':'", 'keys are text; the empty one is written ""')
    what = "a list entry among keys" if ruler.source.text.startswith("- ", at) else "indented like nothing above it"
    block = ruler.mark(since)
    where = f"the block it interrupts begins at line {block.line} column {block.column}"
    return _Words("DF111", f"this line is {what}", f"{where}; indent it like its neighbours")


_TEMPLATE: Final = re.compile(r"\{[{%]")


def _template_before(text: str, at: int) -> int | None:
    """Return where an unquoted template begins that explains why reading stopped at `at`, or None."""
    start = text.rfind("\n", 0, at) + 1
    found = _TEMPLATE.search(text, start, min(at + 2, _line_end(text, start)))
    if found is None:
        return None
    before = text[start : found.start()]
    is_quoted = before.count('"') % 2 or before.count("'") % 2 or "#" in before
    return None if is_quoted else found.start()


# --- JSON ---

_TOKEN: Final = re.compile(
    r"""[ \t\r\n]*+(?:
        (?P<string>"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+")
      | (?P<literal>-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][-+]?[0-9]++)?(?![0-9.a-zA-Z_])|(?:true|false|null)\b)
      | (?P<mark>[][{},:])
      | (?P<end>\Z)
    )""",
    re.VERBOSE,
)
_STRING_START: Final = re.compile(r'"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+')
_WORD: Final = re.compile(r"[-+.\w]+")


def read_json(ruler: Ruler, receiver: Receiver) -> Diagnostic | None:
    """Tell `receiver` what a JSON text says; return what ended the reading before its end, or None.

    Source: RFC 8259.
    """
    text = ruler.source.text
    opened: list[int] = []
    expected = "a value"
    at = 0
    while True:
        token = _TOKEN.match(text, at)
        if token is None:
            return _json_fault(ruler, _skip(text, at), expected, opened)
        kind = token.lastgroup
        assert kind is not None
        start, at = token.span(kind)
        mark = token[kind] if kind == "mark" else ""
        if kind == "end" and (expected == "the end" or (expected == "a value" and not opened)):
            return None
        if kind == "string" and expected.startswith(("a value", "a key")):
            receiver.scalar(_decoded(token[kind]), start, at, is_plain=False)
            expected = "':'" if expected.startswith("a key") else _after(text, opened)
        elif kind == "literal" and expected.startswith("a value"):
            receiver.scalar(token[kind], start, at, is_plain=True)
            expected = _after(text, opened)
        elif mark in _OPENING and mark and expected.startswith("a value"):
            receiver.open(start, is_mapping=mark == "{")
            opened.append(start)
            expected = _OPENING[mark]
        elif mark and mark in "]}" and expected.endswith(f"'{mark}'"):
            receiver.close(at)
            opened.pop()
            expected = _after(text, opened)
        elif mark == "," and expected.startswith("','"):
            expected = "a key" if expected.endswith("'}'") else "a value"
        elif mark == ":" == expected.strip("'"):
            expected = "a value"
        else:
            return _json_fault(ruler, start, expected, opened)


_OPENING: Final = {"{": "a key or '}'", "[": "a value or ']'"}


def _after(text: str, opened: list[int]) -> str:
    """Return what can follow a value."""
    if not opened:
        return "the end"
    return "',' or '}'" if text[opened[-1]] == "{" else "',' or ']'"


def _decoded(token: str) -> str:
    return token[1:-1] if "\\" not in token else str(json.loads(token))


def _skip(text: str, at: int) -> int:
    return at + len(text[at:]) - len(text[at:].lstrip(" \t\r\n"))


def _json_fault(ruler: Ruler, at: int, expected: str, opened: list[int]) -> Diagnostic:
    """Return why the text is not JSON from `at` on, where `expected` should stand."""
    text = ruler.source.text
    if text.startswith('"', at) and expected.startswith(("a value", "a key")):
        return _json_string_fault(ruler, at)
    if text.startswith("{{", max(at - 1, 0)) and expected.startswith("a key"):
        return unquoted_template(ruler, at - 1)
    if at == len(text):
        message = f"the text ends where {expected} should stand"
        hint = f"the '{text[opened[-1]]}' of line {ruler.mark(opened[-1]).line} is not closed" if opened else None
        return diagnostic("DF119", message, span=ruler.span(at, at), hint=hint)
    word = _WORD.match(text, at)
    found = word.group() if word else text[at]
    words = _json_words(found, expected, is_after_comma=text[:at].rstrip().endswith(","))
    return diagnostic(words.code, words.message, span=ruler.span(at, at + len(found)), hint=words.hint)


def _json_words(found: str, expected: str, *, is_after_comma: bool) -> _Words:
    """Return the words for `found`, which stands where `expected` should."""
    if found in "/#":
        return _Words("DF119", "JSON has no comments", "remove it, or write the file as YAML")
    if found == "'":
        return _Words("DF119", "a single quote begins nothing in JSON", "JSON strings stand in double quotes")
    if found in "}]" and is_after_comma:
        return _Words("DF119", f"a comma stands before '{found}'", "remove the comma")
    if expected == "the end":
        return _Words("DF119", "more text follows the end of the value", "a file holds one value")
    if found.lstrip("-+") in {"NaN", "Infinity"}:
        return _Words("DF125", f"'{found}' is no number in JSON", "write null or a string; infinities do not exist")
    hint = "text stands in double quotes, numbers are written like 0.5, -1 or 1e3"
    return _Words("DF119", f"{expected} should stand here, not '{shown(found)}'", hint)


def _json_string_fault(ruler: Ruler, at: int) -> Diagnostic:
    """Return what is wrong inside the string that begins at `at`."""
    text = ruler.source.text
    start = _STRING_START.match(text, at)
    assert start is not None
    stop = start.end()
    if text.startswith("\\", stop):
        escape = text[stop : stop + (6 if text.startswith("u", stop + 1) else 2)].partition('"')[0]
        hint = r"write \\ for a backslash and \uXXXX for any character"
        span = ruler.span(stop, stop + len(escape))
        return diagnostic("DF115", f"'{shown(escape)}' is no character", span=span, hint=hint)
    if text.startswith("\t", stop):
        return diagnostic("DF119", "a tab inside a string", span=ruler.span(stop, stop + 1), hint=r"write it as \t")
    hint = r"close it on the same line; a line break inside a string is written \n"
    return diagnostic("DF112", "this quote is never closed", span=ruler.span(at, at + 1), hint=hint)
