"""Documents become columns with exactly their values, or are refused: never something in between."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from cdc_platform.core.errors import SchemaRefused
from cdc_platform.core.schema import conform, fit
from cdc_platform.decode.documents import Documents, Misfit, read_documents
from cdc_platform.decode.lines import NOTHING


def read(*texts: str) -> Documents | Misfit:
    return read_documents(pl.Series(texts, dtype=pl.String))


def frame(*texts: str) -> pl.DataFrame:
    result = read(*texts)
    assert isinstance(result, Documents), result
    return result.frame


@pytest.mark.parametrize(
    ("text", "value", "dtype"),
    [
        ("1", 1, pl.Int64()),
        ('{"$numberLong": "9223372036854775807"}', 2**63 - 1, pl.Int64()),
        ('{"$numberLong":"-9223372036854775808"}', -(2**63), pl.Int64()),
        ("1.0", 1.0, pl.Float64()),
        ("1.7976931348623157E308", 1.7976931348623157e308, pl.Float64()),
        ("4.9E-324", 5e-324, pl.Float64()),
        ("true", True, pl.Boolean()),
        ('"2020-01-01"', "2020-01-01", pl.String()),
        ('"2020-01-01T00:00:00Z"', "2020-01-01T00:00:00Z", pl.String()),
        ('["2020-01-01", null]', ["2020-01-01", None], pl.List(pl.String())),
        ('{"x": ["2020-01-01"]}', {"x": ["2020-01-01"]}, pl.Struct({"x": pl.List(pl.String())})),
        ('""', "", pl.String()),
        ('"a\\u0000\\ud83d\\ude00"', "a\0😀", pl.String()),
        ('{"$oid": "65f0"}', "65f0", pl.String()),
        ('{"$date": -1}', datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=UTC), pl.Datetime("us", "UTC")),
        ('{"$date": {"$numberLong": "0"}}', datetime(1970, 1, 1, tzinfo=UTC), pl.Datetime("us", "UTC")),
        ('{"$numberDecimal": "1.50"}', "1.50", pl.String()),
        (
            '[{"p": {"$numberDecimal": "-0"}}, null]',
            [{"p": "-0"}, None],
            pl.List(pl.Struct({"p": pl.String()})),
        ),
        (
            '{"$timestamp": {"t": 1, "i": 2}}',
            {"$timestamp": {"t": 1, "i": 2}},
            pl.Struct({"$timestamp": pl.Struct({"t": pl.Int64(), "i": pl.Int64()})}),
        ),
        (
            '{"$binary": "AQ==", "$type": "00"}',
            {"$binary": "AQ==", "$type": "00"},
            pl.Struct({"$binary": pl.String(), "$type": pl.String()}),
        ),
        ("[]", [], pl.List(pl.Null())),
        ("[[]]", [[]], pl.List(pl.List(pl.Null()))),
        ("{}", {}, pl.Struct({})),
        ('{"x": null}', {}, pl.Struct({})),
    ],
)
def test_a_value_keeps_what_it_is(text: str, value: object, dtype: pl.DataType) -> None:
    column = frame(f'{{"a": {text}}}', "{}")["a"]
    assert column.to_list() == [value, None]
    assert column.dtype == dtype


def test_nan_infinity_and_minus_zero_stay() -> None:
    values = frame(*(f'{{"a": {text}}}' for text in ("NaN", "Infinity", "-Infinity", "-0.0")))["a"].to_list()
    assert math.isnan(values[0])
    assert values[1:3] == [math.inf, -math.inf]
    assert math.copysign(1, values[3]) == -1


def test_both_widths_of_integers_go_together() -> None:
    texts = '{"a": 1}', '{"a": {"$numberLong": "9007199254740993"}}'
    assert frame(*texts)["a"].to_list() == [1, 2**53 + 1]


def test_a_string_that_looks_like_a_wrapper_stays_a_string() -> None:
    assert frame('{"a": "{\\"$numberLong\\": \\"1\\"}"}')["a"].to_list() == ['{"$numberLong": "1"}']


def test_nulls_before_the_first_value_of_a_list_stay() -> None:
    texts = [f'{{"a": {value}}}' for value in ("[null, null, 1]", "[null]", "[2, null]", "null", "[]")]
    assert frame(*texts)["a"].to_list() == [[None, None, 1], [None], [2, None], None, []]
    assert frame('{"a": [[null, null], null]}')["a"].to_list() == [[[None, None], None]]


def test_types_that_show_only_far_into_a_batch_are_found() -> None:
    nulls = ['{"a": [{"b": null,"c": [null]}],"pad": "' + "x" * 1000 + '"}'] * 3000
    column = frame(*nulls, '{"a": [{"b": 1,"c": ["2020-01-01"]}]}')["a"]
    assert column[0].to_list() == [{"b": None, "c": [None]}]
    assert column[3000].to_list() == [{"b": 1, "c": ["2020-01-01"]}]


def test_fields_that_are_null_throughout_are_left_out() -> None:
    assert frame('{"a": null,"b": {"c": null,"d": 1}}', '{"e": null}').schema == pl.Schema(
        {"b": pl.Struct({"d": pl.Int64})}
    )


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ("1", '"1"', "field a changed from number to string"),
        ("true", "1", "field a changed from boolean to number"),
        ("{}", "1", "field a changed from object to number"),
        ("[]", "{}", "field a changed from array to object"),
        ('[{"b": 1}]', '[{"b": [1]}]', "field a[].b changed from number to array"),
        ("1", "[1]", "field a changed from number to array"),
        ('{"$date": 0}', '"1970-01-01"', "field a changed from object to string"),
        ('{"$date": 0}', "0", "field a changed from object to number"),
        ('{"$oid": "65"}', '{"$date": 0}', "field a mixes values of different types: $oid, $date"),
        ('{"$oid": "65"}', '{"b": 1}', "field a mixes values of different types: $oid, b"),
        ('{"$oid": "65"}', "{}", "field a has both $oid values and objects without a $oid"),
        ('{"$date": 0}', '{"$date": 9223372036854775807}', "field a has a date that microseconds"),
        ('{"$date": 0}', '{"$date": {"$numberLong": "-9223372036854775808"}}', "field a has a date that"),
        ("1.5", "9007199254740993", "field a has an integer that cannot be kept exactly"),
        (
            '{"b": [1.5]}',
            '{"b": [0, -9007199254740992, 1]}',
            "field a.b[] has an integer that cannot be kept",
        ),
        ("9007199254740993", "1.5", "field a has an integer that cannot be kept exactly"),
        ("1", "9223372036854775808", "field a has an integer that cannot be kept exactly"),
        ("1", '1, "a": 1', "field a was specified twice"),
    ],
)
def test_values_that_do_not_go_together_are_refused_with_field_and_row(
    first: str, second: str, reason: str
) -> None:
    result = read("{}", f'{{"a": {first}}}', "{}", f'{{"a": {second}}}', f'{{"a": {first}}}')
    assert isinstance(result, Misfit)
    assert (result.row, result.typed) == (3, True)
    assert result.reason.startswith(reason)


def test_large_doubles_and_long_integers_elsewhere_are_no_reason_to_refuse() -> None:
    text = '{"a": 1.0E300,"b": 9007199254740993,"c": [1.5, 4503599627370496],"d": ":9007199254740993,"}'
    assert frame(text).row(0) == (1e300, 2**53 + 1, [1.5, 2.0**52], ":9007199254740993,")


NUMBERS = st.one_of(
    st.integers(-(2**31), 2**31 - 1).map(str),
    st.integers(-(2**63), 2**63 - 1).map(lambda n: f'{{"$numberLong": "{n}"}}'),
    st.floats(width=64).map(lambda x: str(x).replace("inf", "Infinity").replace("nan", "NaN")),
    st.sampled_from([2**53, 2**53 + 1, -(2**53) - 1]).map(str),
)
STRINGS = st.one_of(st.text(max_size=6), st.sampled_from(["2020-01-01", "2020-01-01T00:00:00Z"])).map(
    json.dumps
)
OIDS = st.integers(0, 2**96 - 1).map(lambda n: f'{{"$oid": "{n:024x}"}}')
DATES = st.integers(-62_135_596_800_000, 253_402_300_799_999).map(lambda ms: f'{{"$date": {ms}}}')
DECIMALS = st.decimals(allow_nan=False).map(lambda d: f'{{"$numberDecimal": "{d}"}}')
BINARIES = st.sampled_from(['{"$binary": "AQ==","$type": "00"}', '{"$binary": "","$type": "04"}'])
LEAVES = [
    (NUMBERS, "1"),
    (NUMBERS, "1.5"),
    (STRINGS, '""'),
    (OIDS, '{"$oid": ""}'),
    (DATES, '{"$date": 0}'),
    (DECIMALS, '{"$numberDecimal": "1"}'),
    (BINARIES, '{"$binary": "","$type": "00"}'),
    (st.sampled_from(["true", "false"]), "true"),
]
NAMES = st.sampled_from(["a", "b", "c", "d.e", "$f"])

Shape = tuple[st.SearchStrategy[str], str]
"""Texts of one type, and one that shows the whole type."""


def nullable(texts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(texts, texts, texts, st.just("null"))


def lists(items: Shape) -> Shape:
    texts, example = items
    return st.lists(nullable(texts), max_size=3).map(lambda each: f"[{', '.join(each)}]"), f"[{example}]"


def objects(fields: dict[str, Shape]) -> Shape:
    some = st.fixed_dictionaries({}, optional={name: nullable(texts) for name, (texts, _) in fields.items()})
    return some.map(written), written({name: example for name, (_, example) in fields.items()})


def written(fields: dict[str, str]) -> str:
    return "{" + ", ".join(f"{json.dumps(name)}: {text}" for name, text in fields.items()) + "}"


# First a shape, whose fields have one type each as in most collections, then documents of that shape.
SHAPES = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.one_of(
        inner.map(lists), st.dictionaries(NAMES, inner, min_size=1, max_size=3).map(objects)
    ),
    max_leaves=8,
)


def collections(shape: Shape) -> st.SearchStrategy[list[str]]:
    """Documents of a shape; mostly there is one that shows all its types, so that none stays unknown."""
    texts, example = shape
    first = st.sampled_from([[example], [example], [example], []])
    return st.tuples(first, st.lists(texts, min_size=1, max_size=8)).map(lambda parts: parts[0] + parts[1])


COLLECTIONS = (
    st.dictionaries(NAMES, SHAPES, min_size=1, max_size=4)
    .map(lambda fields: objects({"_id": (NUMBERS, "1"), **fields}))
    .flatmap(collections)
)
MIXED = st.lists(
    st.sampled_from([leaf for leaf, _ in LEAVES]).flatmap(lambda leaf: leaf), min_size=1, max_size=4
).map(lambda values: [f'{{"_id": 1, "a": {value}}}' for value in values])


def plainly(value: Any) -> Any:
    """An independent reading of extended JSON by the standard library. Nulls in objects are left out."""
    if isinstance(value, list):
        return [plainly(each) for each in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"$numberLong": str(digits)}:
            return int(digits)
        case {"$oid": str(text)} | {"$numberDecimal": str(text)}:
            return text
        case {"$date": millis}:
            return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=plainly(millis))
    return {name: plainly(each) for name, each in value.items() if each is not None}


def same(lake: Any, source: Any) -> bool:
    if isinstance(source, dict):
        present = {name: value for name, value in lake.items() if value is not None}
        return present.keys() == source.keys() and all(same(present[name], source[name]) for name in source)
    if isinstance(source, list):
        return len(lake) == len(source) and all(map(same, lake, source))
    if isinstance(lake, float) and isinstance(source, float):
        return repr(lake) == repr(source)
    if type(lake) is float and type(source) is int:
        return lake == source
    return type(lake) is type(source) and lake == source


@given(st.one_of(COLLECTIONS, COLLECTIONS, COLLECTIONS, MIXED), st.integers(0, 8))
@settings(max_examples=300, deadline=None)
def test_what_is_written_is_what_the_source_has_or_it_is_refused(texts: list[str], cut: int) -> None:
    """Two batches into one table, each decoded and fitted, the second with the first one's layout as hint."""
    hint, table, rows = NOTHING, pl.Schema(), pl.DataFrame()
    for batch in filter(None, (texts[:cut], texts[cut:])):
        documents = read_documents(pl.Series(batch, dtype=pl.String), hint)
        if isinstance(documents, Misfit):
            event("refused by decode")
            return
        # Rows have metadata besides the document's fields, which may all be null.
        numbered = pl.DataFrame([pl.Series("row", range(len(batch)), dtype=pl.Int32), *documents.frame])
        try:
            fitted = fit(numbered, table, where="test")
        except SchemaRefused:
            event("refused by the gate")
            return
        hint, table = documents.layout, fitted.schema
        rows = pl.concat([conform(rows, table), fitted]) if rows.width else fitted
    event("written")
    expected = [plainly(json.loads(text)) for text in texts]
    for row, document in zip(rows.drop("row").to_dicts(), expected, strict=True):
        assert same(row, document), (row, document)


@given(COLLECTIONS, st.integers(0, 7))
@settings(max_examples=100, deadline=None)
def test_a_hint_changes_nothing_but_integers_into_the_doubles_they_join(texts: list[str], cut: int) -> None:
    first = read_documents(pl.Series(texts[:cut], dtype=pl.String))
    if isinstance(first, Misfit):
        return
    rest = pl.Series(texts[cut:], dtype=pl.String)
    hinted, plain = read_documents(rest, first.layout), read_documents(rest)
    if isinstance(hinted, Documents) and isinstance(plain, Documents):
        assert set(hinted.frame.columns) == set(plain.frame.columns)
        for theirs, ours in zip(hinted.frame.to_dicts(), plain.frame.to_dicts(), strict=True):
            assert _as_doubles(theirs) == _as_doubles(ours)


def _as_doubles(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _as_doubles(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_as_doubles(each) for each in value]
    return repr(float(value)) if isinstance(value, int | float) else value
