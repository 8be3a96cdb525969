"""Fields that a text column holds count as the fields they are, at every level."""

from __future__ import annotations

from typing import Any

import orjson
import polars as pl

from cdc_platform.core.digest import BucketDigest, Fields, encode_columns, encoder

encode = encoder()


def read_object(text: str) -> Fields:
    return {name: encode(value) for name, value in orjson.loads(text).items()}


def forms(rows: list[dict[str, Any]]) -> list[str]:
    """Rows in which columns named ``more`` hold other fields, as one JSON object."""
    columns = pl.DataFrame(rows).get_columns()
    return encode_columns(columns, lambda name: read_object if name == "more" else None)


def test_a_field_held_as_text_equals_the_field_itself() -> None:
    assert forms([{"b": 2, "more": '{"a": 1, "c": [null]}'}]) == [encode({"a": 1, "b": 2, "c": [None]})]


def test_rows_without_such_text_are_as_they_were() -> None:
    rows = [{"b": 2, "more": None}, {"b": None, "more": '{"b": 2}'}]
    assert forms(rows) == [encode({"b": 2})] * 2


def test_a_row_may_have_no_other_column() -> None:
    assert forms([{"more": '{"a": 1}'}, {"more": None}]) == [encode({"a": 1}), encode({})]


def test_documents_in_documents_and_in_lists_are_unfolded_too() -> None:
    rows = [{"d": {"x": 1, "more": '{"y": 2}'}, "l": [{"x": None, "more": '{"y": "z"}'}, None]}]
    assert forms(rows) == [encode({"d": {"x": 1, "y": 2}, "l": [{"y": "z"}, None]})]


def test_a_field_that_is_there_both_ways_equals_neither() -> None:
    assert forms([{"a": 1, "more": '{"a": 1}'}])[0] not in (encode({"a": 1}), encode({}))


def test_a_column_of_that_name_that_is_no_text_is_an_ordinary_column() -> None:
    assert forms([{"more": 7}]) == [encode({"more": 7})]


def test_what_is_removed_again_was_never_there() -> None:
    rows = [(f"k{n}", 2**127 + n) for n in range(1_000)]
    digest, half = BucketDigest(), BucketDigest()
    digest.add(rows)
    digest.remove(rows[:500])
    half.add(rows[500:])
    assert not digest.differing(half)
    half.remove(rows)
    assert half.rows == -500
