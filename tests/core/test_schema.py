"""The gate: what fits is written as it is, what does not is refused with its place and a remedy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_platform.core.columns import OFFSET, PARTITION, TOPIC
from cdc_platform.core.errors import SchemaRefused
from cdc_platform.core.schema import SAFE_INTEGER, compare, conform, evolve, first_offender, fit, path_text

Field = pl.DataType | type[pl.DataType]

ORDER = pl.Schema(
    {
        "_id": pl.Int64,
        "customer": pl.Struct({"name": pl.String, "address": pl.Struct({"city": pl.String})}),
        "items": pl.List(pl.Struct({"sku": pl.String, "qty": pl.Int64})),
        "total": pl.Float64,
    }
)


def frame(column: list[Any], dtype: Field) -> pl.DataFrame:
    return pl.DataFrame({"a": pl.Series(column, dtype=dtype)})


def changes(column: list[Any], dtype: Field) -> pl.DataFrame:
    """Rows of topic t, partition 3, at offsets 100, 101, …"""
    offsets = range(100, 100 + len(column))
    return frame(column, dtype).with_columns(
        pl.lit("t").alias(TOPIC),
        pl.lit(3, dtype=pl.Int32).alias(PARTITION),
        pl.Series(OFFSET, offsets, dtype=pl.Int64),
    )


def test_new_fields_are_added_at_every_level_after_those_the_table_has() -> None:
    batch = pl.Schema(
        {
            "note": pl.String,
            "items": pl.List(pl.Struct({"price": pl.Struct({"cents": pl.Int64}), "sku": pl.String})),
            "customer": pl.Struct({"address": pl.Struct({"zip": pl.String})}),
        }
    )
    evolution = evolve(ORDER, batch, where="table orders")
    assert evolution.added == ("note", "items[].price", "customer.address.zip")
    assert list(evolution.schema) == ["_id", "customer", "items", "total", "note"]
    assert evolution.schema["items"] == pl.List(
        pl.Struct({"sku": pl.String, "qty": pl.Int64, "price": pl.Struct({"cents": pl.Int64})})
    )


@pytest.mark.parametrize(
    ("table", "batch"),
    [
        (pl.Int64(), pl.Int64()),
        (pl.Float64(), pl.Int64()),
        (pl.String(), pl.Null()),
        (pl.List(pl.String()), pl.List(pl.Null())),
        (pl.List(pl.List(pl.Int64())), pl.List(pl.Null())),
        (pl.Struct({"b": pl.Int64()}), pl.Struct({})),
        (pl.Datetime("us", "UTC"), pl.Datetime("us", "UTC")),
    ],
)
def test_a_type_that_fits_leaves_the_table_as_it_is(table: pl.DataType, batch: pl.DataType) -> None:
    schema = pl.Schema({"a": table})
    assert evolve(schema, pl.Schema({"a": batch}), where="") == evolve(schema, pl.Schema(), where="")
    assert evolve(schema, pl.Schema({"a": batch}), where="").schema == schema


@pytest.mark.parametrize(
    ("table", "batch", "what"),
    [
        (pl.Int64(), pl.Float64(), "a is Int64 in the table and Float64 in this batch"),
        (pl.Int64(), pl.String(), "a is Int64 in the table and String in this batch"),
        (pl.String(), pl.Int64(), "a is String in the table and Int64"),
        (pl.Boolean(), pl.Int64(), "a is Boolean in the table and Int64"),
        (pl.Float64(), pl.Boolean(), "a is Float64 in the table and Boolean"),
        (pl.Datetime("us", "UTC"), pl.Int64(), "a is Datetime"),
        (pl.String(), pl.Struct({}), "a is String in the table and Struct"),
        (pl.Int64(), pl.List(pl.Null()), "a is Int64 in the table and List"),
        (pl.List(pl.String()), pl.Struct({}), "a is List"),
        (pl.Struct({"b": pl.Int64()}), pl.Struct({"b": pl.String()}), r"a\.b is Int64"),
        (pl.List(pl.Struct({"b": pl.Int64()})), pl.List(pl.Struct({"b": pl.String()})), r"a\[\]\.b is Int64"),
        (pl.Struct({"b": pl.Int64()}), pl.Struct({"B": pl.Int64()}), r"a\.B and a\.b differ only in case"),
    ],
)
def test_any_other_type_is_refused_with_path_both_types_and_remedy(
    table: pl.DataType, batch: pl.DataType, what: str
) -> None:
    with pytest.raises(SchemaRefused, match=what) as refused:
        evolve(pl.Schema({"a": table}), pl.Schema({"a": batch}), where="table orders")
    assert refused.value.where == "table orders"
    assert refused.value.remedy


@pytest.mark.parametrize(
    "dtype",
    [
        pl.Null(),
        pl.List(pl.Null()),
        pl.Struct({}),
        pl.List(pl.Struct({})),
        pl.Struct({"b": pl.List(pl.List(pl.Null()))}),
    ],
)
def test_a_type_nobody_knows_is_refused(dtype: pl.DataType) -> None:
    with pytest.raises(SchemaRefused, match="is unknown"):
        evolve(pl.Schema(), pl.Schema({"a": dtype}), where="")


def test_names_that_differ_only_in_case_are_refused_within_a_batch_and_against_the_table() -> None:
    for table, batch in (
        ({}, ["Name", "name"]),
        ({"Name": pl.String}, ["name"]),
        ({"_key": pl.String}, ["_KEY"]),
    ):
        with pytest.raises(SchemaRefused, match="differ only in case"):
            evolve(pl.Schema(table), pl.Schema(dict.fromkeys(batch, pl.String)), where="")


@pytest.mark.parametrize(
    ("values", "have", "want"),
    [
        ([[], None, [None]], pl.List(pl.Null), pl.List(pl.Struct({"x": pl.Int64}))),
        ([[[]], [None], None], pl.List(pl.List(pl.Null)), pl.List(pl.List(pl.String))),
        ([None, None], pl.Null, pl.Struct({"x": pl.Int64})),
        ([[1, None], [], None], pl.List(pl.Int64), pl.List(pl.Float64)),
        ([SAFE_INTEGER, -SAFE_INTEGER, 0, None], pl.Int64, pl.Float64),
    ],
)
def test_conforming_keeps_nulls_empty_lists_and_values(values: list[Any], have: Field, want: Field) -> None:
    conformed = conform(frame(values, have), pl.Schema({"z": pl.String, "a": want}))
    assert conformed.schema == pl.Schema({"z": pl.String, "a": want})
    assert conformed["a"].to_list() == values
    assert conformed["z"].to_list() == [None] * len(values)


def test_an_empty_struct_stays_a_struct_and_a_null_one_null() -> None:
    empty = pl.Series([{}, None, {}], dtype=pl.Struct({}))
    conformed = conform(pl.DataFrame({"a": empty}), pl.Schema({"a": pl.Struct({"x": pl.Int64})}))
    assert conformed["a"].is_null().to_list() == [False, True, False]


def test_struct_fields_are_put_by_name_and_not_by_place() -> None:
    have = pl.List(pl.Struct({"c": pl.String, "b": pl.Int64}))
    want = pl.List(pl.Struct({"a": pl.String, "b": pl.Float64, "c": pl.String}))
    rows = frame([[{"c": "x", "b": 1}, None], None, []], have)
    expected = [[{"a": None, "b": 1.0, "c": "x"}, None], None, []]
    assert conform(rows, pl.Schema({"a": want}))["a"].to_list() == expected
    assert conform(rows[1:], pl.Schema({"a": want}))["a"].to_list() == expected[1:]
    assert conform(rows[:0], pl.Schema({"a": want}))["a"].to_list() == []


@pytest.mark.parametrize("integer", [SAFE_INTEGER + 1, -SAFE_INTEGER - 1, 2**63 - 1, -(2**63)])
def test_an_integer_that_a_double_might_not_hold_is_refused_with_its_offset(integer: int) -> None:
    rows = changes(
        [{"b": [1]}, {"b": []}, {"b": [2, integer]}, {"b": [integer]}], pl.Struct({"b": pl.List(pl.Int64)})
    )
    table = pl.Schema({**rows.schema, "a": pl.Struct({"b": pl.List(pl.Float64)})})
    with pytest.raises(SchemaRefused, match=r"would be rounded in the Float64 field a\.b\[\]") as refused:
        fit(rows, table, where="table orders")
    assert refused.value.where == "table orders, topic t, partition 3, offset 102"
    with pytest.raises(SchemaRefused, match="would be rounded"):
        conform(rows, table)


def test_a_fraction_never_goes_into_an_integer_column_and_its_offset_is_named() -> None:
    rows = changes([None, 1.0, 1.5], pl.Float64)
    with pytest.raises(SchemaRefused, match="a is Int64 in the table and Float64") as refused:
        fit(rows, pl.Schema({**rows.schema, "a": pl.Int64}), where="table orders")
    assert refused.value.where.endswith("offset 102")
    with pytest.raises(SchemaRefused):
        conform(rows, pl.Schema({**rows.schema, "a": pl.Int64}))


@pytest.mark.parametrize(
    ("values", "have", "table", "offset"),
    [
        ([None, "x", "y"], pl.String, pl.Int64, 101),
        ([[], [None], ["x"]], pl.List(pl.String), pl.List(pl.Int64), 102),
        (
            [None, [{"b": None}], [{"b": 1}]],
            pl.List(pl.Struct({"b": pl.Int64})),
            pl.List(pl.Struct({"b": pl.String})),
            102,
        ),
        ([None, None, []], pl.List(pl.Null), None, 102),
        ([None, {}, None], pl.Struct({}), pl.String, 101),
    ],
)
def test_the_first_row_that_does_not_fit_is_named(
    values: list[Any], have: Field, table: Field | None, offset: int
) -> None:
    schema: Mapping[str, Any] = {} if table is None else {"a": table}
    with pytest.raises(SchemaRefused) as refused:
        fit(changes(values, have), pl.Schema(schema), where="table orders")
    assert refused.value.where == f"table orders, topic t, partition 3, offset {offset}"


def test_conforming_never_drops_a_column() -> None:
    with pytest.raises(SchemaRefused, match=r"the table has no a"):
        conform(frame([1], pl.Int64), pl.Schema({"b": pl.Int64}))


def test_paths_quote_names_that_would_read_as_steps() -> None:
    assert path_text(("a", "b.c", None, "[]", "")) == "a.`b.c`[].`[]`.``"


@given(st.integers(1, 500), st.data())
def test_the_first_offender_is_found_by_asking_about_prefixes(rows: int, data: st.DataObject) -> None:
    bad = data.draw(st.integers(0, rows - 1))
    asked: list[int] = []

    def fits(count: int) -> bool:
        asked.append(count)
        return count <= bad

    assert first_offender(rows, fits) == bad
    assert len(asked) <= rows.bit_length()


TYPES = st.recursive(
    st.sampled_from([pl.Int64(), pl.Float64(), pl.String(), pl.Boolean(), pl.Null()]),
    lambda inner: st.one_of(
        inner.map(pl.List),
        st.dictionaries(st.sampled_from("abc"), inner, max_size=3).map(pl.Struct),
    ),
    max_leaves=6,
)
SCHEMAS = st.dictionaries(st.sampled_from("abc"), TYPES, max_size=3).map(pl.Schema)


@given(SCHEMAS)
def test_a_batch_always_fits_the_table_it_made(batch: pl.Schema) -> None:
    evolution, conflicts = compare(pl.Schema(), batch)
    if not conflicts:
        again, conflicts = compare(evolution.schema, batch)
        assert (again.schema, again.added, conflicts) == (evolution.schema, (), ())


@given(SCHEMAS, SCHEMAS)
def test_a_table_keeps_every_field_and_type_it_has(table: pl.Schema, batch: pl.Schema) -> None:
    evolution, conflicts = compare(table, batch)
    if not conflicts:
        back, conflicts = compare(evolution.schema, table)
        assert (back.added, conflicts) == ((), ())
        assert back.schema == evolution.schema
