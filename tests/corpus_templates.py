"""Bad templates, made by rule. The identifiers are those of the bad-input corpus, T1 to T32.

A case is refused when it is read (`code`), or has no value (`error`, a part of the message: the name of a limit, where
it is one), or is harmless data here and has the value `value`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from durableflow.values import Json

DATA: dict[str, Json] = {
    "input": {"a": 1, "s": "text", "list": [1, 2, 3], "rows": [{"a": 1}], "o": {"k": 1}, "long": "x" * 250_000},
    "states": {"x": {"result": {"id": 7}}},
    "vars": {},
    "env": {"TABLE": "t"},
    "context": {},
    "item": {"numbers": list(range(500_000)), "rows": [[1] for _ in range(300_000)], "text": "a" * 3_000_000},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One template and what must happen."""

    id: str
    source: str
    code: str | None = None
    error: str | None = None
    value: Json = None
    offset: int | None = None


def refused(case_id: str, source: str, code: str, offset: int | None = None) -> Case:
    return Case(id=case_id, source=source, code=code, offset=offset)


def stopped(case_id: str, source: str, error: str) -> Case:
    return Case(id=case_id, source=source, error=error)


def harmless(case_id: str, source: str, value: Json) -> Case:
    return Case(id=case_id, source=source, value=value)


def value(expression: str) -> str:
    return "{{ " + expression + " }}"


SYNTAX = (
    refused("T1-open", "first\n  {{ input.a", "DF200", 8),
    refused("T1-open-tag", "{% if input.a", "DF200"),
    refused("T1-open-comment", "text {# never closed", "DF200", 5),
    refused("T1-open-raw", "{% raw %} {{", "DF200"),
    refused("T1-no-end", "{% if input.a %}yes", "DF200"),
    refused("T1-no-endfor", "{% for x in input.list %}{% if x %}{% endfor %}", "DF200", 38),
    refused("T1-empty", "{{ }}", "DF200", 3),
    refused("T1-empty-tag", "{% %}", "DF200", 3),
    refused("T1-two-names", "{{ input a }}", "DF200", 9),
    refused("T1-character", "{{ input ? 1 }}", "DF200", 9),
    refused("T1-bracket", "{{ (input.a] }}", "DF200", 11),
    refused("T1-quote", "{{ 'open }}", "DF200", 3),
    refused("T1-statement", "{{ if input.a }}", "DF200"),
    refused("T1-filter", "line one\nline two {{ input.a | uper }}", "DF202", 31),
    refused("T1-test", "{{ input.a is strng }}", "DF203", 14),
    refused("T1-tag", "{% fro x in input.list %}{% endfro %}", "DF200", 3),
    refused("T2-include", "{% include '/etc/passwd' %}", "DF207", 3),
    refused("T2-import", "{% import '../x' as y %}", "DF207", 3),
    refused("T2-from", "{% from 'x' import y %}", "DF207", 3),
    refused("T2-extends", "{% extends 'x' %}", "DF207", 3),
    refused("T2-block", "{% block b %}{% endblock %}", "DF207", 3),
    refused("T3-name", "{{ inputs.a }}", "DF201", 3),
    stopped("T3-attribute", "{{ states.x.result.idd }}", "states.x.result has no key 'idd'"),
    stopped("T3-attribute-of-nothing", "{{ input.nothing.more }}", "input has no key 'nothing'"),
    stopped("T3-in-a-literal", "{{ {'a': input.nothing} }}", "input has no key 'nothing'"),
    stopped("T4-zero", value("1 // 0"), "division by zero"),
    stopped("T4-zero-remainder", value("1 % 0"), "division by zero"),
    stopped("T4-types", value("1 + 'a'"), "cannot add a number and text"),
    stopped("T4-sort", value("[1, 'a'] | sort"), "'sort' cannot order a number and text"),
    stopped("T4-compare", value("input.list < 3"), "cannot compare a list and a number"),
)

