"""What does a code mean? Its page: the meaning, an example that has the problem, the same mended.

The pages are the Markdown files in `codes/`, one for each hundred, a heading for each code. They ship with the package,
so that `validate --explain` can print them; `docs/errors.md` is made of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

from durableflow.errors import CODES

_INTRODUCTION: Final = """\
# Diagnostics

Every problem that durableflow reports has a code, one line that says what is wrong with the author's own words in
quotes, its place, and usually a hint that says what to do. The codes stay; the messages may get better.

An *error* refuses the file or stops the command, a *warning* does not (unless `--strict`), an *info* never does. An
error that a workflow itself can catch, such as `States.Timeout`, is no diagnostic and has a name instead of a code.

`durableflow validate --explain CODE` prints what stands here. In the examples a list of states stands for a workflow
that has it; what they name (`charge:live`, `shipping`, `scoring:score`, `tools.json`, `TABLE`) is there, and S3 may be
written.
"""
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)]*)\)")
_BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a code means.

    Args:
        code: the code.
        meaning: Markdown: what it means, and what to do.
        language: of the examples: yaml or json.
        wrong: an example that has the problem, or None where no short one has.
        mended: the same without it, or None.
    """

    code: str
    meaning: str
    language: str
    wrong: str | None
    mended: str | None

    def __str__(self) -> str:
        """Return the page as it is printed."""
        kind = CODES[self.code]
        # A terminal follows no links.
        parts = [f"{self.code} {kind.severity}: {kind.title}", _LINK.sub(r"docs/\1", self.meaning)]
        for title, example in (("Wrong:", self.wrong), ("Mended:", self.mended)):
            if example is not None:
                parts.append("\n".join([title, *(f"    {line}".rstrip() for line in example.splitlines())]))
        return "\n\n".join(parts)

    def to_markdown(self) -> str:
        """Return the page as a section of the documentation."""
        parts = [f"### {self.code}", f"*{CODES[self.code].severity}: {CODES[self.code].title}*", self.meaning]
        for title, example in (("Wrong:", self.wrong), ("Mended:", self.mended)):
            if example is not None:
                parts.append(f"{title}\n\n```{self.language}\n{example}```")
        return "\n\n".join(parts) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hundred:
    """The codes that begin alike, such as DF3xx.

    Args:
        title: what they are about.
        introduction: Markdown.
        pages: by code.
    """

    title: str
    introduction: str
    pages: dict[str, Page]


@cache
def hundreds() -> dict[str, Hundred]:
    """Return all pages, by the hundred (`DF3xx`)."""
    folder = resources.files("durableflow.cli") / "codes"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".md")), key=lambda file: file.name)
    return {file.name.removesuffix(".md"): _read(file.read_text(encoding="utf-8")) for file in files}


def page(code: str) -> Page:
    """Return the page of a code of CODES."""
    return hundreds()[f"{code[:3]}xx"].pages[code]


def documentation() -> str:
    """Return `docs/errors.md`: for each hundred its table and its pages."""
    parts = [_INTRODUCTION]
    for name, hundred in hundreds().items():
        rows = [
            f"| [{code}](#{code.lower()}) | {CODES[code].severity} | {CODES[code].title} |" for code in hundred.pages
        ]
        table = "\n".join(["| code | severity | what is wrong |", "|---|---|---|", *rows])
        parts.append(f"## {name} {hundred.title}\n\n{hundred.introduction}\n\n{table}\n")
        parts += [found.to_markdown() for found in hundred.pages.values()]
    return "\n".join(parts)


def _read(text: str) -> Hundred:
    head, *sections = text.split("\n## ")
    title, introduction = head.removeprefix("# ").split("\n", 1)
    pages = (_page(*section.split("\n", 1)) for section in sections)
    return Hundred(title=title, introduction=introduction.strip(), pages={found.code: found for found in pages})


def _page(code: str, text: str) -> Page:
    blocks = _BLOCK.findall(f"{text.rstrip()}\n")
    languages, examples = zip(*blocks, strict=True) if blocks else ((), ())
    wrong, mended = (*examples, None, None)[:2]
    meaning = _BLOCK.sub("", f"{text.rstrip()}\n").strip()
    return Page(code=code, meaning=meaning, language=next(iter(languages), "yaml"), wrong=wrong, mended=mended)
