"""The tools that a model may use."""

from __future__ import annotations

from typing import Final, TypedDict

import journal

LIBRARY: Final = {
    "tea": "Tea is made of the leaves of Camellia sinensis. A cup holds 47 milligrams of caffeine.",
    "coffee": "Coffee is made of roasted beans. A cup holds 95 milligrams of caffeine.",
}


class Use(TypedDict):
    """Which tool, and what it is given."""

    tool: str
    input: dict[str, object]


class UnknownTool(Exception):
    """There is no tool of that name."""


class NothingFound(Exception):
    """The library has nothing about that."""


def use(event: Use, _context: object) -> object:
    """Use one tool and return what it gives."""
    journal.record("tool", event["tool"])
    given = event["input"]
    match event["tool"]:
        case "search":
            subject = str(given["subject"])
            if subject not in LIBRARY:
                raise NothingFound(f"the library has nothing about {subject}")
            return {"text": LIBRARY[subject]}
        case "divide":
            return {"quotient": round(float(str(given["dividend"])) / float(str(given["divisor"])), 4)}
        case unknown:
            raise UnknownTool(f"there is no tool {unknown}")
