"""Committed offsets read once more: what is missing is put in its place, and nothing newer is touched."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from cdc_platform.core.columns import DISCARDED, KEY, OFFSET, OPEN, PARTITION, REPLAYED
from cdc_platform.core.errors import OffsetsLost, Terminal
from cdc_platform.core.offsets import Range
from cdc_platform.lake.memory import MemoryTable
from cdc_platform.replicate import Replica, replicate
from cdc_platform.replicate.letters import read_letters, settle_letters
from cdc_platform.replicate.replay import replay, replay_letters
from tests.replicate.events import created, deleted, event, updated
from tests.replicate.memory_log import MemoryLog
from tests.replicate.shop import keys, replica, rows

TOPIC = "shop.shop.orders"
NOW = datetime(2026, 11, 2, tzinfo=UTC)
GARBAGE = (b'{"id":"7"}', b"no json")


@pytest.fixture
def log() -> MemoryLog:
    log = MemoryLog()
    log.create(TOPIC)
    return log


def orders(log: MemoryLog) -> Replica:
    return replica(log.topics[TOPIC].stream)


def damage(table: Replica, offset: int) -> None:
    """Rows of an offset vanish from both tables, as if somebody had deleted them."""
    for each in (table.changelog, table.current):
        assert isinstance(each, MemoryTable)
        kept = each.versions[-1].rows.filter(pl.col(OFFSET) != offset)
        object.__setattr__(each.versions[-1], "rows", kept)


def test_a_replay_of_what_is_whole_changes_nothing(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created(1, v=1), updated(1, v=2), created(2), deleted(2))
    table = orders(log)
    replicate(table, log)
    before = rows(table.changelog, table.stream), rows(table.current, table.stream)
    done = replay(table, log, {0: Range(0, 4)})
    assert (done.read, done.added, done.keys) == (4, 0, 2)
    assert rows(table.changelog, table.stream).equals(before[0])
    assert rows(table.current, table.stream).equals(before[1])


def test_a_lost_row_is_put_back_in_both_tables(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created(1, v=1), created(2, v=2), created(3, v=3))
    table = orders(log)
    replicate(table, log)
    damage(table, 1)
    assert replay(table, log, {0: Range(1, 2)}).added == 1
    assert rows(table.changelog, table.stream)[OFFSET].to_list() == [0, 1, 2]
    assert keys(table.current, table.stream) == ["1", "2", "3"]


def test_a_row_that_is_put_back_does_not_go_over_a_newer_one_nor_revive_a_deleted_one(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created(1, v=1), updated(1, v=2), created(2), deleted(2))
    table = orders(log)
    replicate(table, log)
    damage(table, 0)
    damage(table, 2)
    assert replay(table, log, {0: Range(0, 3)}).added == 2
    assert rows(table.current, table.stream).select(KEY, "v").rows() == [("1", 2)]


def test_what_the_current_state_has_not_merged_yet_is_left_to_it(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created(1, v=1))
    table = orders(log)
    replicate(table, log)
    behind = table.current
    log.write(TOPIC, 0, updated(1, v=2))
    ahead = replica(table.stream, table.changelog)
    replicate(ahead, log)
    assert behind.open(table.stream).offsets == {0: 1}
    replay(table, log, {0: Range(0, 2)})
    assert rows(behind, table.stream)["v"].to_list() == [1], "the newer row has its own commit"


def test_offsets_that_are_not_committed_or_not_held_any_more_are_not_replayed(log: MemoryLog) -> None:
    log.write(TOPIC, 0, *(created(n) for n in range(4)))
    table = orders(log)
    replicate(table, log)
    log.write(TOPIC, 0, created(9))
    with pytest.raises(Terminal, match="offset 4 is not committed yet"):
        replay(table, log, {0: Range(0, 5)})
    log.retain_from(TOPIC, 0, 2)
    with pytest.raises(OffsetsLost, match="Kafka holds offsets 2 to 4"):
        replay(table, log, {0: Range(1, 3)})


def test_a_letter_is_kept_with_its_bytes_and_the_stream_goes_on(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created(1), GARBAGE, created(2))
    table = orders(log)
    receipts = replicate(table, log)
    assert [(each.rows_in, each.dead) for each in receipts] == [(3, 1), (2, 0)]
    [letter] = read_letters(table.letters, table.stream)
    assert (letter.partition, letter.offset, letter.key, letter.value) == (0, 1, *GARBAGE)
    assert letter.state == OPEN
    assert "not a JSON object" in letter.reason
    assert keys(table.current, table.stream) == ["1", "2"]


def test_a_repaired_letter_is_replayed_in_its_place_in_the_keys_order(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created(7, v=1), GARBAGE, updated(7, v=3), (b'{"id":"8"}', b"x"))
    table = orders(log)
    replicate(table, log)
    letters = read_letters(table.letters, table.stream)
    repaired = event(7, "u", {"_id": 7, "v": 2})[1]
    assert repaired
    done = replay_letters(table, letters, {(0, 1): repaired})
    assert (done.added, [each[:2] for each in done.dead]) == (1, [(0, 3)])
    assert rows(table.changelog, table.stream).select(OFFSET, "v").rows() == [(0, 1), (1, 2), (2, 3)]
    assert rows(table.current, table.stream)["v"].to_list() == [3]
    states = {each.offset: each.state for each in read_letters(table.letters, table.stream, None)}
    assert states == {1: REPLAYED, 3: OPEN}
    assert replay_letters(table, letters[:1], {(0, 1): repaired}).added == 0


def test_a_letter_can_be_discarded_with_a_note(log: MemoryLog) -> None:
    log.write(TOPIC, 0, GARBAGE)
    table = orders(log)
    replicate(table, log)
    letters = read_letters(table.letters, table.stream)
    settle_letters(table.letters, table.stream, letters, DISCARDED, "a test message", NOW)
    assert read_letters(table.letters, table.stream) == []
    [settled] = read_letters(table.letters, table.stream, None)
    assert (settled.state, settled.note, settled.value) == (DISCARDED, "a test message", b"no json")


def test_a_topic_with_more_partitions_keeps_the_last_change_of_each_key(log: MemoryLog) -> None:
    """Keys move: their older changes lie in one partition, the newer ones in another, read in any order."""
    log.create(TOPIC, partitions=1)
    log.write(TOPIC, 0, event(1, "c", {"_id": 1, "v": 1}, at=0), event(2, "c", {"_id": 2}, at=1))
    table = orders(log)
    replicate(table, log)
    log.write(TOPIC, 0, event(1, "u", {"_id": 1, "v": 2}, at=2), event(2, "u", {"_id": 2, "v": 9}, at=3))
    grown = log.add_partitions(TOPIC, 2)
    log.write(TOPIC, 1, event(1, "u", {"_id": 1, "v": 3}, at=4), event(2, "d", None, {"_id": 2}, at=5))
    wide = replica(grown, table.changelog, table.current, current_rows=1)
    seen = []
    for receipt in replicate(wide, log):
        seen.append(receipt.ranges)
        current = {row["_id"]: row["v"] for row in rows(table.current, grown).to_dicts()}
        assert current.get(1) in (2, 3)
    assert rows(table.current, grown).select(KEY, "v", PARTITION).rows() == [("1", 3, 1)]
