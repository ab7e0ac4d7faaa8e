"""What does the YAML or JSON say? Plain data, with a span for every key and value.

The text is read as events, and every limit is checked while they come: no object exists before its limit has been
looked at (reliability.md D2). Anchors, aliases and merge keys are allowed, and counted as if they were written out.
Whatever another reader would take for something else is a problem, and so is every key that stands twice; all that can
be told in one run is.

Spans are kept as character offsets beside the values and become :class:`~durableflow.source.Span` on demand.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn, TypeAlias, Union

from durableflow.errors import SHOWN_PROBLEMS, WorkflowError, diagnostic
from durableflow.scalars import Refused, places, plain_key, plain_value
from durableflow.source import SHOWN_CHARACTERS, Ruler, Source, shown
from durableflow.syntax import read_json, read_yaml, unquoted_template
from durableflow.values import size_bytes

if TYPE_CHECKING:
    from durableflow.errors import Diagnostic
    from durableflow.source import Mark, Span
    from durableflow.values import Json, Object

Path: TypeAlias = tuple[str | int, ...]
"""The way to a value: keys and indices from the top, which is ()."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one text may hold. All are counted, so the same text has the same answer everywhere.

    Args:
        file_bytes: of UTF-8, of the text as it stands and of its texts with aliases written out.
        depth: of mappings and lists in one another.
        nodes: keys and values, with aliases written out.
        scalar_bytes: of UTF-8, of one text.

    Source: language.md section 3 rule 10.
    """

    file_bytes: int = 1_048_576
    depth: int = 32
    nodes: int = 100_000
    scalar_bytes: int = 262_144


_DEFAULT_LIMITS: Final = Limits()

# Where a value starts and ends, and what is in it: nothing in a scalar, a node for each item of a list, the place of
# the key and a node for each entry of a mapping, or the node that an alias stands for.
_Node: TypeAlias = tuple[int, int, Union[list["_Node"], dict[str, "_Entry"], "_Node", None]]
_Entry: TypeAlias = tuple[int, int, _Node]


class Document:
    """What a file says: plain JSON data and a span for every key and value.

    Values may share objects where the text has aliases, so they must not be changed.
    """

    __slots__ = ("_root", "_ruler", "source", "value")

    def __init__(self, ruler: Ruler, value: Json, root: _Node) -> None:
        self.source: Source = ruler.source
        self.value: Json = value
        self._ruler = ruler
        self._root = root

    def span(self, path: Path) -> Span:
        """Return the span of the value at `path`.

        A path that does not exist has the span of the key of its nearest parent that does, or of that parent's value
        when it has no key (a list item, the top).
        """
        return self._span(path, is_key=False)

    def key_span(self, path: Path) -> Span:
        """Return the span of the key of the entry at `path`; of the value where there is no key."""
        return self._span(path, is_key=True)

    def _span(self, path: Path, *, is_key: bool) -> Span:
        node, entry, is_found = self._find(path)
        start, end = node[0], node[1]
        if entry is not None and (is_key or not is_found):
            start, end = entry[0], entry[1]
        # A block text ends after its empty lines; nobody means those.
        return self._ruler.span(start, start + len(self.source.text[start:end].rstrip()))

    def mark_in(self, path: Path, offset: int) -> Mark:
        """Return where character `offset` (from 0) of the decoded text at `path` stands in the file.

        It is exact in plain and quoted scalars and in blocks, through escapes, folding and indentation; an offset
        behind the text gives its end. At a path without a text it is the start of the span.
        """
        node, _, is_found = self._find(path)
        while isinstance(node[2], tuple):
            node = node[2]
        value = self._value(path) if is_found else None
        if not isinstance(value, str):
            return self.span(path).start
        found = places(self.source.text, node[0], node[1], value)
        return self._ruler.mark(found[min(offset, len(value))])

    def _value(self, path: Path) -> Json:
        value = self.value
        for part in path:
            if isinstance(value, dict):
                value = value[str(part)]
            elif isinstance(value, list):
                value = value[int(part)]
        return value

    def _find(self, path: Path) -> tuple[_Node, _Entry | None, bool]:
        """Return the node at `path`, or at the longest part of it that exists, its entry, and whether all exists."""
        node: _Node = self._root
        entry: _Entry | None = None
        for part in path:
            inside = _inside(node)
            if isinstance(inside, dict) and isinstance(part, str) and part in inside:
                entry = inside[part]
                node = entry[2]
            elif isinstance(inside, list) and isinstance(part, int) and 0 <= part < len(inside):
                entry = None
                node = inside[part]
            else:
                return node, entry, False
        return node, entry, True


def read_bytes(data: bytes, name: str, *, limits: Limits = _DEFAULT_LIMITS, is_data: bool = False) -> Document:
    """Return what the bytes of a file say: UTF-8, with or without a byte order mark.

    Args:
        data: the whole file.
        name: what errors call it; a name that ends in `.json` promises JSON.
        limits: how much it may hold.
        is_data: it is no workflow, so braces in a key are text.

    Raises:
        WorkflowError: with every problem that can be told in one run.
    """
    if len(data) > limits.file_bytes:
        _refuse_size(Source(name=name), len(data), limits)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise WorkflowError([_not_utf8(data, name, error.start)]) from error
    if "\0" in text and (encoding := _wide_encoding(data)):
        raise WorkflowError([_wide(name, encoding)])
    return read_document(Source(name=name, text=text), limits=limits, is_data=is_data)


_MARK: Final = "\ufeff"
"""The byte order mark that some editors write before the text; no part of it, and not counted in columns."""


def _wide_encoding(data: bytes) -> str | None:
    """Return the name of the encoding with two or four bytes a character that the first bytes speak for, or None."""
    if data.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")) or data[:3] == b"\0\0\0" or data[1:4] == b"\0\0\0":
        return "UTF-32"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or (len(data) > 1 and (data[0] == 0) != (data[1] == 0)):
        return "UTF-16"
    return None


def _wide(name: str, encoding: str) -> Diagnostic:
    span = Ruler(Source(name=name)).span(0, 0)
    return diagnostic("DF101", f"the file is {encoding}, not UTF-8", span=span, hint="save it as UTF-8")


def _not_utf8(data: bytes, name: str, at: int) -> Diagnostic:
    if encoding := _wide_encoding(data):
        return _wide(name, encoding)
    # The bad bytes are shown as replacement characters, which does not move what is before them.
    before = len(data[:at].decode().removeprefix(_MARK))
    ruler = Ruler(Source(name=name, text=data.decode("utf-8", "replace").removeprefix(_MARK)))
    message = f"the file is not UTF-8 at byte {at}"
    return diagnostic("DF101", message, span=ruler.span(before, before + 1), hint="save it as UTF-8")


def _refuse_size(source: Source, size: int, limits: Limits) -> NoReturn:
    message = f"the text has {size:,} bytes, more than {limits.file_bytes:,} (file_bytes)"
    hint = "split it, or move data into a file that the workflow loads"
    raise WorkflowError([diagnostic("DF102", message, span=Ruler(source).span(0, 0), hint=hint)])


def read_document(source: Source, *, limits: Limits = _DEFAULT_LIMITS, is_data: bool = False) -> Document:
    """Return what a text says, as JSON if it is JSON or is called so, else as YAML.

    Args:
        source: the text; a name that ends in `.json` promises JSON.
        limits: how much it may hold.
        is_data: it is no workflow, so braces in a key are text (language.md 12, rule 4).

    Raises:
        WorkflowError: with every problem that can be told in one run.
    """
    if source.text.startswith(_MARK):
        source = replace(source, text=source.text.removeprefix(_MARK))
    size = size_bytes(source.text)
    if size > limits.file_bytes:
        _refuse_size(source, size, limits)
    ruler = Ruler(source)
    is_json = source.name.lower().endswith(".json")
    _check_characters(ruler, _JSON_REFUSED if is_json else _YAML_REFUSED)
    # YAML that begins with a bracket may be JSON, which has a finer reader; what that cannot read is YAML.
    if is_json or _BRACKET.match(source.text):
        builder = _Builder(ruler, limits, is_data=is_data)
        stopped = read_json(ruler, builder)
        if stopped is None or is_json:
            return builder.document(stopped)
    builder = _Builder(ruler, limits, is_data=is_data)
    return builder.document(read_yaml(ruler, builder))


_BRACKET: Final = re.compile(r"[ \t\r\n]*+[\[{]")

_JSON_REFUSED: Final = re.compile("[^\t\n\r\x20-\x7e\x80-\ud7ff\ue000-\U0010ffff]")
# YAML cannot hold what is not printable, and takes NEL, LS and PS for line ends, each reader in its own way.
_YAML_REFUSED: Final = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)


def _check_characters(ruler: Ruler, refused: re.Pattern[str]) -> None:
    problems: list[Diagnostic] = []
    for found in refused.finditer(ruler.source.text):
        character = shown(found.group())
        message = f"the character '{character}' cannot stand in a file"
        hint = "remove it; inside double quotes it can be written as an escape"
        problems.append(diagnostic("DF103", message, span=ruler.span(found.start(), found.end()), hint=hint))
        if len(problems) == SHOWN_PROBLEMS:
            break
    if problems:
        raise WorkflowError(problems)


class _Anchored(NamedTuple):
    """What an alias stands for, and what it costs written out."""

    value: Json
    node: _Node
    nodes: int
    size: int
    height: int


class _Frame:
    """A mapping or list that is not finished."""

    __slots__ = (
        "anchor",
        "height",
        "is_dropping",
        "is_mapping",
        "is_merging",
        "is_template",
        "item_nodes",
        "items",
        "key",
        "key_end",
        "key_start",
        "member_nodes",
        "members",
        "merged",
        "nodes_before",
        "size_before",
        "start",
    )

    def __init__(self, start: int, *, is_mapping: bool, anchor: str | None, nodes: int, size: int) -> None:
        self.start = start
        self.is_mapping = is_mapping
        self.anchor = anchor
        self.nodes_before = nodes
        self.size_before = size
        self.height = 1
        self.items: list[Json] = []
        self.item_nodes: list[_Node] = []
        self.members: Object = {}
        self.member_nodes: dict[str, _Entry] = {}
        self.key: str | None = None  # of the entry whose value comes next
        self.key_start = self.key_end = 0
        self.merged: list[tuple[Object, dict[str, _Entry]]] | None = None
        self.is_dropping = False  # the next value has no usable key
        self.is_merging = False  # the next value is merged
        self.is_template = False


_SMALLER: Final = "split the workflow, or move data into a file that it loads"
_TEXT_REFUSED: Final = re.compile("[\0\ud800-\udfff]")
_MERGE: Final = "<<"
_COMPARED_ANCHORS: Final = 200


class _Builder:
    """Makes a document of what a reader tells, and keeps the limits meanwhile."""

    def __init__(self, ruler: Ruler, limits: Limits, *, is_data: bool) -> None:
        self._ruler = ruler
        self._limits = limits
        self._is_data = is_data
        self._problems: list[Diagnostic] = []
        self._anchors: dict[str, _Anchored | None] = {}  # None while the anchor's own node is not finished
        self._frame = _Frame(0, is_mapping=False, anchor=None, nodes=0, size=0)
        self._outer: list[_Frame] = []
        self._nodes = 0
        self._size = 0
        self._keys: set[str] = set()  # that have been found good
        self._end = 0  # of the last thing that was told
        self._templates = 0  # open frames that are templates without quotes: what they hold is no YAML

    def document(self, stopped: Diagnostic | None) -> Document:
        """Return the document, `stopped` being what ended the reading early.

        Raises:
            WorkflowError: there were problems.
        """
        if stopped and not self._explains(stopped):
            self._problems.append(stopped)
        if self._problems:
            raise WorkflowError(self._problems)
        top = self._frame
        if not top.items:
            span = self._ruler.span(0, 0)
            raise WorkflowError(
                [diagnostic("DF104", "the file is empty", span=span, hint='a workflow begins with: durableflow: "1"')]
            )
        return Document(self._ruler, top.items[0], top.item_nodes[0])

    def _explains(self, stopped: Diagnostic) -> bool:
        """Say whether something that was reported on the same line is the cause of what stopped the reader."""
        assert stopped.span is not None
        line = stopped.span.start.line
        return any(problem.span and problem.span.start.line == line for problem in self._problems)

    def _report(self, code: str, message: str, start: int, end: int, hint: str) -> None:
        if not self._templates:
            self._problems.append(diagnostic(code, message, span=self._ruler.span(start, end), hint=hint))

    def _refuse(self, code: str, message: str, start: int, end: int, hint: str) -> NoReturn:
        """Stop reading: a limit is reached."""
        problem = diagnostic(code, message, span=self._ruler.span(start, end), hint=hint)
        raise WorkflowError([*self._problems, problem])

    def _count(self, nodes: int, size: int, start: int, end: int) -> None:
        self._nodes += nodes
        self._size += size
        if self._nodes > self._limits.nodes:
            message = f"more than {self._limits.nodes:,} keys and values (nodes)"
            self._refuse("DF106", f"{message}, aliases written out", start, end, _SMALLER)
        if self._size > self._limits.file_bytes:
            message = f"more than {self._limits.file_bytes:,} bytes of text (file_bytes)"
            self._refuse("DF102", f"{message}, aliases written out", start, end, _SMALLER)

    def _check_depth(self, height: int, start: int) -> None:
        if len(self._outer) + height > self._limits.depth:
            message = f"nested deeper than {self._limits.depth} levels (depth)"
            self._refuse("DF105", message, start, start + 1, "flatten it, or move a part into a workflow of its own")

    def open(self, start: int, *, is_mapping: bool, anchor: str | None = None) -> None:
        """Take note that a mapping or a list begins."""
        self._count(1, 0, start, start + 1)
        self._check_depth(1, start)
        outer = self._frame
        frame = _Frame(start, is_mapping=is_mapping, anchor=anchor, nodes=self._nodes, size=self._size)
        if outer.is_mapping and outer.key is None:
            self._complex_key(outer, start, is_mapping=is_mapping)
        if anchor is not None:
            self._declare(anchor, start)
        self._outer.append(outer)
        self._frame = frame
        self._end = start + 1

    def _complex_key(self, outer: _Frame, start: int, *, is_mapping: bool) -> None:
        """Report a mapping or list that stands as a key; two braces in a row are a template without quotes."""
        if is_mapping and outer.start == start - 1 and self._ruler.source.text.startswith("{{", start - 1):
            if not self._templates:
                self._problems.append(unquoted_template(self._ruler, start - 1))
            if not outer.is_template:
                outer.is_template = True
                self._templates += 1
            return
        if is_mapping and self._ruler.source.text.startswith("{{", start):
            return  # the same template, seen from outside; its second brace comes next
        what = "a mapping" if is_mapping else "a list"
        self._report("DF122", f"{what} cannot be a key", start, start + 1, "keys are text; quote it")

    def close(self, end: int | None = None) -> None:
        """Take note that the innermost mapping or list ends, at `end` or with its last part."""
        frame = self._frame
        outer = self._frame = self._outer.pop()
        if end is None:
            end = self._end
        if frame.is_template:
            self._templates -= 1
        if frame.merged is not None:
            _merge(frame)
        value: Json = frame.members if frame.is_mapping else frame.items
        node: _Node = (frame.start, end, frame.member_nodes if frame.is_mapping else frame.item_nodes)
        if frame.height >= outer.height:
            outer.height = frame.height + 1
        if frame.anchor is not None:
            nodes = self._nodes - frame.nodes_before + 1
            self._anchors[frame.anchor] = _Anchored(value, node, nodes, self._size - frame.size_before, frame.height)
        if outer.is_mapping and outer.key is None:
            outer.key, outer.is_dropping = "", True
        else:
            self._put(outer, value, node)
        self._end = end

    def scalar(self, text: str, start: int, end: int, *, is_plain: bool, anchor: str | None = None) -> None:
        """Take note of a scalar; a plain one is not quoted."""
        size = len(text) if text.isascii() else size_bytes(text)
        self._nodes += 1
        self._size += size
        if self._nodes > self._limits.nodes or self._size > self._limits.file_bytes:
            self._count(0, 0, start, end)
        if size > self._limits.scalar_bytes:
            message = f"one text has {size:,} bytes, more than {self._limits.scalar_bytes:,} (scalar_bytes)"
            self._refuse("DF107", message, start, start + 1, "move it into a file that the workflow loads")
        if not is_plain and (refused := _TEXT_REFUSED.search(text)):
            self._bad_character(text, refused.start(), start, end)
        frame = self._frame
        if frame.is_mapping and frame.key is None:
            is_known = is_plain and (text in self._keys or text == _MERGE)
            key = text if is_known or not is_plain else self._accepted(plain_key(text), start, end)
            self._key(frame, key if isinstance(key, str) else None, start, end, is_merge=is_plain and text == _MERGE)
            value: Json = key
        else:
            value = self._accepted(plain_value(text), start, end) if is_plain else text
            self._put(frame, value, (start, end, None))
        if anchor is not None:
            self._declare(anchor, start)
            self._anchors[anchor] = _Anchored(value, (start, end, None), 1, size, 0)
        self._end = end

    def _accepted(self, value: Json | Refused, start: int, end: int) -> Json:
        """Return the value of a plain scalar, null in place of one that is refused and reported."""
        if not isinstance(value, Refused):
            return value
        self._report(value.code, value.message, start, end, value.hint)
        return None

    def _bad_character(self, text: str, at: int, start: int, end: int) -> None:
        place = places(self._ruler.source.text, start, end, text)[at]
        message = f"a text cannot hold the character '{shown(text[at])}'"
        self._report(
            "DF126", message, place, place + 1, "write another character; a pair of surrogates is written as one"
        )

    def alias(self, anchor: str, start: int, end: int) -> None:
        """Take note that the node with this anchor stands here once more."""
        frame = self._frame
        value: Json = None
        node: _Node = (start, end, None)
        known = self._anchors.get(anchor)
        if known is None:
            self._unknown_alias(anchor, start, end)
        else:
            self._count(known.nodes, known.size, start, end)
            self._check_depth(known.height, start)
            value, node = known.value, (start, end, known.node)
            frame.height = max(frame.height, known.height + 1)
        if frame.is_mapping and frame.key is None:
            if known and not isinstance(value, str):
                self._report("DF122", f"the key '*{shown(anchor)}' is no text", start, end, "keys are text")
            self._key(frame, value if isinstance(value, str) else None, start, end, is_merge=False)
        else:
            # What has been reported once is not reported again as something that cannot be merged.
            frame.is_dropping = frame.is_dropping or (frame.is_mapping and known is None)
            self._put(frame, value, node)
        self._end = end

    def _unknown_alias(self, anchor: str, start: int, end: int) -> None:
        if anchor in self._anchors:
            message = f"the alias '*{shown(anchor)}' stands inside its own anchor"
            self._report("DF134", message, start, end, "a value cannot contain itself")
            return
        # Comparing names costs; only what will be read is worth it, and no text may ask for it 10,000 times.
        is_cheap = len(self._problems) < SHOWN_PROBLEMS and len(self._anchors) <= _COMPARED_ANCHORS
        near = get_close_matches(anchor[:SHOWN_CHARACTERS], self._anchors, 1) if is_cheap else []
        hint = "mark a value before it with &, or quote the text that starts with *"
        if near:
            hint = f"did you mean '*{near[0]}'?"
        self._report("DF133", f"no anchor '&{shown(anchor)}' stands before this alias", start, end, hint)

    def _declare(self, anchor: str, start: int) -> None:
        if anchor in self._anchors:
            end = start + 1 + len(anchor)
            self._report(
                "DF135", f"the anchor '&{shown(anchor)}' is set twice", start, end, "give one of them another name"
            )
        self._anchors[anchor] = None

    def _key(self, frame: _Frame, key: str | None, start: int, end: int, *, is_merge: bool) -> None:
        """Make `key` the key of the next value of `frame`; the value after an unusable key (None) is dropped."""
        frame.key, frame.key_start, frame.key_end = key or "", start, end
        if key is None:
            frame.is_dropping = True
        elif is_merge and frame.merged is None:
            frame.is_merging, frame.merged = True, []
        elif is_merge:
            frame.is_dropping = True
            self._report(
                "DF123", "the merge key '<<' stands twice", start, end, "merge a list of aliases: <<: [*a, *b]"
            )
        elif key in frame.member_nodes:
            frame.is_dropping = True
            first = self._ruler.mark(frame.member_nodes[key][0]).line
            message = f"the key '{shown(key)}' stands twice in this mapping"
            self._report("DF123", message, start, end, f"it stands first at line {first}; rename or remove one of them")
        elif ("{{" in key or "{%" in key) and not self._is_data:
            message = f"the key '{shown(key)}' holds a template"
            self._report("DF121", message, start, end, "keys are never templates; make the whole value one template")
        else:
            self._keys.add(key)

    def _put(self, frame: _Frame, value: Json, node: _Node) -> None:
        """Add a finished value to `frame`."""
        if not frame.is_mapping:
            frame.items.append(value)
            frame.item_nodes.append(node)
            return
        key = frame.key
        assert key is not None
        if frame.is_dropping:
            frame.is_dropping = False
        elif frame.is_merging:
            self._add_merge(frame, value, node)
        else:
            frame.members[key] = value
            frame.member_nodes[key] = (frame.key_start, frame.key_end, node)
        frame.key, frame.is_merging = None, False

    def _add_merge(self, frame: _Frame, value: Json, node: _Node) -> None:
        assert frame.merged is not None
        inside = _inside(node)
        sources = (
            zip(value, inside, strict=True) if isinstance(value, list) and isinstance(inside, list) else [(value, node)]
        )
        for source, source_node in sources:
            entries = _inside(source_node)
            if isinstance(source, dict) and isinstance(entries, dict):
                frame.merged.append((source, entries))
            else:
                hint = "merge an alias of a mapping, or a list of them: <<: [*a, *b]"
                self._report("DF136", "only mappings can be merged", source_node[0], source_node[1], hint)


def _inside(node: _Node) -> list[_Node] | dict[str, _Entry] | None:
    """Return what is in a node, or in the one that it is an alias of."""
    inside = node[2]
    while isinstance(inside, tuple):
        inside = inside[2]
    return inside


def _merge(frame: _Frame) -> None:
    """Put the merged entries before the frame's own, which win; of the merged ones the first wins.

    Source: https://yaml.org/type/merge.html
    """
    members: Object = {}
    nodes: dict[str, _Entry] = {}
    for source, entries in reversed(frame.merged or ()):
        members.update(source)
        nodes.update(entries)
    members.update(frame.members)
    nodes.update(frame.member_nodes)
    frame.members, frame.member_nodes = members, nodes
