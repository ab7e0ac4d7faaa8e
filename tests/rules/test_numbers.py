"""Every exact rule of the language has a test that carries its number."""

import re
from pathlib import Path

RULES = range(1, 80)


def test_every_rule_has_a_test_that_carries_its_number() -> None:
    texts = [file.read_text(encoding="utf-8") for file in Path(__file__).parent.glob("test_*.py")]
    tested = {int(number) for text in texts for number in re.findall(r"^def test_rule_(\d\d)_", text, re.MULTILINE)}
    assert tested == set(RULES)
