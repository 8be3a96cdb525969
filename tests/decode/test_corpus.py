"""Events recorded from Debezium itself (``tests/corpus``), and the rows they must become."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from cdc_platform.core.errors import EventRefused, SchemaRefused
from cdc_platform.core.model import RECORD_SCHEMA, Records
from cdc_platform.core.offsets import Stream
from cdc_platform.decode.mongodb import decode

CORPUS = Path(__file__).parents[1] / "corpus" / "mongodb"


def recorded(name: str) -> Records:
    events = [orjson.loads(line) for line in (CORPUS / f"{name}.jsonl").read_bytes().splitlines()]
    rows = [
        (e["partition"], e["offset"], 0, e["key"].encode(), e["value"] and e["value"].encode())
        for e in events
    ]
    frame = pl.DataFrame(rows, schema=RECORD_SCHEMA, orient="row").sort("partition", "offset")
    return Records(Stream("cluster", "topic", "id", 3), frame, {})


def decoded(name: str) -> list[dict[str, Any]]:
    return decode(recorded(name)).frame.to_dicts()


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
    assert row["uuid"] == {"$binary": "ABEiM0RVZneImaq7zN3u/w==", "$type": "04"}


def test_nested_documents_become_structs_with_typed_fields() -> None:
    (row,) = decoded("nested")
    since = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    assert row["customer"] == {"name": "Ann", "address": {"city": "Bern", "zip": 3000, "since": since}}


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("change_type", SchemaRefused, r"value changed from number to string(.|\n)*offset 4"),
        ("arrays", SchemaRefused, r"mixed\[\] changed from number to string"),
        ("dates", SchemaRefused, "smallest has a date that microseconds in 64 bits cannot hold"),
        ("without_images", EventRefused, r"the document after the change is missing(.|\n)*offset 1"),
    ],
)
def test_what_does_not_fit_is_refused_by_field_and_offset(
    name: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        decoded(name)
    caught.match(message)
    assert "what to do:" in str(caught.value)
