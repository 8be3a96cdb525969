"""One step of each table: what it takes, what it commits, what its receipt says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
import polars as pl
import pytest

from cdc_platform.core.columns import INGESTED, INGESTED_ON, KEY, OFFSET, OPERATION, PARTITION
from cdc_platform.core.errors import (
    Conflict,
    EventRefused,
    LogTruncated,
    OffsetsLost,
    SchemaRefused,
    StreamReplaced,
    Transient,
)
from cdc_platform.core.model import Handle, Kind, Limits, Policy, Receipt, Records
from cdc_platform.core.offsets import NOWHERE, RANGES, Positions, Range, Ranges
from cdc_platform.lake.memory import MemoryTable
from cdc_platform.replicate import Batch, Replica, append_changes, merge_changes, replicate
from tests.replicate.events import created, deleted, event, tombstone, updated
from tests.replicate.memory_log import MemoryLog, Visible
from tests.replicate.shop import ATTEMPTS, WrittenThrough, keys, now, replica, rows

TOPIC = "shop.shop.orders"


@pytest.fixture
def log() -> MemoryLog:
    log = MemoryLog()
    log.create(TOPIC)
    return log


def orders(log: MemoryLog, **limits: Any) -> Replica:
    return replica(log.topics[TOPIC].stream, **limits)


def read(log: MemoryLog, offsets: Mapping[int, int] | None = None) -> Records:
    stream = log.topics[TOPIC].stream
    [records] = log.reader({stream: offsets or {}}).poll(0, 10_000)
    assert isinstance(records, Records)
    return records


def balanced(receipt: Receipt | None) -> Receipt:
    assert receipt
    assert receipt.rows_in == sum(receipt.applied.values()) + receipt.superseded
    return receipt


def test_an_append_commits_every_event_and_says_so(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created("a", v=1), None, updated("a", v=2), deleted("a", v=2), tombstone("a"))
    log.write(TOPIC, 2, event("b", "r", {"_id": "b"}))
    table = orders(log)
    receipt = balanced(append_changes(table, Batch(read(log))).receipt)
    assert receipt.kind is Kind.CHANGELOG
    assert receipt.ranges == {0: Range(0, 5), 2: Range(0, 1)}
    assert (receipt.rows_in, receipt.superseded) == (4, 0)
    assert receipt.applied == {"c": 1, "d": 1, "r": 1, "u": 1}
    assert set(receipt.added) == {"_id", "v"}
    assert table.changelog.open(table.stream).offsets == {0: 5, 2: 1}
    written = rows(table.changelog, table.stream)
    assert written.select(KEY, OPERATION, PARTITION, OFFSET, "v").rows() == [
        ('"a"', "c", 0, 0, 1),
        ('"a"', "u", 0, 2, 2),
        ('"a"', "d", 0, 3, 2),
        ('"b"', "r", 2, 0, None),
    ]
    assert set(written.select(INGESTED, INGESTED_ON).rows()) == {(now(), now().date())}


def test_a_batch_appended_twice_is_appended_once(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created("a"), created("b"))
    table = orders(log)
    assert append_changes(table, Batch(read(log))).receipt
    assert append_changes(table, Batch(read(log))).receipt is None
    assert keys(table.changelog, table.stream) == ['"a"', '"b"']


def test_of_a_batch_that_is_partly_committed_only_the_rest_is_appended(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created("a"), created("b"))
    log.write(TOPIC, 1, created("x"))
    table = orders(log)
    append_changes(table, Batch(read(log)))
    log.write(TOPIC, 0, created("c"), None)
    log.write(TOPIC, 2, created("y"))
    receipt = balanced(append_changes(table, Batch(read(log))).receipt)
    assert receipt.ranges == {0: Range(2, 3), 2: Range(0, 1)}
    assert receipt.rows_in == 2
    assert keys(table.changelog, table.stream) == ['"a"', '"b"', '"c"', '"x"', '"y"']


def test_offsets_without_rows_are_committed(log: MemoryLog) -> None:
    log.write(TOPIC, 0, None, None, tombstone("a"))
    table = orders(log)
    receipt = balanced(append_changes(table, Batch(read(log))).receipt)
    assert (receipt.rows_in, receipt.applied, receipt.lag) == (0, {}, None)
    while merged := merge_changes(table):
        assert balanced(merged).rows_in == 0
    assert table.changelog.open(table.stream).offsets == {0: 3}
    assert table.current.open(table.stream).offsets == {0: 3}


def test_a_batch_past_a_table_that_moved_back_is_refused(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created("a"), created("b"), created("c"))
    with pytest.raises(Conflict) as raised:
        append_changes(orders(log), Batch(read(log, {0: 2})))
    assert raised.value.remedy


def test_a_merge_folds_and_accounts_for_what_it_left_out(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created("a", v=1), updated("a", v=2), created("b"), deleted("b"))
    table = orders(log)
    append_changes(table, Batch(read(log)))
    receipt = balanced(merge_changes(table))
    assert receipt.kind is Kind.CURRENT
    assert (receipt.rows_in, receipt.applied, receipt.superseded) == (4, {"d": 1, "u": 1}, 2)
    assert rows(table.current, table.stream).select(KEY, "v").rows() == [('"a"', 2)]
    assert merge_changes(table) is None


def test_the_current_state_catches_up_from_the_changelog_in_chunks(log: MemoryLog) -> None:
    for partition in range(3):
        log.write(TOPIC, partition, *(created(f"{partition}-{n}") for n in range(10 + partition)))
    table = orders(log, current_rows=9)
    append_changes(table, Batch(read(log)))
    receipts = []
    while receipt := merge_changes(table):
        receipts.append(balanced(receipt))
    assert all(receipt.rows_in <= 9 for receipt in receipts)
    assert len(receipts) == 4
    assert sum(receipt.rows_in for receipt in receipts) == 33
    assert keys(table.current, table.stream) == keys(table.changelog, table.stream)


def test_a_merge_is_bounded_by_the_bytes_of_its_rows_too(log: MemoryLog) -> None:
    log.write(TOPIC, 0, *(created(f"{n}", text="x" * 5_000) for n in range(30)))
    table = orders(log, current_bytes=60_000)
    append_changes(table, Batch(read(log)))
    receipts = []
    while receipt := merge_changes(table):
        receipts.append(balanced(receipt))
    assert all(receipt.rows_in <= 12 for receipt in receipts)
    assert sum(receipt.rows_in for receipt in receipts) == 30
    assert keys(table.current, table.stream) == keys(table.changelog, table.stream)


def test_large_rows_are_merged_one_at_a_time(log: MemoryLog) -> None:
    for partition in range(3):
        log.write(
            TOPIC, partition, None, *(created(f"{partition}-{n}", text="x" * 3_000_000) for n in range(3))
        )
    table = orders(log)
    append_changes(table, Batch(read(log)))
    receipts = []
    while receipt := merge_changes(table):
        receipts.append(balanced(receipt))
    assert [receipt.rows_in for receipt in receipts] == [1] * 9
    assert keys(table.current, table.stream) == keys(table.changelog, table.stream)


def test_a_large_row_far_ahead_does_not_make_the_merges_before_it_small(log: MemoryLog) -> None:
    log.write(TOPIC, 0, *(created(f"{n}", text="x" * 10_000) for n in range(100)))
    log.write(TOPIC, 0, created("large", text="x" * 5_000_000))
    table = orders(log, current_bytes=600_000)
    append_changes(table, Batch(read(log)))
    assert balanced(merge_changes(table)).rows_in == 50


def test_a_chunk_smaller_than_the_partitions_behind_still_moves(log: MemoryLog) -> None:
    for partition in range(3):
        log.write(TOPIC, partition, created(f"{partition}"))
    table = orders(log, current_rows=1)
    append_changes(table, Batch(read(log)))
    assert merge_changes(table)
    assert merge_changes(table) is None


def test_a_commit_carries_its_ranges_and_counts(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created("a", v=1), updated("a", v=2))
    table = orders(log)
    replicate(table, log)
    assert isinstance(table.current, MemoryTable)
    info = table.current.versions[-1].info
    assert info[RANGES] == "0:[0,2)"
    assert orjson.loads(info["cdc.rows"]) == {"in": 2, "applied": {"u": 1}, "dead": 0}


def test_a_lost_answer_is_no_second_commit(log: MemoryLog) -> None:
    """The commit is there, its answer is not: the next attempt finds the offsets moved."""
    log.write(TOPIC, 0, created("a"))

    class LostAnswer(MemoryTable):
        def append(
            self,
            handle: Handle,
            rows: pl.DataFrame,
            advance: Ranges,
            info: Mapping[str, str],
            positions: Positions = NOWHERE,
        ) -> Handle:
            super().append(handle, rows, advance, info, positions)
            raise Transient("no answer")

    table = replica(log.topics[TOPIC].stream, changelog=LostAnswer("memory://lost"))
    assert append_changes(table, Batch(read(log))).receipt is None
    assert keys(table.changelog, table.stream) == ['"a"']


def test_a_writer_that_was_overtaken_reads_the_offsets_again(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created("a"), created("b"))
    batch = read(log)
    log.write(TOPIC, 0, created("c"))
    rival = read(log)
    tables: list[Replica] = []
    overtaken: list[bool] = []

    def overtake() -> None:
        if not overtaken:
            overtaken.append(True)
            append_changes(tables[0], Batch(rival))

    tables.append(replica(log.topics[TOPIC].stream, changelog=WrittenThrough("memory://x", overtake)))
    assert append_changes(tables[0], Batch(batch)).receipt is None
    assert keys(tables[0].changelog, tables[0].stream) == ['"a"', '"b"', '"c"']


def test_a_writer_that_was_overtaken_decodes_against_the_columns_it_finds(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created("a", v=1, note=5))
    batch = read(log)
    log.write(TOPIC, 1, created("b", v=2, note="text"))
    tables: list[Replica] = []
    overtaken: list[bool] = []

    def overtake() -> None:
        if not overtaken:
            overtaken.append(True)
            rival = read(log)
            other = rival.frame.filter(partition=1)
            append_changes(tables[0], Batch(replace(rival, frame=other, ranges={1: Range(0, 1)})))

    tables.append(replica(log.topics[TOPIC].stream, changelog=WrittenThrough("memory://x", overtake)))
    assert append_changes(tables[0], Batch(batch)).receipt
    found = rows(tables[0].changelog, tables[0].stream)
    assert found.select(KEY, "note", "note__json").rows() == [
        ('"a"', None, '{"$numberInt":"5"}'),
        ('"b"', "text", None),
    ]


def test_a_service_that_stays_away_is_reported_after_all_attempts(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created("a"))
    attempts = []

    def fail() -> None:
        attempts.append(1)
        raise Transient("the disk is full", remedy="make room")

    table = replica(log.topics[TOPIC].stream, changelog=WrittenThrough("memory://full", fail))
    with pytest.raises(Transient, match="the disk is full"):
        append_changes(table, Batch(read(log)))
    assert len(attempts) == ATTEMPTS
    assert table.changelog.open(table.stream).offsets == {}


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ((b'{"id":"1"}', b"no json"), EventRefused),
        (created("b", v="text"), SchemaRefused),
    ],
)
def test_a_refused_record_is_named_and_what_lies_before_it_is_committed(
    log: MemoryLog, bad: Visible, error: type[Exception]
) -> None:
    log.write(TOPIC, 1, created("a", v=1), None, bad, created("c", v=3))
    log.write(TOPIC, 0, created("d", v=4))
    table = orders(log, values=Policy.REFUSE)
    appended = append_changes(table, Batch(read(log)))
    assert isinstance(appended.refused, error)
    assert "partition 1, offset 2" in str(appended.refused)
    assert table.changelog.open(table.stream).offsets == {0: 1, 1: 2}
    assert keys(table.changelog, table.stream) == ['"a"', '"d"']
    assert not table.letters.exists()


def test_a_current_table_past_its_changelog_stops(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created("a"))
    table = orders(log)
    replicate(table, log)
    restored = replace(table, changelog=MemoryTable("memory://restored"))
    with pytest.raises(OffsetsLost) as raised:
        merge_changes(restored)
    assert raised.value.remedy


def test_replicate_brings_both_tables_to_the_end(log: MemoryLog) -> None:
    for n in range(50):
        log.write(TOPIC, n % 3, created(n), None, updated(n, v=n))
    log.write(TOPIC, 0, deleted(0), tombstone(0), None, None)
    table = orders(log, batch_rows=7, current_rows=20)
    receipts = replicate(table, log)
    for receipt in receipts:
        balanced(receipt)
    for kind, each in ((Kind.CHANGELOG, table.changelog), (Kind.CURRENT, table.current)):
        assert each.open(table.stream).offsets == log.ends([table.stream])[TOPIC]
        assert sum(r.rows_in for r in receipts if r.kind is kind) == 101
    assert keys(table.current, table.stream) == sorted(str(n) for n in range(1, 50))
    assert replicate(table, log) == ()


def test_replicate_stops_at_what_retention_took(log: MemoryLog) -> None:
    log.write(TOPIC, 0, *(created(n) for n in range(5)))
    log.retain_from(TOPIC, 0, 2)
    with pytest.raises(OffsetsLost, match="0 to 1"):
        replicate(orders(log), log)


def test_replicate_stops_at_a_topic_that_ends_before_the_table(log: MemoryLog) -> None:
    log.write(TOPIC, 0, *(created(n) for n in range(5)))
    table = orders(log)
    replicate(table, log)
    log.cut(TOPIC, 0, 3)
    with pytest.raises(LogTruncated):
        replicate(table, log)


def test_replicate_stops_at_a_topic_that_was_made_again(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created("a"))
    table = orders(log)
    replicate(table, log)
    again = replace(table, stream=log.create(TOPIC))
    with pytest.raises(StreamReplaced):
        replicate(again, log)


def test_lag_is_measured_from_the_sources_commit_and_never_of_snapshot_rows(log: MemoryLog) -> None:
    log.write(TOPIC, 0, event("a", "r", {"_id": "a"}))
    table = orders(log)
    assert balanced(append_changes(table, Batch(read(log))).receipt).lag is None
    log.write(TOPIC, 0, created("b"))
    lag = balanced(append_changes(table, Batch(read(log))).receipt).lag
    assert lag
    assert lag.max == lag.p50 > 0


def test_probes_are_called_at_the_named_points(log: MemoryLog) -> None:
    points: list[str] = []
    log.write(TOPIC, 0, created("a"))
    table = replace(orders(log), probe=points.append, limits=Limits())
    replicate(table, log)
    assert points == [
        "after_read",
        "before_commit:changelog",
        "after_commit:changelog",
        "before_commit:current",
        "after_commit:current",
    ]


def test_frames_are_not_changed_by_a_step(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created("a"))
    batch = read(log)
    before: pl.DataFrame = batch.frame.clone()
    append_changes(orders(log), Batch(batch))
    assert batch.frame.equals(before)


def test_declared_columns_are_there_from_the_first_commit_and_take_what_fits_them(log: MemoryLog) -> None:
    declared = pl.Schema({"price": pl.Float64, "tags": pl.List(pl.String)})
    table = replace(orders(log), declared=declared)
    log.write(TOPIC, 0, created("a", price=10, tags=[]))
    replicate(table, log)
    log.write(TOPIC, 0, created("b", price=10.5, tags=["x"]), created("c", price="n/a"))
    replicate(table, log)
    found = rows(table.current, table.stream)
    assert found["price"].to_list() == [10.0, 10.5, None]
    assert found["price__json"].to_list() == [None, None, '"n/a"']
    assert found["tags"].to_list() == [[], ["x"], None]


def test_a_declaration_that_contradicts_the_table_stops_it_with_a_remedy(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created("a", price=10))
    table = orders(log)
    replicate(table, log)
    log.write(TOPIC, 0, created("b", price=11))
    with pytest.raises(SchemaRefused, match="price is Int64 in the table and Float64 in the source's"):
        append_changes(replace(table, declared=pl.Schema({"price": pl.Float64})), Batch(read(log)))
