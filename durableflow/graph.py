"""What does a workflow look like? Its states as boxes and arrows, written as Mermaid or Graphviz text.

A drawing is made once, as boxes in nested groups and arrows between them; the writers only differ in spelling. All
sixteen types are drawn, also those that this version validates and cannot run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, assert_never

from durableflow.model import (
    ABSENT,
    Block,
    Catcher,
    Choice,
    Expression,
    Fail,
    Loop,
    Map,
    Parallel,
    State,
    Succeed,
    UndoableState,
    WaitForCallback,
    Workflow,
)
from durableflow.plan import END
from durableflow.source import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Form: TypeAlias = Literal["mermaid", "dot"]
FORMS: Final[tuple[Form, ...]] = ("mermaid", "dot")

LABEL_CHARACTERS: Final = 60
"""A condition longer than this is cut: a drawing is to be read at a glance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A state, or the start or end of the workflow. `lines` are its label."""

    id: str
    lines: tuple[str, ...]
    shape: Literal["round", "plain", "diamond"] = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A frame around boxes; groups nest."""

    id: str
    title: str
    content: list[Box | Group] = field(default_factory=list["Box | Group"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrow:
    """From a box, or from a whole group (`out_of`, then `source` is a box in it), to a box."""

    source: str
    target: str
    label: str = ""
    dashed: bool = False
    out_of: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """Where the flow comes from, on its way to whatever is next."""

    source: str
    label: str = ""
    dashed: bool = False
    out_of: str = ""

    def to(self, target: str) -> Arrow:
        """Return the arrow from here to a box."""
        return Arrow(source=self.source, target=target, label=self.label, dashed=self.dashed, out_of=self.out_of)


@dataclass(slots=True)
class Drawing:
    """What has been drawn so far."""

    root: Group
    arrows: list[Arrow]
    entries: dict[str, str]
    """The box at which each state is entered, by the state's name."""
    jumps: list[tuple[Exit, str]]
    """`next`: from where, and the name of the state it goes to, which may not be drawn yet."""
    used: int = 0

    def new_id(self) -> str:
        """Return an identifier for a box or group; no word of Mermaid's or Graphviz's own, as `end` is."""
        self.used += 1
        return f"n{self.used}"


def draw(workflow: Workflow, form: Form) -> str:
    """Return the workflow's drawing as text in the given form, without a final newline."""
    drawing = _drawing(workflow)
    match form:
        case "mermaid":
            return "\n".join(_mermaid(drawing))
        case "dot":
            return "\n".join(_dot(drawing))
        case _:
            assert_never(form)


def _drawing(workflow: Workflow) -> Drawing:
    drawing = Drawing(Group(id="root", title=workflow.name), [], {}, [])
    start = Box(id="begin", lines=("start",), shape="round")
    drawing.root.content.append(start)
    exits = [Exit(source=start.id)]
    if workflow.catch or workflow.finally_:
        exits = _scope(drawing, drawing.root, workflow.name, workflow, exits)
        exits += _catches(drawing, drawing.root, workflow.catch, _out_of(drawing.root.content[-1]))
        exits = _states(drawing, drawing.root, workflow.finally_, exits)
    else:
        exits = _states(drawing, drawing.root, workflow.states, exits)
    drawing.root.content.append(Box(id="finish", lines=("end",), shape="round"))
    drawing.arrows += [leaving.to("finish") for leaving in exits]
    drawing.arrows += [leaving.to(drawing.entries.get(name, "finish")) for leaving, name in drawing.jumps]
    return drawing


def _states(drawing: Drawing, group: Group, states: Sequence[State], arriving: list[Exit]) -> list[Exit]:
    """Draw a list of states; return where the flow leaves it."""
    leaving: list[Exit] = []
    for state in states:
        exits = _state(drawing, group, state, arriving)
        arriving = _after(drawing, exits, state.next, leaving)
    return arriving + leaving


def _after(drawing: Drawing, exits: list[Exit], target: str | None, leaving: list[Exit]) -> list[Exit]:
    # What goes on to the following state; what jumps elsewhere is noted.
    if target is None:
        return exits
    if target == END:
        leaving += exits
    else:
        drawing.jumps += [(source, target) for source in exits]
    return []


def _state(drawing: Drawing, group: Group, state: State, arriving: list[Exit]) -> list[Exit]:
    before = len(group.content)
    match state:
        case Choice():
            exits = _choice(drawing, group, state, arriving)
        case Block():
            exits = _scope(drawing, group, _title(state), state, arriving)
            exits = _states(drawing, group, state.finally_, exits)
        case Loop() | Map():
            exits = _scope(drawing, group, _title(state), state, arriving)
            if isinstance(state, Loop) and exits:
                first = drawing.entries[state.states[0].name]
                drawing.arrows += [Exit(source=e.source, label="again", dashed=True).to(first) for e in exits]
        case Parallel():
            exits = _parallel(drawing, group, state, arriving)
        case Succeed() | Fail():
            _box(drawing, group, state, arriving, shape="round")
            exits = []
        case _:
            box = _box(drawing, group, state, arriving)
            exits = [Exit(source=box.id)]
            if isinstance(state, WaitForCallback) and state.submit:
                _aside(drawing, group, "submit", state.submit, Exit(source=box.id, label="submit", dashed=True))
    drawn = group.content[before]
    drawing.entries[state.name] = _first(drawn)
    origin = _out_of(drawn)
    if isinstance(state, UndoableState) and state.compensate:
        undo = Exit(source=origin.source, label="undo", dashed=True, out_of=origin.out_of)
        _aside(drawing, group, f"undo {state.name}", state.compensate, undo)
    return exits + _catches(drawing, group, state.catch, origin)


def _box(
    drawing: Drawing,
    group: Group,
    state: State,
    arriving: list[Exit],
    shape: Literal["round", "plain", "diamond"] = "plain",
) -> Box:
    lines = [state.name, state.type]
    if state.when is not True:
        lines.append(f"when {_cut(state.when)}")
    box = Box(id=drawing.new_id(), lines=tuple(lines), shape=shape)
    group.content.append(box)
    drawing.arrows += [source.to(box.id) for source in arriving]
    return box


def _choice(drawing: Drawing, group: Group, state: Choice, arriving: list[Exit]) -> list[Exit]:
    diamond = _box(drawing, group, state, arriving, shape="diamond")
    drawing.entries[state.name] = diamond.id
    exits: list[Exit] = []
    for arm in state.choices:
        taken = [Exit(source=diamond.id, label=_cut(arm.when))]
        exits += _after(drawing, _states(drawing, group, arm.states or (), taken), arm.next, exits)
    return exits + _states(drawing, group, state.default or (), [Exit(source=diamond.id, label="else")])


def _scope(
    drawing: Drawing, group: Group, title: str, scope: Workflow | Block | Loop | Map, arriving: list[Exit]
) -> list[Exit]:
    frame = Group(id=drawing.new_id(), title=title)
    group.content.append(frame)
    return _states(drawing, frame, scope.states, arriving)


def _parallel(drawing: Drawing, group: Group, state: Parallel, arriving: list[Exit]) -> list[Exit]:
    frame = Group(id=drawing.new_id(), title=_title(state))
    group.content.append(frame)
    fork = Box(id=drawing.new_id(), lines=("at the same time",), shape="round")
    frame.content.append(fork)
    drawing.arrows += [source.to(fork.id) for source in arriving]
    exits: list[Exit] = []
    for name, states in state.branches.items():
        branch = Group(id=drawing.new_id(), title=name)
        frame.content.append(branch)
        exits += _states(drawing, branch, states, [Exit(source=fork.id)])
    return exits or [Exit(source=fork.id)]


def _aside(drawing: Drawing, group: Group, title: str, states: Sequence[State], origin: Exit) -> None:
    # States that are not on the way: nothing follows them.
    frame = Group(id=drawing.new_id(), title=title)
    group.content.append(frame)
    _states(drawing, frame, states, [origin])


def _catches(drawing: Drawing, group: Group, catchers: Iterable[Catcher], origin: Exit) -> list[Exit]:
    exits: list[Exit] = []
    for catcher in catchers:
        caught = Exit(
            source=origin.source, label=f"on {_cut(', '.join(catcher.errors))}", dashed=True, out_of=origin.out_of
        )
        exits += _after(drawing, _states(drawing, group, catcher.states or (), [caught]), catcher.next, exits)
    return exits


def _out_of(drawn: Box | Group) -> Exit:
    return Exit(source=_first(drawn), out_of=drawn.id if isinstance(drawn, Group) else "")


def _first(drawn: Box | Group) -> str:
    return drawn.id if isinstance(drawn, Box) else _first(drawn.content[0])


def _title(state: Block | Loop | Map | Parallel) -> str:
    how = ""
    match state:
        case Loop():
            if state.while_ is not ABSENT:
                how = f" while {_cut(state.while_)}"
            elif state.until is not ABSENT:
                how = f" until {_cut(state.until)}"
            how += f", at most {state.max_iterations} times"
        case Map():
            how = f" over {_cut(state.items)}"
        case Block() | Parallel():
            pass
        case _:
            assert_never(state)
    when = "" if state.when is True else f", when {_cut(state.when)}"
    return f"{state.name}: {state.type}{how}{when}"


def _cut(text: Expression) -> str:
    words = " ".join(shown(str(text)).split())
    return words if len(words) <= LABEL_CHARACTERS else words[: LABEL_CHARACTERS - 1] + "…"


# Mermaid: `flowchart` with subgraphs. Texts stand in quotes, with entities for what Mermaid would read as markup.

_MERMAID_SHAPES: Final = {"round": ('(["', '"])'), "plain": ('["', '"]'), "diamond": ('{"', '"}')}


def _mermaid(drawing: Drawing) -> Iterator[str]:
    yield "flowchart TD"
    yield from _mermaid_content(drawing.root, "  ")
    for arrow in drawing.arrows:
        label = f'|"{_entities(arrow.label)}"|' if arrow.label else ""
        yield f"  {arrow.out_of or arrow.source} {'-.->' if arrow.dashed else '-->'}{label} {arrow.target}"


def _mermaid_content(group: Group, indent: str) -> Iterator[str]:
    for thing in group.content:
        if isinstance(thing, Box):
            opening, closing = _MERMAID_SHAPES[thing.shape]
            yield f"{indent}{thing.id}{opening}{'<br/>'.join(map(_entities, thing.lines))}{closing}"
        else:
            yield f'{indent}subgraph {thing.id}["{_entities(thing.title)}"]'
            yield from _mermaid_content(thing, indent + "  ")
            yield f"{indent}end"


def _entities(text: str) -> str:
    return "".join(c if c.isalnum() or c in " _-.,:()=!'/" else f"#{ord(c)};" for c in text)


# Graphviz: clusters, with `compound` so that an arrow can leave a whole cluster.

_DOT_SHAPES: Final = {"round": "oval", "plain": "box", "diamond": "diamond"}


def _dot(drawing: Drawing) -> Iterator[str]:
    yield f"digraph {_quoted(drawing.root.title)} {{"
    yield "  compound=true;"
    yield from _dot_content(drawing.root, "  ")
    for arrow in drawing.arrows:
        facts = [f"label={_quoted(arrow.label)}"] if arrow.label else []
        facts += ["style=dashed"] if arrow.dashed else []
        facts += [f"ltail=cluster_{arrow.out_of}"] if arrow.out_of else []
        suffix = f" [{', '.join(facts)}]" if facts else ""
        yield f"  {arrow.source} -> {arrow.target}{suffix};"
    yield "}"


def _dot_content(group: Group, indent: str) -> Iterator[str]:
    for thing in group.content:
        if isinstance(thing, Box):
            label = "\\n".join(_escaped(line) for line in thing.lines)
            yield f'{indent}{thing.id} [label="{label}", shape={_DOT_SHAPES[thing.shape]}];'
        else:
            yield f"{indent}subgraph cluster_{thing.id} {{"
            yield f"{indent}  label={_quoted(thing.title)};"
            yield from _dot_content(thing, indent + "  ")
            yield f"{indent}}}"


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
