"""Change events become changelog rows, all of them, or the first that cannot is named."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import polars as pl
import pytest

from cdc_platform.core import columns
from cdc_platform.core.errors import EventRefused, SchemaRefused
from cdc_platform.core.model import Records
from cdc_platform.decode.mongodb import decode
from tests.decode.events import Event, documents, records


def values(batch: Records, field: str) -> list[object]:
    return decode(batch).frame[field].to_list()


def test_a_row_carries_key_document_operation_time_position_and_origin() -> None:
    event = Event('{"_id": 7,"qty": 2}', op="u", id="7", ord=4, total_order=9, partition=2, offset=41)
    frame = decode(records(event)).frame
    assert frame.row(0, named=True) == {
        columns.KEY: "7",
        "_id": 7,
        "qty": 2,
        columns.OPERATION: "u",
        columns.TIMESTAMP: datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=UTC),
        columns.POSITION: {"seconds": 1_700_000_000, "ord": 4, "total_order": 9},
        columns.TOPIC: "shop.orders",
        columns.PARTITION: 2,
        columns.OFFSET: 41,
    }
    assert {name: columns.METADATA[name] for name in frame.columns if name in columns.METADATA} == {
        name: dtype for name, dtype in frame.schema.items() if name in columns.METADATA
    }


def test_a_position_outside_of_a_transaction_has_total_order_0_and_a_snapshot_row_has_ord_minus_1() -> None:
    frame = decode(records(Event(), Event(op="r", ord=-1), Event(op="r", ord=None))).frame
    assert [(p["ord"], p["total_order"]) for p in frame[columns.POSITION]] == [(1, 0), (-1, 0), (-1, 0)]


def test_the_key_is_the_text_of_the_id_and_tells_1_from_text_1() -> None:
    ids = ["1", '"1"', '{"$oid":"65"}', '{"a": 1,"b": 2}', '"2020-01-01"']
    assert values(records(*(Event(id=each) for each in ids)), columns.KEY) == ids


def test_a_delete_has_the_document_before_it_or_only_the_key() -> None:
    batch = records(Event(None, '{"a": 5}', "d"), Event(None, None, "d", id="2"))
    assert decode(batch).frame.select(columns.KEY, "a").rows() == [("1", 5), ("2", None)]


def test_tombstones_are_counted_and_left_out() -> None:
    decoded = decode(records(Event(), replace(Event(), value=None), Event(offset=2)))
    assert (decoded.frame[columns.OFFSET].to_list(), decoded.tombstones) == ([0, 2], 1)


def test_a_batch_of_no_records_and_one_of_tombstones_alone_have_no_rows_but_the_metadata() -> None:
    for batch in records(), records(replace(Event(), value=None)):
        frame = decode(batch).frame
        assert frame.height == 0
        assert set(frame.columns) == set(columns.METADATA) - {columns.INGESTED, columns.INGESTED_ON}


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        (replace(Event(), value=b"x"), "not a JSON object"),
        (replace(Event(), value=b"null"), "not a JSON object"),
        (replace(Event(), value=b"{'op': 1}"), "JSON parse error"),
        (replace(Event(), value=b"\xff"), "not UTF-8"),
        (replace(Event(), value=b""" {"op":"c"}"""), "not a JSON object"),
        (replace(Event(), value=b'{"op":"c"}{"op":"c"}'), "more than one"),
        (replace(Event(), value=b'{"schema": {}, "payload": {"op": "c"}}'), "no op"),
        (
            replace(Event(), value=b'{"op": "c", "after": {"a": 1}}'),
            "field after changed from string to object",
        ),
        (replace(Event(), key=None), "the key is no change event's: it is missing"),
        (replace(Event(), key=b"7"), "the key is no change event's: not a JSON object"),
        (replace(Event(), key=b'{"id": 7}'), "field id changed from string to number"),
        (Event(id=None), "the key has no id"),
        (Event(op="x"), "operation x is not known"),
        (Event(op=None), "no op"),
        (Event(ord=None), "position"),
        (Event(ts_ms=None), "position"),
        (Event(None, op="u"), "document after the change is missing"),
        (Event(None, op="c"), "document after the change is missing"),
        (Event("null"), "not a JSON object"),
        (Event("[1]"), "not a JSON object"),
        (Event('{"a": 1'), "not a JSON object"),
        (Event('{"a": tru}'), "JSON parse error"),
        (Event('{"a": 1}{"b": 1}'), "more than one"),
        (Event('{"a": "\\ud83d"}'), "surrogate"),
    ],
)
def test_what_is_no_change_event_is_refused_with_topic_partition_offset_and_remedy(
    bad: Event, what: str
) -> None:
    batch = records(
        Event(), replace(Event(), value=None), replace(bad, partition=2, offset=17), Event(op="nor this")
    )
    with pytest.raises(EventRefused, match=what) as refused:
        decode(batch)
    assert refused.value.where == "topic shop.orders, partition 2, offset 17"
    assert refused.value.remedy


def test_the_first_offender_is_named_although_a_later_one_is_found_sooner() -> None:
    batch = documents('{"a": 1}', '{"a": "x"}', '{"a": 1}')
    later = records(Event(op="x", offset=3), replace(Event(), value=b"x", offset=4))
    both = Records(batch.stream, pl.concat([batch.frame, later.frame]), batch.ranges)
    with pytest.raises(SchemaRefused, match="field a changed from number to string") as refused:
        decode(both)
    assert refused.value.where.endswith("offset 1")


def test_a_field_named_like_a_column_of_the_platform_is_refused_where_it_has_a_value() -> None:
    with pytest.raises(SchemaRefused, match="_kafka_offset") as refused:
        decode(documents('{"a": 1}', '{"_kafka_offset": null}', '{"_kafka_offset": 5}'))
    assert refused.value.where.endswith("offset 2")
    assert decode(documents('{"_key": null}')).frame[columns.KEY].to_list() == ["0"]


def test_a_layout_saves_time_and_changes_nothing() -> None:
    first = decode(documents('{"a": {"x": 1},"b": "2020-01-01","c": [],"d": 1.5}'))
    for text in (
        '{"b": "x"}',
        '{"a": {"y": 1},"c": [1]}',
        '{"a": 5,"b": 1}',
        '{"c": ["2020-01-01"]}',
        '{"d": null}',
    ):
        with_layout, without = decode(documents(text), first.layout), decode(documents(text))
        assert with_layout.frame.equals(without.frame)
        assert with_layout.frame.schema == without.frame.schema


def test_documents_longer_than_the_parsers_blocks_are_read() -> None:
    long = "x" * (3 << 20)
    assert values(documents('{"a": "y"}', f'{{"a": "{long}"}}'), "a") == ["y", long]
