"""Types as people declare them."""

from __future__ import annotations

import polars as pl
import pytest

from cdc_platform.core.columns import UTC_MICROS
from cdc_platform.core.declared import column_type


@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        ("double", pl.Float64()),
        (" long ", pl.Int64()),
        ("timestamp", UTC_MICROS),
        ("objectId", pl.Struct({"$oid": pl.String})),
        ("list<string>", pl.List(pl.String)),
        ("list<list<decimal>>", pl.List(pl.List(pl.Struct({"$numberDecimal": pl.String})))),
        (
            "struct<city: string, at: list<struct<x: double>>>",
            pl.Struct({"city": pl.String, "at": pl.List(pl.Struct({"x": pl.Float64}))}),
        ),
    ],
)
def test_a_type_is_what_it_says(text: str, dtype: pl.DataType) -> None:
    assert column_type(text) == dtype


@pytest.mark.parametrize(
    "text", ["", "float", "list", "list<", "list<string", "struct<a>", "long long", "long;", "struct<a: x>"]
)
def test_anything_else_is_refused_with_what_can_be_written(text: str) -> None:
    with pytest.raises(ValueError, match=r"write double, long, .* list<type>"):
        column_type(text)
