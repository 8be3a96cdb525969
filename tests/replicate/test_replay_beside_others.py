"""Replays beside other writers, other policies and other operators."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cdc_platform.core.columns import DISCARDED, KEY, OFFSET, OPEN, REPLAYED
from cdc_platform.core.model import Policy, Records
from cdc_platform.core.offsets import Range
from cdc_platform.decode.mongodb import decode
from cdc_platform.reconcile import Orphans, deletes
from cdc_platform.replicate import Batch, append_changes, merge_changes, replicate
from cdc_platform.replicate.letters import keep_letters, read_letters, settle_letters
from cdc_platform.replicate.replay import replay, replay_letters
from cdc_platform.verify.position import ClusterTime
from tests.replicate.events import created, updated
from tests.replicate.memory_log import MemoryLog
from tests.replicate.shop import WrittenThrough, replica, rows

TOPIC = "shop.shop.orders"
NOW = datetime(2026, 11, 2, tzinfo=UTC)
GARBAGE = (b'{"id":"7"}', b"no json")


@pytest.fixture
def log() -> MemoryLog:
    log = MemoryLog()
    log.create(TOPIC)
    return log


def read(log: MemoryLog) -> Records:
    [records] = log.reader({log.topics[TOPIC].stream: {}}).poll(0, 10_000)
    assert isinstance(records, Records)
    return records


def test_a_merge_that_is_under_way_does_not_pass_a_row_that_a_replay_puts_in(log: MemoryLog) -> None:
    """The merge knows the changelog from before, and its commit would move past the row."""
    log.write(TOPIC, 0, created(1), GARBAGE, created(2))
    held_up: list[bool] = []

    def meanwhile() -> None:
        if not held_up:
            held_up.append(True)
            letters = read_letters(table.letters, table.stream)
            repaired = created(7, v=1)[1]
            assert repaired
            assert replay_letters(table, letters, {(0, 1): repaired}).added == 1

    stream = log.topics[TOPIC].stream
    table = replica(stream, current=WrittenThrough("memory://current", meanwhile))
    append_changes(table, Batch(read(log)))
    while merge_changes(table):
        pass
    assert rows(table.current, stream)[KEY].to_list() == ["1", "7", "2"]


def test_a_letter_beyond_the_committed_offsets_is_not_replayed(log: MemoryLog) -> None:
    """Its writer died before its commit: the next one reads the record again, and may make a row of it."""
    log.write(TOPIC, 0, GARBAGE, created(1))
    table = replica(log.topics[TOPIC].stream)
    batch = read(log)
    keep_letters(table.letters, table.stream, decode(batch).letters, batch.ranges, NOW)
    letters = read_letters(table.letters, table.stream)
    repaired = created(7)[1]
    assert repaired
    done = replay_letters(table, letters, {(0, 0): repaired})
    assert (done.added, done.keys) == (0, 0)
    assert [(p, o) for p, o, _ in done.dead] == [(0, 0)]
    assert "not committed yet" in done.dead[0][2]
    replicate(table, log)
    assert replay_letters(table, letters, {(0, 0): repaired}).added == 1
    assert rows(table.changelog, table.stream)[OFFSET].to_list() == [0, 1]


def test_a_row_does_not_become_a_letter_by_a_replay_under_another_policy(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created(1, v=1), created(2, v="two"))
    table = replica(log.topics[TOPIC].stream)
    replicate(table, log)
    strict = replace(table, values=Policy.QUARANTINE)
    done = replay(strict, log, {0: Range(0, 2)})
    assert (done.read, done.added, done.dead) == (2, 0, ())
    assert not table.letters.exists() or not read_letters(table.letters, table.stream)


def test_a_letter_that_a_replay_of_its_offset_makes_a_row_of_is_settled(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created(1, v=1), created(2, v="two"), GARBAGE)
    strict = replica(log.topics[TOPIC].stream, values=Policy.QUARANTINE)
    replicate(strict, log)
    assert len(read_letters(strict.letters, strict.stream)) == 2
    done = replay(replace(strict, values=Policy.JSON), log, {0: Range(0, 3)})
    assert (done.added, [each[:2] for each in done.dead]) == (1, [(0, 2)])
    states = {each.offset: each.state for each in read_letters(strict.letters, strict.stream, None)}
    assert states == {1: REPLAYED, 2: OPEN}


def test_of_two_who_settle_a_letter_the_first_one_counts(log: MemoryLog) -> None:
    log.write(TOPIC, 0, GARBAGE)
    table = replica(log.topics[TOPIC].stream)
    replicate(table, log)
    letters = read_letters(table.letters, table.stream)
    settle_letters(table.letters, table.stream, letters, DISCARDED, "mine", NOW)
    settle_letters(table.letters, table.stream, letters, REPLAYED, "too late", NOW)
    [letter] = read_letters(table.letters, table.stream, None)
    assert (letter.state, letter.note, letter.revision) == (DISCARDED, "mine", 1)


def test_a_repair_that_was_void_stays_void_when_its_offset_is_replayed(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created(1, v=1), updated(1, v=2))
    [(partition, key, value)] = deletes(Orphans(ClusterTime(1_790_000_100, 3), {"1": (0, 0)}, 0))
    log.write(TOPIC, partition, (key, value))
    table = replica(log.topics[TOPIC].stream)
    replicate(table, log)
    assert replay(table, log, {0: Range(0, 3)}).added == 0
    assert rows(table.current, table.stream)["v"].to_list() == [2]
