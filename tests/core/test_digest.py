"""The canonical form equates what columns cannot tell apart, and nothing else."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_platform.core.digest import BucketDigest, bucket_of, encode_columns, encoder, row_digest
from cdc_platform.core.errors import SchemaRefused
from cdc_platform.core.scalars import Day, LocalMoment, Moment

encode = encoder()
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.datetimes(timezones=st.just(UTC))
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.sampled_from([-0.5, 0.5, 1.5, 2.0**-60, Decimal("0.5"), Decimal("1.50"), Decimal(2) ** -60])
    | st.dates()
    | st.times()
)
VALUES = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(NAMES, v, max_size=3), max_leaves=8
)


def _plain(value: Any) -> Any:
    """An oracle of equality, written without the encoder: a value of tuples that Python compares."""
    match value:
        case bool():
            return ("bool", value)
        case float() if math.isnan(value):
            return ("nan",)
        case float() if value == 0 and math.copysign(1, value) < 0:
            return ("negative zero",)
        case int() | float() | Decimal():
            return ("number", value)
        case list():
            return ("list", tuple(_plain(v) for v in value))
        case dict():
            return ("document", frozenset((k, _plain(v)) for k, v in value.items() if v is not None))
        case _:
            return (type(value).__name__, value)


@given(VALUES, VALUES)
def test_two_values_have_one_form_exactly_when_a_column_cannot_tell_them_apart(left: Any, right: Any) -> None:
    assert (encode(left) == encode(right)) == (_plain(left) == _plain(right))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"a": None}, {}),
        ({"a": {"b": None}}, {"a": {}}),
        ([{"a": None}], [{}]),
        (5, 5.0),
        (2**60, float(2**60)),
        (5, Decimal("5.00")),
        (500, Decimal("5E2")),
        (-1.5, Decimal("-1.50")),
        (0, Decimal("-0.0")),
        (math.inf, Decimal("Infinity")),
        (math.nan, Decimal("NaN")),
        (date(1969, 12, 31), Day(-1)),
        (datetime(1970, 1, 1, 0, 0, 1), LocalMoment(1_000_000)),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (math.nan, -math.nan),
        (datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))),
        (datetime(1969, 12, 31, 23, 59, 59, 999999, UTC), Moment(-1)),
    ],
)
def test_these_are_equal(left: Any, right: Any) -> None:
    assert encode(left) == encode(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ([], None),
        ({}, None),
        ({"a": {}}, {}),
        ({"a": []}, {}),
        ([None], []),
        ({}, []),
        (1, "1"),
        (True, 1),
        (False, 0),
        (0.0, -0.0),
        (0, -0.0),
        (2**53 + 1, float(2**53)),
        (0.1, "0.1"),
        (0.1, Decimal("0.1")),
        (Decimal("0.1"), Decimal("0.10000000000000000000000000000000000001")),
        (date(1970, 1, 1), datetime(1970, 1, 1)),
        (date(1970, 1, 1), 0),
        (time(0, 0, 1), 1),
        (math.inf, -math.inf),
        (math.nan, None),
        (b"a", "a"),
        (b"", ""),
        ("", None),
        ("a\0", "a"),
        ("é", "e\u0301"),
        (Moment(1), 1),
        (datetime(2020, 1, 1), datetime(2020, 1, 1, tzinfo=UTC)),
        ({"a": "1,b:i2"}, {"a": "1", "b": 2}),
        ([["a"], "b"], [["a", "b"]]),
    ],
)
def test_these_stay_apart(left: Any, right: Any) -> None:
    assert encode(left) != encode(right)


def test_a_type_without_a_canonical_form_is_refused() -> None:
    with pytest.raises(SchemaRefused):
        encode({"a": object()})
    with pytest.raises(SchemaRefused):
        encode_columns([pl.Series("a", [timedelta(1)])])


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "n": st.none() | st.integers(-(2**63), 2**63 - 1),
            "x": st.none() | st.floats(),
            "t": st.none() | st.text(max_size=5),
            "f": st.none() | st.booleans(),
            "b": st.none() | st.binary(max_size=5),
            "at": st.none() | st.datetimes(timezones=st.just(UTC)),
            "local": st.none() | st.datetimes(),
            "price": st.none() | st.decimals(-(10**9), 10**9, places=3),
            "wide": st.none() | st.decimals(-(10**9), 10**9, places=20),
            "day": st.none() | st.dates(),
            "time": st.none() | st.times(),
            "list": st.none() | st.lists(st.none() | st.floats(), max_size=3),
            "doc": st.none()
            | st.fixed_dictionaries(
                {
                    "at": st.none() | st.datetimes(timezones=st.just(UTC)),
                    "rows": st.none()
                    | st.lists(st.none() | st.fixed_dictionaries({"q": st.none() | st.integers(0, 9)})),
                }
            ),
        }
    ),
    max_size=4,
)
TIME = pl.Datetime("us", "UTC")
SCHEMA = pl.Schema(
    {
        "n": pl.Int64(),
        "x": pl.Float64(),
        "t": pl.String(),
        "f": pl.Boolean(),
        "b": pl.Binary(),
        "at": TIME,
        "local": pl.Datetime("us"),
        "price": pl.Decimal(13, 3),
        "wide": pl.Decimal(38, 20),
        "day": pl.Date(),
        "time": pl.Time(),
        "list": pl.List(pl.Float64),
        "doc": pl.Struct({"at": TIME, "rows": pl.List(pl.Struct({"q": pl.Int32}))}),
    }
)


@given(ROWS)
def test_columns_and_values_have_the_same_form(rows: list[dict[str, Any]]) -> None:
    frame = pl.DataFrame(rows, schema=SCHEMA)
    assert encode_columns(frame.get_columns()) == [encode(row) for row in rows]


def test_times_beyond_the_calendar_of_python_have_a_form() -> None:
    column = pl.Series("a", [10**18, -(10**18)]).cast(TIME)
    assert encode_columns([column]) == [encode({"a": Moment(10**18)}), encode({"a": Moment(-(10**18))})]


def test_milliseconds_and_microseconds_of_one_time_are_equal() -> None:
    column = pl.Series("a", [1_500]).cast(pl.Datetime("ms", "UTC"))
    assert encode_columns([column]) == [encode({"a": Moment(1_500_000)})]


@given(st.integers(-(10**12), 10**12), st.integers(3, 20))
def test_a_decimal_has_one_form_whatever_its_scale(thousandths: int, scale: int) -> None:
    value = Decimal(thousandths).scaleb(-3)
    columns = [pl.Series("a", [value], dtype=pl.Decimal(38, places)) for places in (3, scale)]
    assert [encode_columns([column])[0] for column in columns] == [encode({"a": value})] * 2


DIGESTED = st.lists(st.tuples(st.text(max_size=3), st.integers(0, 2**128 - 1)), max_size=12)


@given(DIGESTED, st.randoms())
def test_a_bucket_digest_does_not_depend_on_order_or_batches(
    rows: list[tuple[str, int]], random: Any
) -> None:
    shuffled = random.sample(rows, len(rows))
    cut = random.randint(0, len(rows))
    whole, parts = BucketDigest(), BucketDigest()
    whole.add(rows)
    parts.add(shuffled[:cut])
    parts.add(shuffled[cut:])
    assert whole.hexdigest() == parts.hexdigest()
    assert whole.rows == len(rows)
    assert not whole.differing(parts)


def test_a_changed_missing_or_doubled_row_changes_its_bucket_alone() -> None:
    rows = [(f"k{i}", row_digest(f"k{i}", encode({"v": i}))) for i in range(1000)]
    whole = BucketDigest()
    whole.add(rows)
    damaged = {
        "changed": [
            ("k7", row_digest("k7", encode({"v": 8}))) if key == "k7" else (key, d) for key, d in rows
        ],
        "missing": [row for row in rows if row[0] != "k7"],
        "doubled": [*rows, rows[7]],
    }
    for rows_then in damaged.values():
        other = BucketDigest()
        other.add(rows_then)
        assert whole.differing(other) == {bucket_of("k7")}
        assert whole.hexdigest() != other.hexdigest()


def test_the_key_is_part_of_the_digest() -> None:
    assert row_digest("a", encode({})) != row_digest("b", encode({}))
