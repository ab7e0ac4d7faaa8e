"""Close what the tests of the local service open."""

from collections.abc import Iterator

import pytest
from scripted import close_all


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_all()
