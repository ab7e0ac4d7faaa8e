"""What ends at the very moment at which a time-out cuts it off: whatever dies then, a replay sees what was seen then."""

from dataclasses import dataclass

import pytest
from crashes import endings
from worlds import World

CUT_OFF = {
    "block": """
        {name: i, type: block, context: true, states: [{name: x, type: invoke, function: x}],
         compensate: [{name: u, type: step, handler: "m:u"}]}
    """,
    "map": """
        {name: i, type: map, items: "[1, 2]", completion: {min_successful: 1},
         states: [{name: x, type: invoke, function: x, compensate: [{name: u, type: step, handler: "m:u"}]}]}
    """,
}


@dataclass
class TiedWorld(World):
    """The functions that were started first end together with the first timer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.service.wake = self._wake  # type: ignore[method-assign]  # one object's

    def _wake(self) -> bool:
        started, self.service._started = self.service._started, []
        slept = self.service.sleep()
        for start in started:
            self.service._end(start)
        return bool(started) or slept


@pytest.mark.parametrize("kind", CUT_OFF)
def test_what_is_closed_when_it_is_cut_off_is_undone_once(kind: str) -> None:
    text = f"""
        states:
          - name: b
            type: block
            timeout: 3
            states:
              - {CUT_OFF[kind].strip()}
              - {{name: long, type: wait, duration: 9}}
            catch: [{{}}]
          - {{name: z, type: wait, duration: 20}}
    """
    ending = endings(lambda: TiedWorld(text, targets={"x": lambda _: 1}, handlers={"m:u": lambda _: 1}))
    assert ending.names.count("u") == {"block": 1, "map": 2}[kind]
    assert ending.names[-1] == "z"
