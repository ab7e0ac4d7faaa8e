"""Bad texts, made by rule: what a reader of YAML and JSON must refuse, or take, without harm.

The identifiers are those of the bad-input corpus: Y for YAML and bytes, J for JSON. A case that must be taken has no
code; what it says may still be refused by later stages.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One text.

    Args:
        id: unique; the part before the first `-` is the corpus's.
        data: the text or bytes, or what makes them when they are many.
        code: of the first problem, or None when the reader takes the text.
        line: of the first problem.
        name: of the file.
    """

    id: str
    data: str | bytes | Callable[[], str | bytes]
    code: str | None
    line: int | None = None
    name: str = "workflow.yaml"

    def make(self) -> bytes:
        made = self.data() if callable(self.data) else self.data
        return made.encode() if isinstance(made, str) else made


def yaml(
    case_id: str, text: str | bytes | Callable[[], str | bytes], code: str | None, line: int | None = None
) -> Case:
    return Case(id=case_id, data=text, code=code, line=line)


def json_(
    case_id: str, text: str | bytes | Callable[[], str | bytes], code: str | None, line: int | None = None
) -> Case:
    return Case(id=case_id, data=text, code=code, line=line, name="workflow.json")


HEAD = 'durableflow: "1"\nname: x\n'
MIB = 1024 * 1024


def laughs(levels: int) -> str:
    """Ten times ten times ten …: each level names the one before it ten times."""
    rows = ["l0: &l0 ha"]
    rows += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, levels + 1)]
    return "\n".join(rows) + "\n"


def merges(levels: int) -> str:
    """Each level merges the one before it twice."""
    rows = ["m0: &m0 {a: 1}"]
    rows += [f"m{n}: &m{n}\n  <<: [*m{n - 1}, *m{n - 1}]\n  k{n}: 1" for n in range(1, levels + 1)]
    return "\n".join(rows) + "\n"


def states(count: int) -> str:
    """A workflow of `count` good states."""
    rows = [f"  - name: s{n}\n    type: pass\n    next: s{n + 1}\n" for n in range(count - 1)]
    return f"{HEAD}states:\n{''.join(rows)}  - name: s{count - 1}\n    type: pass\n"


def nested_maps(depth: int) -> str:
    return "".join(f"{' ' * n}a:\n" for n in range(depth))


def wide_map(keys: int) -> str:
    return "".join(f"  k{n}: 1\n" for n in range(keys))


