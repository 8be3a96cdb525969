"""Events recorded from Debezium itself (``tests/corpus``), and the rows they must become."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from cdc_platform.core.errors import EventRefused, SchemaRefused
from cdc_platform.core.logical import stored
from cdc_platform.core.model import RECORD_SCHEMA, Policy, Records
from cdc_platform.core.offsets import Range, Stream
from cdc_platform.decode.mongodb import Rules, decode

CORPUS = Path(__file__).parents[1] / "corpus" / "mongodb"


def recorded(name: str) -> Records:
    events = [orjson.loads(line) for line in (CORPUS / f"{name}.jsonl").read_bytes().splitlines()]
    rows = [
        (e["partition"], e["offset"], 0, e["key"].encode(), e["value"] and e["value"].encode())
        for e in events
    ]
    frame = pl.DataFrame(rows, schema=RECORD_SCHEMA, orient="row").sort("partition", "offset")
    return Records(Stream("cluster", "topic", "id", 3), frame, {p: Range(0, 1_000) for p in range(3)})


def decoded(name: str) -> list[dict[str, Any]]:
    """The rows as they are stored."""
    return pl.DataFrame(stored(decode(recorded(name)).frame)).to_dicts()


def test_inserts_carry_their_document_and_position() -> None:
    rows = sorted(decoded("insert"), key=lambda row: int(row["_id"]))
    assert [(row["_key"], row["_id"], row["n"], row["_cdc_operation"]) for row in rows] == [
        (str(n), n, n, "c") for n in range(len(rows))
    ]
    positions = [tuple(row["_cdc_position"].values()) for row in rows]
    assert positions == sorted(set(positions))


def test_updates_carry_the_document_after_each_of_them() -> None:
    rows = decoded("update")
    assert [row["_cdc_operation"] for row in rows] == ["c", "u", "u", "u"]
    assert rows[0]["gone"] == "x"
    assert rows[1]["gone"] is None
    assert rows[1]["deep"] == {"a": 9, "b": 2}, "a 64-bit integer joins a 32-bit one"
    assert [row["list"] for row in rows] == [None, None, [1, 2, 3], [1, 2]]


def test_a_replaced_document_is_an_update_with_the_new_fields_alone() -> None:
    before, after = decoded("replace")
    assert (before["old"], before["new"]) == (True, None)
    assert (after["_cdc_operation"], after["old"], after["new"]) == ("u", None, True)


def test_a_delete_carries_the_document_as_it_was_and_its_key_may_come_again() -> None:
    assert [(row["_cdc_operation"], row["n"]) for row in decoded("delete")] == [("c", 1), ("d", 1), ("c", 2)]


def test_a_transaction_shares_a_cluster_time_and_orders_its_events() -> None:
    positions = [row["_cdc_position"] for row in decoded("transaction")]
    assert len({(p["seconds"], p["ord"]) for p in positions}) == 1
    assert sorted(p["total_order"] for p in positions) == [1, 2]


def test_numbers_keep_their_value_at_the_edges() -> None:
    (row,) = decoded("numbers")
    assert (row["int32_min"], row["int64_max"], row["int64_min"]) == (-(2**31), 2**63 - 1, -(2**63))
    assert (row["double_whole"], row["double_large"], row["double_small"]) == (3.0, 1e300, 5e-324)
    assert math.copysign(1, row["negative_zero"]) == -1
    assert math.isnan(row["nan"])
    assert (row["infinity"], row["negative_infinity"]) == (math.inf, -math.inf)


def test_texts_and_the_other_bson_types_keep_what_debezium_prints() -> None:
    (row,) = decoded("others")
    assert row["text"] == 'ß€😀 "quoted" \\ / \n \t \x00 end'
    assert row["object_id"] == "65a000000000000000000001"
    assert row["uuid"] == "00112233-4455-6677-8899-aabbccddeeff"
    assert row["binary"] == b"\x00\x01\xff"
    assert row["binary_user"] == {"$binary": "gA==", "$type": "80"}


def test_nested_documents_become_structs_with_typed_fields() -> None:
    (row,) = decoded("nested")
    since = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    assert row["customer"] == {"name": "Ann", "address": {"city": "Bern", "zip": 3000, "since": since}}


def test_dates_keep_their_milliseconds_and_those_beyond_every_calendar_their_text() -> None:
    frame = pl.DataFrame(stored(decode(recorded("dates")).frame))
    (row,) = frame.drop("year_10000").to_dicts()
    assert frame["year_10000"].dt.epoch("ms").to_list() == [253_402_300_800_000]
    assert row["before_1970"] == datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)
    assert row["largest__json"] == '{"$date":{"$numberLong":"9223372036854775807"}}'
    assert row["smallest__json"] == '{"$date":{"$numberLong":"-9223372036854775808"}}'


def test_a_list_of_mixed_types_is_kept_as_its_text() -> None:
    (row,) = decoded("arrays")
    assert json.loads(row["mixed__json"])[:1] == [{"$numberInt": "1"}]


def test_a_field_that_changes_its_type_has_each_value_in_one_place() -> None:
    for row in decoded("change_type"):
        assert (row["value"] is None) or (row["value__json"] is None)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("change_type", SchemaRefused, r"field value does not fit(.|\n)*offset 4"),
        ("arrays", SchemaRefused, r"field mixed does not fit"),
        ("dates", SchemaRefused, "field (smallest|largest) does not fit"),
        ("without_images", EventRefused, r"the document after the change is missing(.|\n)*offset 1"),
    ],
)
def test_what_does_not_fit_is_refused_by_field_and_offset(
    name: str, error: type[Exception], message: str
) -> None:
    refused = decode(recorded(name), rules=Rules(Policy.REFUSE)).refused
    assert isinstance(refused, error)
    assert re.search(message, str(refused))
    assert "what to do:" in str(refused)
