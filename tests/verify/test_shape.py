"""Rows of the lake, as the source's table has them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from cdc_platform.core.digest import encoder, row_digest
from cdc_platform.core.scalars import Moment
from cdc_platform.verify.rows import digests
from cdc_platform.verify.shape import Shape, Text

encode = encoder()


def same(lake: dict[str, Any], source: dict[str, Any], shape: Shape) -> bool:
    """Whether one row of the lake is one of the source."""
    frame = pl.DataFrame({name: [value] for name, value in lake.items()}, strict=False)
    rows = frame.with_columns(pl.lit("k").alias("_key"))
    return list(digests(rows.lazy(), shape)) == [("k", row_digest("k", encode(source)))]


TABLE = Shape({"id": Text.ITSELF, "price": Text.DECIMAL, "at": Text.MOMENT, "note": Text.ITSELF})


@pytest.mark.parametrize(
    ("lake", "source"),
    [
        ({"id": 1, "price": "1.50"}, {"id": 1, "price": Decimal("1.5")}),
        ({"id": 1, "price": Decimal("1.50")}, {"id": 1, "price": Decimal("1.5")}),
        ({"id": 1, "dropped": 5}, {"id": 1}),
        ({"id": 1, "price": None, "price__v2": "7.0"}, {"id": 1, "price": Decimal(7)}),
        ({"id": 1, "note": None, "note__v2": 7}, {"id": 1, "note": 7}),
        (
            {"id": 1, "at": None, "at__json": '"+10000-01-01T00:00:00.000000Z"'},
            {"id": 1, "at": Moment(253402300800000000)},
        ),
        ({"id": 1, "at": None, "at__json": '"infinity"'}, {"id": 1, "at": "infinity"}),
        ({"id": 1, "note": '{"$oid": "5"}'}, {"id": 1, "note": '{"$oid": "5"}'}),
    ],
)
def test_these_are_the_same_row(lake: dict[str, Any], source: dict[str, Any]) -> None:
    assert same(lake, source, TABLE)


@pytest.mark.parametrize(
    ("lake", "source"),
    [
        ({"id": 1, "price": "1.50x"}, {"id": 1, "price": Decimal("1.5")}),
        ({"id": 1, "note": "1.50"}, {"id": 1, "note": Decimal("1.5")}),
        ({"id": 1}, {"id": 1, "price": Decimal(0)}),
        ({"id": 1, "note": 7, "note__v2": 7}, {"id": 1, "note": 7}),
        ({"id": 1, "price": "7", "price__v2": "7"}, {"id": 1, "price": 7}),
        ({"id": 1, "at": None, "at__json": '"infinity"'}, {"id": 1}),
    ],
)
def test_these_differ(lake: dict[str, Any], source: dict[str, Any]) -> None:
    assert not same(lake, source, TABLE)


def test_a_table_s_own_column_may_be_called_as_the_platform_s_second_ones() -> None:
    shape = Shape({"a": Text.ITSELF, "a__v2": Text.ITSELF, "a__json": Text.ITSELF})
    assert same({"a": 1, "a__v2": 2, "a__json": "3"}, {"a": 1, "a__v2": 2, "a__json": "3"}, shape)


def test_columns_that_the_source_does_not_have_are_named() -> None:
    assert TABLE.beyond(["_key", "id", "price__v2", "at__json", "old", "old__v2"]) == ["old", "old__v2"]