YAML_CASES: tuple[Case, ...] = (
    yaml("Y1-empty", "", "DF104", 1),
    yaml("Y1-spaces", "  \n\n   \n", "DF104", 1),
    yaml("Y1-comments", "# nothing\n# here\n", "DF104", 1),
    yaml("Y2-nul", f"{HEAD}a: x\0y\n", "DF103", 3),
    yaml("Y2-bel", f"{HEAD}a: x\x07\n", "DF103", 3),
    yaml("Y2-del", f"{HEAD}a: x\x7f\n", "DF103", 3),
    yaml("Y2-line-separator", f"{HEAD}a: x\u2028y\n", "DF103", 3),
    yaml("Y3-utf16-mark", HEAD.encode("utf-16"), "DF101", 1),
    yaml("Y3-utf16-le", HEAD.encode("utf-16-le"), "DF101", 1),
    yaml("Y3-utf16-be", HEAD.encode("utf-16-be"), "DF101", 1),
    yaml("Y3-utf32", HEAD.encode("utf-32"), "DF101", 1),
    yaml("Y3-utf32-be", HEAD.encode("utf-32-be"), "DF101", 1),
    yaml("Y3-latin1", f"{HEAD}a: caf\xe9\n".encode("latin-1"), "DF101", 3),
    yaml("Y3-overlong", HEAD.encode() + b"a: \xc0\xaf\n", "DF101", 3),
    yaml("Y3-truncated", HEAD.encode() + b"a: \xe2\x82", "DF101", 3),
    yaml("Y3-surrogate-bytes", HEAD.encode() + b"a: \xed\xa0\x80\n", "DF101", 3),
    yaml("Y4-bom", b"\xef\xbb\xbf" + HEAD.encode(), None),
    yaml("Y4-crlf", HEAD.replace("\n", "\r\n"), None),
    yaml("Y5-zeros", lambda: bytes(64 * MIB), "DF102", 1),
    yaml("Y5-spaces", lambda: b" " * (64 * MIB), "DF102", 1),
    yaml("Y7-laughs", laughs(9), "DF106", 6),
    yaml("Y7-wide-text", f"{'a: &a '}{'x' * 200_000}\nb: [{'*a, ' * 90_000}]\n", "DF102", 2),
    yaml("Y8-merge-bomb", merges(25), "DF106"),
    yaml("Y8-empty-merges", lambda: f"a: &a\n{wide_map(10_000)}e: &e {{}}\nb: {{<<: [*a, {'*e, ' * 50_000}]}}\n", None),
    yaml("Y8-self-merge", "a: &a\n  <<: *a\n", "DF134", 2),
    yaml("Y9-cycle", "a: &a\n  - *a\n", "DF134", 2),
    yaml("Y9-cycle-in-mapping", "a: &a\n  b:\n    c: *a\n", "DF134", 3),
    yaml("Y9-no-anchor", "a: *nobody\n", "DF133", 1),
    yaml(
        "Y9-many-strangers",
        lambda: f"a: [{'&anchor_%d 1, ' * 9_000 % tuple(range(9_000))}{'*ancho, ' * 9_000}]\n",
        "DF133",
        1,
    ),
    yaml("Y9-long-strangers", lambda: f"a: [&{'x' * 400_000} 1, *{'y' * 400_000}]\n", "DF133", 1),
    yaml("Y9-two-anchors", "a: &x 1\nb: &x 2\n", "DF135", 2),
    yaml("Y10-python-tag", f"{HEAD}a: !!python/object/apply:os.system ['true']\n", "DF130", 3),
    yaml("Y10-sub", f"{HEAD}a: !Sub x\n", "DF130", 3),
    yaml("Y10-include", f"{HEAD}a: !include /etc/passwd\n", "DF130", 3),
    yaml("Y10-binary", f"{HEAD}a: !!binary aGk=\n", "DF130", 3),
    yaml("Y10-str", f"{HEAD}a: !!str 1\n", "DF130", 3),
    yaml("Y10-map", f"{HEAD}a: !x {{}}\n", "DF130", 3),
    yaml("Y10-handle", f"{HEAD}a: !x!y z\n", "DF130", 3),
    yaml("Y11-top", f"{HEAD}name: y\n", "DF123", 3),
    yaml("Y11-state", f"{HEAD}states:\n  - name: a\n    type: pass\n    name: b\n", "DF123", 6),
    yaml("Y11-nested", "a: {b: {c: 1, c: 2}}\n", "DF123", 1),
    yaml("Y11-quoted", "a: 1\n'a': 2\n", "DF123", 2),
    yaml("Y11-merge", "a: &a {}\nb:\n  <<: *a\n  <<: *a\n", "DF123", 4),
    yaml("Y12-no", "no: 1\n", None),
    yaml("Y12-number", "1: x\n", "DF122", 1),
    yaml("Y12-null", "~: x\n", "DF122", 1),
    yaml("Y12-empty", ": x\n", "DF122", 1),
    yaml("Y12-list", "[x]: y\n", "DF122", 1),
    yaml("Y12-mapping", "{a: 1}: y\n", "DF122", 1),
    yaml("Y12-alias", "a: &a [1]\n*a : y\n", "DF122", 2),
    *(
        yaml(f"Y13-{name}", f"{HEAD}a: {written}\n", "DF124", 3)
        for name, written in {
            "date": "2020-13-45",
            "time": "2020-01-01T00:00:00Z",
            "sexagesimal": "1:59:59",
            "hex": "0x1F",
            "octal": "010",
            "octal-o": "0o17",
            "binary": "0b1",
            "underscore": "1_000",
            "plus": "+1",
            "half": ".5",
            "point": "1.",
            "nan": ".nan",
            "infinity": "-.inf",
            "NaN": "NaN",
            "equals": "=",
            "merge": "<<",
            "yes": "yes",
            "off": "Off",
            "y": "y",
            "True": "True",
            "NULL": "NULL",
        }.items()
    ),
    yaml("Y13-digits", f"{HEAD}a: {'9' * 5000}\n", "DF125", 3),
    yaml("Y13-hex-digits", lambda: f"{HEAD}a: 0x{'f' * 200_000}\n", "DF124", 3),
    yaml("Y13-long-sexagesimal", lambda: f"{HEAD}a: 1{':59' * 80_000}\n", "DF124", 3),
    yaml("Y13-huge", f"{HEAD}a: 1e400\n", "DF125", 3),
    yaml("Y14-two", "a: 1\n---\nb: 2\n", "DF132", 2),
    yaml("Y14-after-end", "a: 1\n...\nb: 2\n", "DF132", 3),
    yaml("Y14-version", "# x\n%YAML 9.9\n---\na: 1\n", "DF131", 2),
    yaml("Y14-tag", "%TAG ! tag:example.org,2000:\n---\na: 1\n", "DF131", 1),
    yaml("Y14-unknown", "%FOO bar\n---\na: 1\n", "DF131", 1),
    yaml("Y15-tab", "a:\n\tb: 1\n", "DF110", 2),
    yaml("Y15-indent", "a:\n    b: 1\n   c: 2\n", "DF111", 3),
    yaml("Y15-indent-value", "a: 1\n  b: 2\n", "DF111", 2),
    yaml("Y15-list-in-mapping", "a: 1\n- b\n", "DF111", 2),
    yaml("Y15-quote", 'a: 1\nb: "x\nc: 2\n', "DF112", 2),
    yaml("Y15-single-quote", "a: 'x\nb: 2\n", "DF112", 1),
    yaml("Y15-apostrophe", "a: 'it's'\n", "DF118", 1),
    yaml("Y15-flow-list", "a: [1, 2\n", "DF113", 1),
    yaml("Y15-flow-mapping", "a: {x: 1\nb: 2\n", "DF113", 2),
    yaml("Y15-colons", "a: b: c\n", "DF114", 1),
    yaml("Y15-no-colon", "a: 1\nb\nc: 2\n", "DF118", 2),
    yaml("Y15-reserved", "a: @x\n", "DF116", 1),
    yaml("Y15-star", "errors: [*]\n", "DF116", 1),
    yaml("Y15-escape", 'a: "\\d+"\n', "DF115", 1),
    yaml("Y15-block-header", "a: |x\n  b\n", "DF117", 1),
    yaml("Y15-template", "a: {{ b }}\n", "DF120", 1),
    yaml("Y15-template-text", "a: {{ b['x'] }} y\n", "DF120", 1),
    yaml("Y15-template-key", 'a: {"{{ b }}": 1}\n', "DF121", 1),
    yaml("Y16-1000", "[" * 1_000, "DF105", 1),
    yaml("Y16-50000", "[" * 50_000, "DF105", 1),
    yaml("Y16-100000", "[" * 100_000, "DF105", 1),
    yaml("Y16-3000000", lambda: b"[" * 3_000_000, "DF102", 1),
    yaml("Y16-braces", "{" * 50_000, "DF120", 1),
    yaml("Y16-closed", f"a: {'[' * 40}{']' * 40}\n", "DF105", 1),
    yaml("Y16-block-maps", lambda: nested_maps(1_400), "DF105", 33),
    yaml("Y16-dashes", "- " * 5_000, "DF105", 1),
    yaml("Y16-questions", "? " * 5_000, "DF122", 1),
    yaml(
        "Y16-aliases",
        "a: &a [[[[[[[[[[1]]]]]]]]]]\nb: &b [[[[[[[[[[*a]]]]]]]]]]\nc: [[[[[[[[[[[[*b]]]]]]]]]]]]\n",
        "DF105",
        3,
    ),
    yaml("Y17-scalar", lambda: b"a: " + b"x" * (20 * MIB), "DF102", 1),
    yaml("Y17-scalar-in-file", lambda: b"a: 1\nb: " + b"x" * 300_000, "DF107", 2),
    yaml("Y17-key", lambda: b"? " + b"x" * 300_000 + b"\n: 1\n", "DF107", 1),
    yaml("Y17-big-key", lambda: b"x" * (5 * MIB) + b": 1\n", "DF102", 1),
    yaml("Y17-comment", lambda: b"#" * (20 * MIB), "DF102", 1),
    yaml("Y17-comment-in-file", lambda: b"#" * 1_000_000 + b"\na: 1\n", None),
    yaml("Y18-keys", lambda: "".join(f"{n:x}a: 1\n" for n in range(110_000)), "DF106", 50_000),
    yaml("Y18-300000-keys", lambda: "".join(f"k{n}: 1\n" for n in range(300_000)), "DF102", 1),
    yaml("Y19-list", "- a\n- b\n", None),
    yaml("Y19-text", "hello\n", None),
    yaml("Y19-number", "1\n", None),
    yaml("Y19-null", "null\n", None),
    yaml("Y20-surrogate", f'{HEAD}a: "\\ud800"\n', "DF126", 3),
    yaml("Y20-pair", f'{HEAD}a: "\\ud83d\\ude00"\n', "DF126", 3),
    yaml("Y20-nul", f'{HEAD}a: "x\\0"\n', "DF126", 3),
    yaml("Y20-beyond", f'{HEAD}a: "\\UFFFFFFFF"\n', "DF115", 3),
    yaml("Y21-states", lambda: states(10_000), None),
    yaml("Y22-last-next", lambda: states(10_000) + "    next: nowhere\n", None),
    yaml("Y23-faults", lambda: "".join(f"k{n}: yes\n" for n in range(20_000)), "DF124", 1),
    yaml("Y23-duplicates", lambda: "a: 1\n" * 20_000, "DF123", 2),
    Case(id="Y24-escape", data=b"a: no", code="DF124", line=1, name="\x1b[2Jx.yaml"),
    Case(id="Y24-newline", data=b"a: no", code="DF124", line=1, name="a\nb.yaml"),
    Case(id="Y24-template", data=b"a: no", code="DF124", line=1, name="{{ x }}.yaml"),
    Case(id="Y24-format", data=b"a: no", code="DF124", line=1, name="%s%n{0}.yaml"),
)

