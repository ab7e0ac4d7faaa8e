"""What is in a bucket: four albums, made up so that the example needs no cloud."""

from __future__ import annotations

from typing import Final, NamedTuple, TypedDict

import journal


class Album(NamedTuple):
    """How many pictures there are, and which ones nobody can read."""

    pictures: int
    unreadable: range = range(0)


ALBUMS: Final = {
    "empty/": Album(0),
    "summer/": Album(40, unreadable=range(17, 18)),
    "attic/": Album(40, unreadable=range(0, 40, 4)),
    "archive/": Album(1_000),
}


class Wanted(TypedDict):
    """Which keys to list."""

    bucket: str
    prefix: str
    suffix: str


def list_keys(wanted: Wanted) -> list[dict[str, str]]:
    """Return the keys of a bucket that begin and end as asked, as `{key: …}`, in their order."""
    journal.record("list", wanted["prefix"])
    return [
        {"key": key}
        for prefix, album in ALBUMS.items()
        for number in range(album.pictures)
        if (key := f"{prefix}{number:04}{'.broken' if number in album.unreadable else ''}.jpg").startswith(
            wanted["prefix"]
        )
        and key.endswith(wanted["suffix"])
    ]
