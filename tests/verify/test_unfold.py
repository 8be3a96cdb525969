"""A value that the lake keeps as text counts as the value that MongoDB has."""

from __future__ import annotations

import uuid
from typing import Any

import bson
import polars as pl
import pytest
from bson import (
    Binary,
    Code,
    DatetimeMS,
    DBRef,
    Decimal128,
    Int64,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
)
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.json_util import CANONICAL_JSON_OPTIONS, dumps
from hypothesis import given
from hypothesis import strategies as st

from cdc_platform.core.digest import encode_columns, encoder
from cdc_platform.verify.truth.mongodb import ADAPTERS
from cdc_platform.verify.unfold import unfold

CODEC: CodecOptions[dict[str, Any]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)
OID = ObjectId("507f1f77bcf86cd799439011")
truth = encoder(ADAPTERS)

VALUES = [
    "two",
    "",
    "\0 \u2028 \U0001f600",
    True,
    5,
    2**31,
    Int64(7),
    Int64(-(2**63)),
    1.5,
    5.0,
    -0.0,
    float("nan"),
    float("-inf"),
    1e300,
    OID,
    Decimal128("1.50"),
    Decimal128("NaN"),
    DatetimeMS(0),
    DatetimeMS(-1),
    DatetimeMS(2**55),
    b"\x00\xff",
    Binary(b"\x01", 0x80),
    Binary.from_uuid(uuid.UUID(int=7)),
    Binary(b"short", 4),
    Regex("a/b", "xi"),
    Timestamp(2**31, 7),
    Code("f()"),
    Code("f()", {"x": Int64(1), "at": DatetimeMS(5)}),
    MinKey(),
    MaxKey(),
    DBRef("n", OID),
    [],
    {},
    [1, None, [2.5, {"a": None, "b": OID}]],
    {"price": {"amount": Decimal128("1"), "$odd": 1}, "tags": []},
]
"""Every type that a document can have, at its edges."""


def from_mongodb(document: dict[str, Any]) -> str:
    """The canonical form of a document, as it is read from the source."""
    return truth(bson.decode(bson.encode(document), CODEC))


def text(value: Any) -> str:
    return dumps(value, json_options=CANONICAL_JSON_OPTIONS)


def in_lake(**row: Any) -> str:
    columns = pl.DataFrame([row]).get_columns()
    return encode_columns(columns, unfold)[0]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_text_beside_its_field_counts_as_the_fields_value(value: Any) -> None:
    assert in_lake(_id=1, price=None, price__json=text(value)) == from_mongodb({"_id": 1, "price": value})


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize("name", ["a.b", "$date", "", "_key", "Price", "x__json", "_others"])
def test_fields_whose_names_are_no_columns_count_as_themselves(name: str, value: Any) -> None:
    fields = {name: value, "$oid": 5}
    assert in_lake(_id=1, _others=text(fields)) == from_mongodb({"_id": 1, **fields})


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_texts_inside_documents_and_lists_count_too(value: Any) -> None:
    row = {
        "address": {"zip": None, "zip__json": text(value), "_others": None},
        "lines": [{"sku": "a", "_others": text({"a.b": value})}, {"sku": "b", "_others": None}],
    }
    whole = {"address": {"zip": value}, "lines": [{"sku": "a", "a.b": value}, {"sku": "b"}]}
    assert in_lake(_id=1, **row) == from_mongodb({"_id": 1, **whole})


def test_a_null_among_the_others_is_a_missing_field() -> None:
    assert in_lake(_id=1, _others='{"a.b": null}') == from_mongodb({"_id": 1})


@pytest.mark.parametrize("other", [6, 5.5, "5", True, None, [5], {"$numberInt": "5"}])
def test_another_value_is_another_row(other: Any) -> None:
    assert in_lake(_id=1, v__json=text(5)) != from_mongodb({"_id": 1, "v": other})


def test_a_field_with_a_value_in_its_column_and_a_text_beside_it_equals_neither() -> None:
    row = in_lake(_id=1, v=5, v__json=text(5))
    assert row not in (from_mongodb({"_id": 1, "v": 5}), from_mongodb({"_id": 1, "v__json": text(5)}))


@pytest.mark.parametrize(
    "broken", ["{", "", '{"$date": 5, "x": 1}', '{"$numberLong": "five"}', '{"$oid": "5"}']
)
@pytest.mark.parametrize("column", ["v__json", "_others"])
def test_a_text_that_cannot_be_read_makes_the_row_differ_and_ends_no_proof(column: str, broken: str) -> None:
    row = in_lake(_id=1, **{column: broken})
    assert row not in (from_mongodb({"_id": 1}), from_mongodb({"_id": 1, "v": None}))


@given(st.lists(st.tuples(st.sampled_from(VALUES), st.sampled_from(["a", "b", "c d"])), max_size=5))
def test_any_mix_of_columns_and_texts_is_the_document(fields: list[tuple[Any, str]]) -> None:
    document = {"_id": 1, **{name: value for value, name in fields}}
    beside = {f"{name}__json": text(document[name]) for name in ("a", "b") if name in document}
    others = {"_others": text({"c d": document["c d"]})} if "c d" in document else {}
    assert in_lake(_id=1, **beside, **others) == from_mongodb(document)