JSON_CASES: tuple[Case, ...] = (
    json_("J1-truncated", '{"a": 1,\n"b": [1, 2', "DF119", 2),
    json_("J1-trailing-comma", '{"a": 1,\n}', "DF119", 2),
    json_("J1-comment", '{"a": 1,\n// no\n"b": 2}', "DF119", 2),
    json_("J1-block-comment", '{"a": /* no */ 1}', "DF119", 1),
    json_("J1-two", '{"a": 1}\n{"b": 2}', "DF119", 2),
    json_("J1-single-quotes", "{'a': 1}", "DF119", 1),
    json_("J1-bare-key", "{\na: 1}", "DF119", 2),
    json_("J1-no-colon", '{"a" 1}', "DF119", 1),
    json_("J1-no-comma", '{"a": 1\n"b": 2}', "DF119", 2),
    json_("J1-wrong-bracket", '{"a": [1}}', "DF119", 1),
    json_("J1-leading-zero", '{"a": 01}', "DF119", 1),
    json_("J1-word", '{"a": yes}', "DF119", 1),
    json_("J1-open-string", '{"a": "x\ny"}', "DF112", 1),
    json_("J1-tab-in-string", '{"a": "x\ty"}', "DF119", 1),
    json_("J1-escape", '{"a": "\\q"}', "DF115", 1),
    json_("J1-template", '{"a": {{ b }}}', "DF120", 1),
    json_("J1-empty", "  \n", "DF104", 1),
    json_("J2-nan", '{"a":\nNaN}', "DF125", 2),
    json_("J2-infinity", '{"a": -Infinity}', "DF125", 1),
    json_("J2-1e400", '{"a": 1e400}', "DF125", 1),
    json_("J3-digits", f'{{"a": {"9" * 5000}}}', "DF125", 1),
    json_("J4-deep", "[" * 100_000, "DF105", 1),
    json_("J4-deep-objects", '{"a":' * 100_000, "DF105", 1),
    json_("J5-duplicate", '{"a": 1,\n"a": 2}', "DF123", 2),
    json_("J6-surrogate", '{"a":\n"\\ud800"}', "DF126", 2),
    json_("J6-low-surrogate", '{"a": "\\ude00\\ud83d"}', "DF126", 1),
    json_("J6-key", '{"\\ud800": 1}', "DF126", 1),
    json_("J7-8-mb", lambda: b'{"a": "' + b"x" * 8_000_000 + b'"}', "DF102", 1),
    json_("J8-utf16", '{"a": 1}'.encode("utf-16"), "DF101", 1),
    json_("J8-latin1", '{"a": "é"}'.encode("latin-1"), "DF101", 1),
    json_("J9-names", json.dumps({"__class__": 1, "__proto__": {}, "self": [], "loop": 0}), None),
    json_("J10-template", json.dumps({"a": "{{ 7 * 7 }}", "b": "${x} %s {0}"}), None),
    json_("J11-float", '{"a": 1.0}', None),
    json_("J12-exact", '{"a": 9007199254740993}', None),
    json_("J12-too-large", '{"a": 18446744073709551616}', "DF125", 1),
)

CASES: tuple[Case, ...] = YAML_CASES + JSON_CASES
