"""Pictures made small."""

from __future__ import annotations

from typing import TypedDict

import journal


class Picture(TypedDict):
    """Which picture, and how wide it is to be, in pixels."""

    bucket: str
    key: str
    width: int


class CorruptImage(Exception):
    """This is no picture, or not all of one; asking again does not help."""


def resize(event: Picture, _context: object) -> dict[str, str]:
    """Make a picture small and return where that is."""
    with journal.working("resize", event["key"]):
        if ".broken." in event["key"]:
            raise CorruptImage(f"{event['key']} ends in the middle of a picture")
        return {"thumbnail_key": f"thumbnails/{event['width']}/{event['key']}"}