INJECTION = (
    refused("T5-random", value("input.list | random"), "DF202"),
    refused("T5-set-literal", "{{ {1, 2} }}", "DF200"),
    refused("T5-method", value("input.o.keys()"), "DF205"),
    stopped("T5-method-value", value("input.o.keys"), "input.o has no key 'keys'"),
    refused("T5-now", value("now()"), "DF205"),
    refused("T6-class", value("''.__class__.__mro__[1].__subclasses__()"), "DF205"),
    refused("T6-class-read", value("''.__class__.__mro__"), "DF213"),
    refused("T6-subscript", value("''['__class__']"), "DF213"),
    refused("T6-attr", value("'' | attr('__class__')"), "DF202"),
    refused("T6-escaped", value(r"''['\x5f\x5fclass\x5f\x5f']"), "DF213"),
    stopped("T6-joined", value("''['__cla' ~ 'ss__']"), "is text, it has no key '__class__'"),
    stopped("T6-joined-list", value("input[['__class__', ''] | join]"), "input has no key '__class__'"),
    refused("T7-format-method", value("'{0.__class__}'.format(input)"), "DF205"),
    refused("T7-format-map", value("'{a}'.format_map(input)"), "DF205"),
    refused("T7-format-filter", value("'%s' | format(input)"), "DF202"),
    refused("T7-stored", "{% set f = 'x'.format %}{{ f(1) }}", "DF205"),
    stopped("T7-percent", value("'%s' % input"), "cannot take the remainder of text and an object"),
    *(
        refused(f"T8-{name.partition('(')[0]}", value(f"input.rows | {name}"), "DF213")
        for name in (
            "map(attribute='__class__')",
            "groupby('__class__')",
            "sort(attribute='a.__class__')",
            "sum('__class__')",
            "selectattr('__class__')",
            "rejectattr('__class__', 'none')",
            "unique(attribute='__class__')",
            "min(attribute='__class__')",
            "join(',', '__class__')",
        )
    ),
    *(
        refused(f"T9-{name}", value(f"{name}()"), "DF205")
        for name in ("cycler", "joiner", "namespace", "lipsum", "dict", "self")
    ),
    *(
        refused(f"T9-{name}-value", value(name), "DF201")
        for name in ("cycler", "joiner", "namespace", "lipsum", "self", "range", "dict", "loop")
    ),
    *(
        refused(f"T10-{name}", value(name), "DF201")
        for name in ("config", "request", "url_for", "environ", "lookup", "env_var", "open", "eval", "__builtins__")
    ),
    *(refused(f"T10-{name}-call", value(f"{name}('x')"), "DF205") for name in ("open", "eval", "lookup", "env_var")),
    stopped("T10-env", value("env.AWS_SECRET_ACCESS_KEY"), "env has no key"),
    *(refused(f"T11-{name}", value(f"input.o.{name}()"), "DF205") for name in ("update", "pop", "clear")),
    refused("T11-append", "{% set _ = input.list.append(4) %}", "DF205"),
    refused("T12-macro", "{% macro m() %}{% endmacro %}", "DF207", 3),
    refused("T12-call", "{% call m() %}{% endcall %}", "DF207"),
    refused("T12-filter", "{% filter upper %}x{% endfilter %}", "DF207"),
    refused("T12-with", "{% with a = 1 %}{% endwith %}", "DF207", 3),
    refused("T12-autoescape", "{% autoescape true %}{% endautoescape %}", "DF207"),
    refused("T12-debug", "{% debug %}", "DF200", 3),
    refused("T12-do", "{% do input.list %}", "DF200", 3),
    refused("T12-namespace", "{% set ns.x = 1 %}", "DF207"),
    harmless("T12-set-chain", "".join(f"{{% set v{i} = {i} %}}" for i in range(300)) + "{{ v299 }}", "299"),
    refused("T12-recursive", "{% for x in input.list recursive %}{% endfor %}", "DF207"),
    refused("T12-stars", value("input.list | join(*input.list)"), "DF206"),
)

