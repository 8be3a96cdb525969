"""A value taken out of a text: exactly the field that is meant, or nothing is done."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_platform.decode.splice import Splice


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ('{"a": 1,"m": "x","z": 2.0}', "x", '{"a": 1,"m__json":"\\"x\\"","z": 2.0}'),
        ('{"m" : [] }', [], '{"m__json":"[]" }'),
        ('{"d": {"m": {"$numberLong": "1"}}}', {"$numberLong": "1"}, None),
        ('{"m": 1, "d": {"m": 1}}', 1, "unclear"),
        ('{"m": 1, "x": "m"}', 1, "unclear"),
        ('{"x": "m", "\\u006d": 1}', 1, "unclear"),
        ('{"a\\"m": 1, "\\u006d": 1}', 1, "unclear"),
        ('{"m": 1, "m__json": null}', 1, "unclear"),
        ('{"m": {"a": 1, "a": 2}}', {"a": 2}, "unclear"),
        ('{"m": NaN}', float("nan"), "unclear"),
    ],
)
def test_a_field_is_set_aside_only_where_its_text_leaves_no_doubt(
    text: str, value: Any, expected: str | None
) -> None:
    found = Splice("m").aside(text, value)
    if expected == "unclear":
        assert found is None
    else:
        assert found == (expected or '{"d": {"m__json":"{\\"$numberLong\\":\\"1\\"}"}}')


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=5,
)


@given(st.dictionaries(st.text(max_size=3), VALUES, max_size=4), VALUES)
def test_all_other_fields_keep_their_text(others: dict[str, Any], value: Any) -> None:
    document = {**others, "the field": value}
    found = Splice("the field").aside(json.dumps(document), value)
    assert found is not None
    left = json.loads(found)
    assert isinstance(left.pop("the field__json"), str)
    assert left == {name: each for name, each in document.items() if name != "the field"}
