"""Names of functions, as a chained invoke may have them."""

from __future__ import annotations

import pytest

from durableflow.operations import function_name


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("f", ("f", None, None, None)),
        ("f:3", ("f", "3", None, None)),
        ("f:$LATEST", ("f", "$LATEST", None, None)),
        ("123456789012:function:f:live", ("f", "live", "123456789012", None)),
        ("arn:aws:lambda:us-gov-west-1:123456789012:function:f", ("f", None, "123456789012", "us-gov-west-1")),
        ("arn:aws-cn:lambda:cn-north-1:123456789012:function:f:9", ("f", "9", "123456789012", "cn-north-1")),
    ],
)
def test_a_function_name_has_parts(text: str, parts: tuple[str | None, ...]) -> None:
    found = function_name(text)
    assert found
    assert (found.name, found.qualifier, found.account, found.region) == parts


@pytest.mark.parametrize(
    "text", ["", "f:", ":1", "a b", "https://x", "../x", "$(x)", "arn:aws:s3:::bucket", "f:1:2", "f\n"]
)
def test_what_is_no_function_name(text: str) -> None:
    assert function_name(text) is None