RESOURCES = (
    stopped("T13-text-times", value("'a' * 10**10"), "cannot multiply text and a number"),
    stopped("T13-list-times", value("[0] * 10**9"), "cannot multiply a list and a number"),
    stopped("T13-times-list", value("10**9 * [0]"), "cannot multiply a number and a list"),
    stopped("T14-percent", value("'%3000000000d' % 1"), "cannot take the remainder of text and a number"),
    refused("T14-ljust", value("'a'.ljust(3000000000)"), "DF205"),
    refused("T14-center", value("'a' | center(3000000000)"), "DF202"),
    stopped("T15-indent", value("'a\\nb' | indent(3000000000)"), "'indent' needs an integer from 0 to 1,000"),
    stopped(
        "T15-indent-text", value("(input.long | replace('x', '\\n') | truncate(2000)) | indent(input.long)"), "'size'"
    ),
    stopped("T16-doubling-concat", "{% set a = 'aaaa' %}" + "{% set a = a ~ a %}" * 30, "(limit 'size')"),
    stopped("T16-doubling-plus", "{% set a = [1] %}" + "{% set a = a + a %}" * 30, "(limit '"),
    stopped(
        "T16-doubling-replace", "{% set a = 'aa' %}" + "{% set a = a | replace('a', 'aa') %}" * 30, "(limit 'size')"
    ),
    stopped(
        "T16-doubling-nested", "{% set a = [1] %}" + "{% set a = [a, a] %}" * 60 + "{{ a == a }}", "(limit 'fuel')"
    ),
    stopped("T16-doubling-tojson", "{% set a = [1] %}" + "{% set a = [a, a] %}" * 17 + "{{ a }}", "(limit 'size')"),
    stopped("T16-nesting", "{% set a = [1] %}" + "{% set a = [a] %}" * 500 + "{{ a }}", "(limit 'depth')"),
    stopped("T16-weighing", "{% set a = [item.numbers] %}" * 500, "(limit 'fuel')"),
    stopped("T16-weighing-rows", "{% set a = [item.rows] %}" * 500, "(limit 'fuel')"),
    stopped("T16-weighing-loop", "{% for a in [item.rows] %}{% endfor %}" * 400, "(limit 'fuel')"),
    stopped(
        "T16-condition-large",
        value("[item.text, item.text, item.text] if true"),
        "(limit 'value')",
    ),
    stopped(
        "T16-part-large",
        value("[[item.text, item.text, item.text]][0]"),
        "(limit 'value')",
    ),
    stopped("T20-trim", value("[" + ",".join(["item.text | trim('a')"] * 200) + "]"), "(limit 'fuel')"),
    stopped("T16-replace-empty", value("input.long | replace('', input.long)"), "(limit 'size')"),
    stopped("T16-join", value("input.list | join(input.long)"), "(limit 'size')"),
    stopped(
        "T17-three-ranges",
        "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}x"
        "{% endfor %}{% endfor %}{% endfor %}",
        "(limit 'fuel')",
    ),
    stopped(
        "T17-empty-loops",
        "{% for a in range(999) %}{% for b in range(999) %}{% endfor %}{% endfor %}",
        "(limit 'fuel')",
    ),
    stopped("T17-range", value("range(10**9)"), "(limit 'fuel')"),
    stopped("T17-range-huge", value("range(-9223372036854775807, 9223372036854775807)"), "(limit 'fuel')"),
    refused("T18-macro", "{% macro m(n) %}{{ m(n - 1) }}{{ m(n - 1) }}{% endmacro %}{{ m(40) }}", "DF207"),
    refused("T18-lipsum", value("lipsum(n=1000000)"), "DF205"),
    stopped("T19-slice", value("input.list | slice(10**9)"), "'slice' needs an integer"),
    stopped("T19-batch", value("input.list | batch(10**9, 0)"), "'batch' needs an integer"),
    stopped("T19-batch-fill", value("input.list | batch(99999, 0)"), "(limit 'fuel')"),
    refused("T20-wordwrap", value("input.long | wordwrap(1)"), "DF202"),
    stopped("T20-list", value("input.long | list"), "(limit 'fuel')"),
    stopped("T20-split", value("input.long | split('x')"), "(limit 'fuel')"),
    stopped("T20-upper", value("[input.long | upper, input.long | upper]"), "(limit 'size')"),
    stopped("T20-urlencode", value("input.long | urlencode"), "(limit 'size')"),
    refused("T21-many", "{{1}}" * 200_000, "DF209"),
    stopped("T22-power", value("9 ** (9 ** 7)"), "outside -2^63 to 2^64-1"),
    stopped("T22-power-chain", value("2 ** 63 ** 63"), "outside -2^63 to 2^64-1"),
    stopped("T22-power-text", value("'a' ** 2"), "cannot raise text"),
    stopped("T22-power-double", value("9.9 ** 9999"), "too large"),
    stopped("T22-power-root", value("(0 - 8) ** 0.5"), "no number that JSON has"),
    stopped("T22-zero-power", value("0 ** (0 - 1)"), "division by zero"),
    refused("T23-parentheses", value("(" * 5_000 + "1" + ")" * 5_000), "DF210"),
    refused("T23-lists", value("[" * 2_000 + "]" * 2_000), "DF210"),
    refused("T23-objects", value("{'a':" * 1_000 + "1" + "}" * 1_000), "DF210"),
    refused("T23-attributes", value("input" + ".a" * 4_000), "DF210"),
    refused("T23-subscripts", value("input" + "[0]" * 4_000), "DF210"),
    refused("T23-dynamic-subscripts", value("input" + "[input.a]" * 1_000), "DF210"),
    refused("T23-sums", value("1" + "+1" * 5_000), "DF210"),
    refused("T23-filters", value("1" + "|abs" * 3_000), "DF210"),
    refused("T23-not", value("not " * 3_000 + "1"), "DF210"),
    refused("T23-minus", value("-" * 3_000 + "1"), "DF210"),
    refused("T23-else", value("1 if 1 else " * 1_000 + "1"), "DF210"),
    refused("T23-and", value("1 and " * 2_000 + "1"), "DF210"),
    refused("T23-calls", value("range" + "(range" * 500 + "(1)" + ")" * 500), "DF210"),
    refused("T24-if", "{% if 1 %}" * 500 + "{% endif %}" * 500, "DF210"),
    refused("T24-for", "{% for x in [1] %}" * 50 + "{% endfor %}" * 50, "DF210"),
    refused("T24-elif", "{% if 1 %}" + "{% elif 1 %}" * 1_000 + "{% endif %}", "DF210"),
    harmless("T24-for-25", "{% for x in [1] %}" * 25 + "x" + "{% endfor %}" * 25, "x"),
    stopped("T25-nan", value("'nan' | float"), "no number that JSON has"),
    stopped("T25-infinite", value("'1e999' | float"), "no number that JSON has"),
    stopped("T25-overflow", value("1e308 * 10"), "no number that JSON has"),
    refused("T25-literal", value("1e999"), "DF212"),
    refused("T26-digits", value("9" * 5_000), "DF212"),
    refused("T26-hex", value("0x" + "f" * 15_000), "DF212"),
    stopped("T26-int", value("'9' | replace('9', '99999999999999999999999') | int"), "outside -2^63 to 2^64-1"),
    stopped("T26-int-text", value("input.long | int"), "at most 400 characters"),
    refused("T27-pattern", value("input.s | regex_match('(a+)+$')"), "DF214"),
    refused("T27-pattern-alternatives", value("input.s | regex_match('(a|aa)*$')"), "DF214"),
    refused("T27-pattern-back", value(r"input.s | regex_match('(a*)\\1')"), "DF214"),
    refused("T27-pattern-data", value("input.s | regex_match(input.s)"), "DF214"),
    refused("T27-pattern-long", value(f"input.s | regex_match('{'a' * 201}')"), "DF214"),
    refused("T27-pattern-bad", value("input.s | regex_match('[')"), "DF214"),
    stopped("T27-pattern-text", value("input.long | regex_match('a')"), "over 1,000 characters"),
    stopped("T27-pattern-many", value(f"{'a' * 900!r} | regex_match('a*a*a*a*a*b')"), "too many for a pattern"),
    stopped(
        "T27-pattern-optional", value(f"{'a' * 40!r} | regex_match('{'a?' * 40}{'a' * 40}b')"), "too many for a pattern"
    ),
    stopped(
        "T28-json",
        value("('[' | replace('[', '[[[[[[[[[[[[[[[[[[[[')) | replace('[', '[[[[[[[[[[[[[[[[[[[[') | fromjson"),
        "deeper than 200",
    ),
    stopped("T28-json-nan", value("'NaN' | fromjson"), "NaN is not JSON"),
    stopped("T29-base64", value("'%%%' | b64decode"), "not Base64"),
    stopped("T29-bytes", value("'/w==' | b64decode"), "not UTF-8"),
    stopped("T30-compare", value("[" + ",".join(["range(9000) == range(9000)"] * 20) + "]"), "(limit '"),
    stopped("T30-in", value("[" + ",".join(["'y' in input.long"] * 200) + "]"), "(limit 'fuel')"),
    harmless("T31-exact", "{{ input.long }}" + "y" * 12_144, "x" * 250_000 + "y" * 12_144),
    stopped("T31-one-more", "{{ input.long }}" + "y" * 12_145, "(limit 'size')"),
)

CASES = (*SYNTAX, *INJECTION, *RESOURCES)
