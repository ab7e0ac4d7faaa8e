"""On the subset that is allowed, a template means what it means in Jinja2 (language.md 3, rule 1).

Expressions are drawn from a grammar, with data, and evaluated by both. The listed differences stay outside: attribute
access reads items first there too (rule 5), text is compared only where strings and integers are printed (section 12,
rule 1), and integers over 64 bits, numbers that are not finite and multiplied text are errors here (rules 2 and 6).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import jinja2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jinja2.runtime import LoopContext

from durableflow.expressions import Budget, EvaluationError, Program, Undefined
from durableflow.templates import parse_expression, parse_template

if TYPE_CHECKING:
    from collections.abc import Callable


class ItemsFirst(jinja2.Environment):
    """Jinja2 with rule 5: `x.items` is data."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        return super().getattr(obj, attribute) if isinstance(obj, LoopContext) else self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        try:
            return obj[argument]
        except (AttributeError, TypeError, LookupError):
            return self.undefined(obj=obj, name=argument)


def with_lists(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a filter give a list where it would give an iterator (rule 6)."""

    @functools.wraps(function)
    def filtered(*args: Any, **kwargs: Any) -> Any:
        return listed(function(*args, **kwargs))

    return filtered


def listed(value: Any) -> Any:
    if isinstance(value, (tuple, list)) or hasattr(value, "__next__"):
        return [listed(inner) for inner in value]
    return value


# Without its optimizer, which changes meanings: (-3) ** n becomes -3 ** n, and a branch not taken can fail.
JINJA = ItemsFirst(optimized=False, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
JINJA.filters.update({name: with_lists(function) for name, function in JINJA.filters.items()})
FAILED = object()

names = st.sampled_from(["a", "b", "items", "n", "Name"])
numbers = st.one_of(st.integers(-1000, 1000), st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 3)))
texts = st.text(st.sampled_from("abcXYZ äß.,-_ 019"), max_size=6)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=3))
data = st.fixed_dictionaries(
    {
        "n": st.integers(-50, 50),
        "x": numbers,
        "s": texts,
        "words": st.lists(texts, max_size=5),
        "nums": st.lists(numbers, max_size=5),
        "rows": st.lists(st.fixed_dictionaries({"a": numbers, "b": texts}), max_size=4),
        "o": st.dictionaries(names, scalars, max_size=3),
        "any": values,
    }
)


def mapped(template: str, *parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return the template with what the parts drew in its holes."""
    return st.tuples(*parts).map(lambda drawn: template.format(*drawn))


def choice(text: str) -> st.SearchStrategy[str]:
    return st.sampled_from(text.split())


def deeper(depth: int) -> dict[str, st.SearchStrategy[str]]:
    """Return expressions of each sort; mostly of a sort that fits, sometimes any, so that errors are compared too."""
    leaves = {
        "number": numbers.map(repr) | choice("input.n input.x input.nums[0] input.nums[-1] input.rows[0].a input['n']"),
        "text": texts.map(repr) | choice("input.s input.s[::-1] input.words[0] input.rows.0.b input.s[1:3]"),
        "numbers": st.lists(numbers, max_size=3).map(repr) | choice("input.nums input.nums[1:] input.nums[:-1]"),
        "texts": st.lists(texts, max_size=3).map(repr) | choice("input.words input.words[::2]"),
        "rows": choice("input.rows input.rows[:2]"),
        "object": choice("input.o input.rows[0] {'b':input.s,'a':input.n}"),
        "truth": choice("true false none input.missing input.o.items input.any input.any.a input.any[0]"),
    }
    if depth == 0:
        return leaves
    inner = deeper(depth - 1)
    number, text, truth, anything = inner["number"], inner["text"], inner["truth"], st.one_of(*inner.values())
    lists = inner["numbers"] | inner["texts"] | inner["rows"]
    return {
        "number": leaves["number"]
        | mapped("({} {} {})", number, choice("+ - * / // % ** + -"), number)
        | mapped("(-{})", number)
        | mapped(
            "({} | {})", number, choice("abs int float round round(1) round(1,'floor') round(-1,'ceil') default(3)")
        )
        | mapped("({} | {})", inner["numbers"], choice("first last sum min max sum(start=2)"))
        | mapped("({} | {})", inner["rows"], choice("sum(attribute='a')"))
        | mapped("({} | {})", anything, choice("length int int(5) int(5,16) float count"))
        | mapped("({} | wordcount)", text),
        "text": leaves["text"]
        | mapped("({} + {})", text, text)
        | mapped("({} ~ {})", text, text)
        | mapped("({})[{}]", text, choice("0 -1 9 1: :2 ::-1"))
        | mapped(
            "({} | {})",
            text,
            choice(
                "capitalize lower upper title trim reverse string first last min max replace('a','bb') "
                "replace('a','',1) "
                "truncate(5) truncate(5,true,'') truncate(4,leeway=0) indent(2,true) indent(1,blank=true) trim('a') "
                "urlencode default('x') default('x',true) d"
            ),
        )
        | mapped("({} | {})", inner["texts"], choice("join join(',') first last min max"))
        | mapped("({} | {})", inner["rows"], choice("join('-',attribute='b') join(attribute='b')")),
        "numbers": leaves["numbers"]
        | mapped("[{}, {}]", number, number)
        | mapped("({} + {})", inner["numbers"], inner["numbers"])
        | mapped(
            "({} | {})",
            inner["numbers"],
            choice("sort sort(reverse=true) unique reverse list select('odd') reject('gt',3)"),
        )
        | mapped(
            "({} | {})", inner["numbers"], choice("select reject map('abs') map('int',1) map('round',1) select('<',3)")
        )
        | mapped("({} | {})", inner["rows"], choice("map(attribute='a') map(attribute='zz',default=0)"))
        | mapped("range({}, {}, {})", choice("0 3 -2"), choice("5 -9 0"), choice("1 2 -3")).map(
            lambda r: f"({r} | list)"
        ),
        "texts": leaves["texts"]
        | mapped(
            "({} | {})",
            inner["texts"],
            choice("sort sort(case_sensitive=true) unique unique(true) reverse map('upper')"),
        )
        | mapped(
            "({} | {})", inner["texts"], choice("select reject map('length') select('eq','a') map('replace','a','b')")
        )
        | mapped("({} | {})", inner["rows"], choice("map(attribute='b') map(attribute='b',default='-')"))
        | mapped("({} | {})", inner["object"], choice("list sort reverse")),
        "rows": leaves["rows"]
        | mapped(
            "({} | {})",
            inner["rows"],
            choice(
                "sort(attribute='a') sort(attribute='b,a') sort(true,true,'b') selectattr('a') selectattr('a','gt',3) "
                "selectattr('zz','defined') rejectattr('b','equalto','a') unique(attribute='b') groupby('b') "
                "groupby('zz',default='q') groupby('b',case_sensitive=true) batch(2) batch(3,'-') slice(2) slice(3,0) "
                "list"
            ),
        )
        | mapped("({} | {})", lists, choice("batch(2) batch(3,'-') slice(2) slice(3,0)"))
        | mapped("({} | {})", inner["object"], choice("items dictsort dictsort(by='value') dictsort(reverse=true)")),
        "object": leaves["object"]
        | mapped("{{'a': {}, {}: {}}}", anything, text, anything)
        | mapped("({} | {})", inner["rows"], choice("first last min(attribute='a') max(attribute='b')")),
        "truth": leaves["truth"]
        | mapped("({} {} {})", number, choice("== != < <= > >="), number)
        | mapped("({} {} {})", text, choice("== != < <= > >= in"), text)
        | mapped("({} {} {})", anything, choice("== != and or"), anything)
        | mapped("({} in {})", anything, lists)
        | mapped("({} not in {})", text, inner["texts"] | inner["object"])
        | mapped("({} < {} <= {})", number, number, number)
        | mapped("(not {})", anything)
        | mapped("({} {} {})", anything, st.sampled_from(["is", "is not"]), choice(TESTS))
        | mapped(
            "({} is {})", number, choice("odd even divisibleby(3) divisibleby(0) lt(3) ge(3) in([1,2]) integer float")
        )
        | mapped("({} is {})", text, choice("lower upper in('abc') eq('a') string"))
        | mapped("({} if {} else {})", anything, truth, anything)
        | mapped("({} if {})", anything, truth)
        | mapped("({})[0]", lists)
        | mapped("({}).a", inner["object"] | anything)
        | mapped("({} {} {})", anything, choice("+ - <"), anything),
    }


TESTS = (
    "defined undefined none string number integer float boolean true false mapping sequence iterable eq(3) ne(3) "
    "in([1,'a',none]) in({'a':1})"
)
EXPRESSIONS = st.one_of(*deeper(3).values())


@st.composite
def expressions(draw: st.DrawFn) -> str:
    """Draw an expression; a function, since Hypothesis would write the whole grammar into its report."""
    return draw(EXPRESSIONS)


def plain(value: Any) -> Any:
    """Return what JSON makes of a value of Jinja2."""
    if isinstance(value, jinja2.Undefined):
        return FAILED
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        return value
    return [plain(inner) for inner in value]


def by_jinja(source: str, given_data: Any) -> Any:
    try:
        return plain(JINJA.compile_expression(source, undefined_to_none=False)(input=given_data))
    except Exception:  # noqa: BLE001 - whatever is an error there
        return FAILED


def here(source: str, given_data: Any) -> Any:
    tree, problems = parse_expression(source)
    assert not problems, (source, problems)
    try:
        return Program(tree).evaluate({"input": given_data}.__getitem__, Budget())
    except EvaluationError:
        return FAILED


def is_same(left: Any, right: Any) -> bool:
    """Say whether two values are equal and of equal type, down to the last item."""
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(is_same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(is_same(left[key], right[key]) for key in left)
    return type(left) is type(right) and left == right


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(expressions(), data)
def test_an_expression_that_has_a_value_here_has_the_same_value_in_jinja2(source: str, given_data: Any) -> None:
    ours = here(source, given_data)
    assert ours is FAILED or is_same(ours, by_jinja(source, given_data))


# What is defined everywhere and of the right sort must have a value here too; else the property above would be empty.
@settings(max_examples=25, deadline=None)
@given(st.tuples(st.integers(-9, 9), texts, st.lists(st.integers(-9, 9), min_size=1, max_size=4)))
@pytest.mark.parametrize(
    "source",
    [
        "input.nums | sort | map('abs') | sum + input.n * 3 // 2",
        "input.s | upper | replace('A', 'b') ~ (input.n | abs) ~ (input.s | trim)",
        "input.nums | select('odd') | list | length > 1 and input.s != ''",
        "(input.nums | batch(2, 0) | list)[0][0] if input.n is even else input.nums | max",
        "{'s': input.s | title, 'n': [input.n - 1, -input.n, input.n % 7], 'u': input.nums | unique | list}",
        "input.missing | default(input.nums | first)",
        "1 if input.n in input.nums else input.s | wordcount",
    ],
)
def test_an_expression_of_the_allowed_subset_has_the_value_of_jinja2(source: str, drawn: Any) -> None:
    given_data = dict(zip(("n", "s", "nums"), drawn, strict=True))
    assert is_same(here(source, given_data), by_jinja(source, given_data))


# Text ----------------------------------------------------------------------------------------------------------------

variables = choice("x y x y input.n input.s item word")
prints = mapped("{{{{ {}{} }}}}", variables, st.sampled_from(["", "", " | default('?')", " ~ '!'"]))
loop_prints = choice("index index0 revindex revindex0 length").map(lambda name: f"{{{{ loop.{name} }}}}")
conditions = choice("input.n>0 x x==1 y==input.s item==1 x y").map(
    lambda text: text if text.startswith("input") else f"({text.split('=')[0]} is defined and {text})"
)
pieces = st.sampled_from(
    ["a", " b ", "\n", "é", "{# c #}", "{% raw %}{{ x }}{% endraw %}", "{{- input.n -}}", "{{ '{{' }}"]
)


def larger_text(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    body = st.lists(inner, min_size=1, max_size=3).map("".join)
    name = choice("x y item word")
    source = choice("input.nums input.words [1,2] [] input.s")
    return st.one_of(
        mapped("{{% if {} %}}{}{{% endif %}}", conditions, body),
        mapped(
            "{{%- if {} %}}{}{{% elif {} -%}}{}{{% else %}}{}{{% endif %}}",
            *(conditions, body, conditions, body, body),
        ),
        mapped("{{% for {} in {} %}}{}{}{{% endfor %}}", name, source, loop_prints, body),
        mapped("{{% for {0} in {1} if {0} %}}{2}{{% else %}}{3}{{% endfor %}}", name, source, body, body),
        mapped("{{% for a, b in input.o | dictsort %}}{{{{ a }}}}{}{{% endfor %}}", body),
        mapped("{{% set {} %}}{}{{% endset %}}", choice("x y"), body),
        body,
    )


sets = mapped("{{% set {} = {} %}}", choice("x y"), choice("1 input.n input.s x [1]"))
templates = st.lists(st.recursive(prints | sets | pieces, larger_text, max_leaves=8), max_size=4).map("".join)
text_data = st.fixed_dictionaries(
    {
        "n": st.integers(-1, 3),
        "s": texts,
        "nums": st.lists(st.integers(0, 2), max_size=3),
        "words": st.lists(texts, max_size=3),
        "o": st.dictionaries(names, st.integers(0, 1), max_size=2),
    }
)


def text_here(source: str, given_data: Any) -> Any:
    tree, problems = parse_template(source)
    if problems:
        return FAILED
    data_of = {"input": given_data}
    try:
        return Program(tree).evaluate(lambda name: data_of.get(name, Undefined(f"no {name}")), Budget())
    except EvaluationError:
        return FAILED


def text_by_jinja(source: str, given_data: Any) -> Any:
    try:
        return JINJA.from_string(source).render(input=given_data)
    except (jinja2.TemplateError, TypeError):
        return FAILED


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(templates, text_data)
def test_a_text_that_can_be_written_here_is_written_the_same_by_jinja2(source: str, given_data: Any) -> None:
    # The letter makes a text of a single expression, too.
    text = f"t{{% set x = 0 %}}{{% set y = 'v' %}}{{% set word = 'w' %}}{source}"
    ours = text_here(text, given_data)
    assert ours is FAILED or ours == text_by_jinja(text, given_data)
