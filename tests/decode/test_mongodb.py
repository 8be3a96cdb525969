"""Change events become changelog rows, all of them, or the first that cannot is named."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime

import polars as pl
import pytest

from cdc_platform.core import columns
from cdc_platform.core.errors import EventRefused, SchemaRefused
from cdc_platform.core.model import Policy, Records
from cdc_platform.core.offsets import Range
from cdc_platform.decode.decoded import Rules
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
        assert set(frame.columns) == set(columns.METADATA) - {
            columns.RESENT,
            columns.INGESTED,
            columns.INGESTED_ON,
        }


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
        Event(),
        replace(Event(), value=None, offset=1),
        replace(bad, partition=2, offset=17),
        Event(op="nor this", partition=2, offset=18),
    )
    batch = replace(batch, ranges={0: Range(0, 2), 2: Range(17, 19)})
    refused = decode(batch, rules=Rules(Policy.REFUSE)).refused
    assert isinstance(refused, EventRefused)
    assert re.search(what, refused.what)
    assert refused.where == "topic shop.orders, partition 2, offset 17"
    assert refused.remedy
    [letter] = decode(batch).letters.filter(pl.col(columns.OFFSET) == 17).to_dicts()
    assert re.search(what, letter["reason"])
    assert (letter["key"], letter["value"]) == (bad.key_bytes, bad.value_bytes)


def test_refused_in_the_middle_of_a_batch_what_lies_before_it_in_each_partition_is_kept() -> None:
    batch = Records(
        documents().stream,
        pl.concat(
            [
                documents('{"a": 1}', '{"a": 2}', '{"a": "x"}', '{"a": 3}').frame,
                records(Event('{"a": 4}', id="9", partition=1, offset=7)).frame,
            ]
        ),
        {0: Range(0, 4), 1: Range(7, 8)},
    )
    decoded = decode(batch, rules=Rules(Policy.REFUSE))
    assert isinstance(decoded.refused, SchemaRefused)
    assert decoded.refused.where.endswith("offset 2")
    assert decoded.ranges == {0: Range(0, 2), 1: Range(7, 8)}
    assert decoded.frame["a"].to_list() == [1, 2, 4]
    assert decoded.letters.is_empty()


def test_quarantined_events_are_letters_and_the_others_rows() -> None:
    decoded = decode(documents('{"a": 1}', '{"a": "x"}', '{"a": 2}'), rules=Rules(Policy.QUARANTINE))
    assert decoded.refused is None
    assert decoded.frame["a"].to_list() == [1, 2]
    assert decoded.letters.select(columns.PARTITION, columns.OFFSET).rows() == [(0, 1)]
    assert "field a does not fit" in decoded.letters["reason"][0]


def test_values_that_do_not_fit_are_kept_beside_their_field_as_canonical_extended_json() -> None:
    table = pl.Schema({"a": pl.Int64})
    batch = documents(
        '{"a": 1,"b": {"c": true}}',
        '{"a": 1.5,"b": {"c": "no"}}',
        '{"a": {"$date": 5},"b": []}',
        '{"a": null}',
    )
    frame = decode(batch, table).frame
    assert frame["a"].to_list() == [1, None, None, None]
    assert frame["a__json"].to_list() == [
        None,
        '{"$numberDouble":"1.5"}',
        '{"$date":{"$numberLong":"5"}}',
        None,
    ]
    assert frame["b"].to_list() == [{"c": True, "c__json": None}, {"c": None, "c__json": '"no"'}, None, None]
    assert frame["b__json"].to_list() == [None, None, "[]", None]


def test_a_field_that_is_not_in_the_table_gets_the_type_most_of_its_values_have() -> None:
    frame = decode(documents('{"p": "n/a"}', '{"p": 1}', '{"p": 2.5}', '{"p": "x"}', '{"p": 3}')).frame
    assert frame["p"].to_list() == [None, 1.0, 2.5, None, 3.0]
    assert frame["p__json"].to_list() == ['"n/a"', None, None, '"x"', None]


def test_an_object_id_and_a_text_of_one_field_stay_apart_across_batches() -> None:
    first = decode(documents('{"ref": {"$oid": "65f000000000000000000001"}}'))
    assert first.frame.schema["ref"] == pl.Struct({"$oid": pl.String})
    table = pl.Schema({"ref": first.frame.schema["ref"]})
    second = decode(documents('{"ref": "65f000000000000000000001"}'), table)
    assert second.frame["ref__json"].to_list() == ['"65f000000000000000000001"']


def test_fields_whose_names_cannot_be_columns_are_kept_together() -> None:
    frame = decode(
        documents(
            '{"a": 1,"A": 2,"_key": "mine","a__json": 5,"_others": {"x": 1.0},"n": {"": true}}', '{"a": 2}'
        )
    ).frame
    assert json.loads(frame["_others"][0]) == {
        "A": {"$numberInt": "2"},
        "_key": "mine",
        "a__json": {"$numberInt": "5"},
        "_others": {"x": {"$numberDouble": "1.0"}},
    }
    assert frame["n"].to_list() == [{"_others": '{"":true}'}, None]
    assert frame[columns.KEY].to_list() == ["0", "1"]
    assert frame["a"].to_list() == [1, 2]


def test_letters_in_great_number_cost_no_good_event() -> None:
    texts = ["x" if n % 3 == 0 else f'{{"a": {n}}}' for n in range(3_000)]
    decoded = decode(documents(*texts))
    assert decoded.frame["a"].to_list() == [n for n in range(3_000) if n % 3]
    assert decoded.letters[columns.OFFSET].to_list() == list(range(0, 3_000, 3))


def test_a_record_larger_than_allowed_is_a_letter() -> None:
    batch = documents('{"a": "short"}', f'{{"a": "{"x" * 5000}"}}')
    decoded = decode(batch, rules=Rules(record_bytes=5_000))
    assert decoded.frame["a"].to_list() == ["short"]
    assert "more than 5000" in decoded.letters["reason"][0]


def test_avro_of_an_unknown_schema_is_named_with_its_id() -> None:
    letters = decode(records(replace(Event(), value=b"\0\0\0\0\5abc"))).letters
    assert "its schema, id 5, is not in the registry" in letters["reason"][0]


def test_a_layout_saves_time_and_changes_nothing() -> None:
    first = decode(documents('{"a": {"x": 1},"b": "2020-01-01","c": [],"d": 1.5}'))
    for text in (
        '{"b": "x"}',
        '{"a": {"y": 1},"c": [1]}',
        '{"a": 5,"b": 1}',
        '{"c": ["2020-01-01"]}',
        '{"d": null}',
    ):
        with_layout, without = decode(documents(text), layout=first.layout), decode(documents(text))
        assert with_layout.frame.equals(without.frame)
        assert with_layout.frame.schema == without.frame.schema


def test_documents_longer_than_the_parsers_blocks_are_read() -> None:
    long = "x" * (3 << 20)
    assert values(documents('{"a": "y"}', f'{{"a": "{long}"}}'), "a") == ["y", long]
