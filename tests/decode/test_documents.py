"""Documents become columns with exactly their values, or are refused: never something in between."""

from __future__ import annotations

import json
import math
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import polars as pl
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from cdc_platform.core.columns import JSON_SUFFIX, OTHERS
from cdc_platform.core.logical import stored
from cdc_platform.core.model import Policy
from cdc_platform.core.schema import conform, fit
from cdc_platform.decode.columnar import Columns, read_columns
from cdc_platform.decode.documents import Documents, Layout, read_documents
from cdc_platform.decode.extended import Clash
from cdc_platform.decode.lines import Unreadable


def series(*texts: str) -> pl.Series:
    return pl.Series(texts, dtype=pl.String)


def read(*texts: str) -> Columns | Clash | Unreadable:
    return read_columns(series(*texts))


def frame(*texts: str) -> pl.DataFrame:
    """The columns as they are stored."""
    result = read(*texts)
    assert isinstance(result, Columns), result
    unsettled = any("Null" in str(dtype) for dtype in result.frame.dtypes)
    return result.frame if unsettled else plain(result.frame)


def plain(rows: pl.DataFrame) -> pl.DataFrame:
    return pl.DataFrame(stored(rows)) if rows.width else rows


def kept(
    *texts: str, table: pl.Schema | None = None, policy: Policy = Policy.JSON, layout: Layout | None = None
) -> Documents:
    return read_documents(series(*texts), table or pl.Schema(), policy, layout or Layout())


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
        ('{"$binary": "AAH/", "$type": "00"}', b"\x00\x01\xff", pl.Binary()),
        ('{"$binary": "", "$type": "00"}', b"", pl.Binary()),
        (
            '{"$binary": "ABEiM0RVZneImaq7zN3u/w==", "$type": "04"}',
            "00112233-4455-6677-8899-aabbccddeeff",
            pl.String(),
        ),
        (
            '{"$binary": "AQ==", "$type": "80"}',
            {"$binary": "AQ==", "$type": "80"},
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
        ('{"$oid": "65"}', '"65"', "field a changed from object to string"),
        (
            '{"$binary": "","$type": "00"}',
            '{"$binary": "","$type": "05"}',
            "field a mixes values of different types: $bytes, $binary, $type",
        ),
    ],
)
def test_values_that_do_not_go_together_have_no_column_and_the_field_is_named(
    first: str, second: str, reason: str
) -> None:
    result = read("{}", f'{{"a": {first}}}', "{}", f'{{"a": {second}}}', f'{{"a": {first}}}')
    assert isinstance(result, Clash | Unreadable)
    assert result.reason.startswith(reason)


@pytest.mark.parametrize("name", ["ü\\u009b", "\\u00fc\\u009B", "ü\u009b", "\\u0061/", 'a\\"\\u0020'])
def test_a_name_may_be_escaped_in_part_or_whole(name: str) -> None:
    found = kept(f'{{"{name}": 1}}', f'{{"{name}": "x"}}', f'{{"{name}": 2}}')
    spelled = json.loads(f'"{name}"')
    assert not found.refused
    assert found.frame[spelled].to_list() == [1, None, 2]
    assert found.frame[spelled + JSON_SUFFIX].to_list() == [None, '"x"', None]


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
BINARIES = st.binary(max_size=4).map(
    lambda data: f'{{"$binary": "{b64encode(data).decode()}","$type": "00"}}'
)
UUIDS = st.uuids().map(lambda uuid: f'{{"$binary": "{b64encode(uuid.bytes).decode()}","$type": "04"}}')
ODD_BINARIES = st.sampled_from(['{"$binary": "AQ==","$type": "80"}', '{"$binary": "","$type": "04"}'])
LEAVES = [
    (NUMBERS, "1"),
    (NUMBERS, "1.5"),
    (STRINGS, '""'),
    (OIDS, '{"$oid": ""}'),
    (DATES, '{"$date": 0}'),
    (DECIMALS, '{"$numberDecimal": "1"}'),
    (BINARIES, '{"$binary": "","$type": "00"}'),
    (UUIDS, '{"$binary": "AAAAAAAAAAAAAAAAAAAAAA==","$type": "04"}'),
    (ODD_BINARIES, '{"$binary": "","$type": "80"}'),
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
ANYTHING = st.recursive(
    st.one_of(st.just("null"), st.just("[]"), st.just("{}"), *(leaf for leaf, _ in LEAVES)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda each: f"[{', '.join(each)}]"),
        st.dictionaries(
            st.sampled_from(["a", "A", "b", "a__json", "_others", "_key", "", "x/y", "é"]), inner, max_size=3
        ).map(written),
    ),
    max_leaves=5,
)
MIXED = st.lists(
    st.dictionaries(
        st.sampled_from(["_id", "a", "A", "b", "c", "a__json", "_others", "_key", "", "x/y", "ü"]),
        ANYTHING,
        max_size=4,
    ).map(written),
    min_size=1,
    max_size=8,
)


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
        case {"$binary": data, "$type": "00"}:
            return b64decode(data)
        case {"$binary": data, "$type": "04"} if data:
            return str(UUID(bytes=b64decode(data)))
    return {name: plainly(each) for name, each in value.items() if each is not None}


def canonically(value: Any) -> Any:
    """An independent reading of canonical extended JSON, to the same values."""
    if isinstance(value, list):
        return [canonically(each) for each in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"$numberLong": digits} | {"$numberInt": digits}:
            return int(digits)
        case {"$numberDouble": text}:
            return float(text)
        case {"$oid": text} | {"$numberDecimal": text}:
            return text
        case {"$date": {"$numberLong": millis}}:
            return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(millis))
        case {"$binary": {"base64": data, "subType": "00"}}:
            return b64decode(data)
        case {"$binary": {"base64": data, "subType": "04"}} if data:
            return str(UUID(bytes=b64decode(data)))
        case {"$binary": {"base64": data, "subType": kind}}:
            return {"$binary": data, "$type": kind}
    return {name: canonically(each) for name, each in value.items() if each is not None}


def whole(lake: Any) -> Any:
    """A row with the values that did not fit back in their fields."""
    if isinstance(lake, list):
        return [whole(each) for each in lake]
    if not isinstance(lake, dict):
        return lake
    found = {}
    for name, value in lake.items():
        if value is None:
            continue
        if name == OTHERS:
            found |= {each: canonically(other) for each, other in json.loads(value).items()}
        elif name.endswith(JSON_SUFFIX):
            found[name.removesuffix(JSON_SUFFIX)] = canonically(json.loads(value))
        else:
            found[name] = whole(value)
    return found


def same(lake: Any, source: Any) -> bool:
    if isinstance(source, dict) and isinstance(lake, dict):
        present = {name: value for name, value in lake.items() if value is not None}
        return present.keys() == source.keys() and all(same(present[name], source[name]) for name in source)
    if isinstance(source, list) and isinstance(lake, list):
        return len(lake) == len(source) and all(map(same, lake, source))
    if isinstance(lake, float) and isinstance(source, float):
        return repr(lake) == repr(source)
    if type(lake) is float and type(source) is int:
        return lake == source
    return type(lake) is type(source) and lake == source


@given(st.one_of(COLLECTIONS, MIXED), st.integers(0, 8))
@settings(max_examples=400, deadline=None)
def test_every_value_is_in_its_column_or_beside_it_and_nothing_is_lost(texts: list[str], cut: int) -> None:
    """Two batches into one table, the second with the first one's layout."""
    table, layout, rows = pl.Schema(), Layout(), pl.DataFrame()
    for batch in filter(None, (texts[:cut], texts[cut:])):
        found = kept(*batch, table=table, layout=layout)
        assert (found.rows, found.refused) == (list(range(len(batch))), ())
        numbered = pl.DataFrame([pl.Series("row", found.rows, dtype=pl.Int32), *found.frame])
        fitted = fit(numbered, table, where="the gate has nothing left to refuse")
        layout, table = found.layout, fitted.schema
        rows = pl.concat([conform(rows, table), fitted]) if rows.width else fitted
    event("with misfits" if any(JSON_SUFFIX in name or name == OTHERS for name in table) else "all fit")
    for row, text in zip(plain(rows).drop("row").to_dicts(), texts, strict=True):
        document = plainly(json.loads(text))
        assert same(whole(row), document), (row, document)


@given(st.one_of(COLLECTIONS, MIXED), st.integers(0, 8), st.sampled_from([Policy.QUARANTINE, Policy.REFUSE]))
@settings(max_examples=150, deadline=None)
def test_without_a_place_beside_their_fields_documents_are_rows_or_refused_whole(
    texts: list[str], cut: int, policy: Policy
) -> None:
    table = pl.Schema()
    for batch in filter(None, (texts[:cut], texts[cut:])):
        found = kept(*batch, table=table, policy=policy)
        assert sorted([*found.rows, *(each.row for each in found.refused)]) == list(range(len(batch)))
        numbered = pl.DataFrame([pl.Series("row", found.rows, dtype=pl.Int32), *found.frame])
        fitted = fit(numbered, table, where="test")
        table = fitted.schema
        for row, document in zip(
            plain(fitted).drop("row").to_dicts() or [{}] * len(found.rows),
            [plainly(json.loads(batch[at])) for at in found.rows],
            strict=True,
        ):
            assert same(row, document), (row, document)


@given(COLLECTIONS, st.integers(0, 7))
@settings(max_examples=100, deadline=None)
def test_a_hint_changes_nothing_but_integers_into_the_doubles_they_join(texts: list[str], cut: int) -> None:
    first = read(*texts[:cut])
    if not isinstance(first, Columns):
        return
    hinted, unhinted = read_columns(series(*texts[cut:]), first.layout), read(*texts[cut:])
    if isinstance(hinted, Columns) and isinstance(unhinted, Columns):
        assert set(hinted.frame.columns) == set(unhinted.frame.columns)
        for theirs, ours in zip(hinted.frame.to_dicts(), unhinted.frame.to_dicts(), strict=True):
            assert _as_doubles(theirs) == _as_doubles(ours)


def _as_doubles(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _as_doubles(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_as_doubles(each) for each in value]
    return repr(float(value)) if isinstance(value, int | float) else value
