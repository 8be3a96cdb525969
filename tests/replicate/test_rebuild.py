"""Tables made anew: from their changelog, from Kafka, from a new snapshot."""

from __future__ import annotations

import polars as pl
import pytest

from cdc_platform.core.columns import DISCARDED, KEY, OFFSET, OPEN, PARTITION, REPLAYED, RESENT
from cdc_platform.core.errors import LogTruncated, OffsetsLost, SourceReplaced, StreamReplaced, Terminal
from cdc_platform.core.history import REBUILT
from cdc_platform.core.model import Kind, Policy
from cdc_platform.core.offsets import Range
from cdc_platform.lake.memory import MemoryTable
from cdc_platform.replicate import Replica, merge_changes, replicate
from cdc_platform.replicate.letters import read_letters
from cdc_platform.replicate.rebuild import (
    Beside,
    Rebuilt,
    exchange,
    from_kafka,
    from_source,
    go_on,
    rebuild_current,
)
from cdc_platform.replicate.replay import replay, replay_letters
from tests.replicate.events import created, deleted, event, updated
from tests.replicate.memory_log import MemoryLog
from tests.replicate.shop import keys, replica, rows

TOPIC = "shop.shop.orders"
GARBAGE = (b'{"id":"7"}', b"no json")


@pytest.fixture
def log() -> MemoryLog:
    log = MemoryLog()
    log.create(TOPIC)
    return log


def orders(log: MemoryLog, **settings: Policy) -> Replica:
    return replica(log.topics[TOPIC].stream, **settings)


def beside() -> MemoryTable:
    return MemoryTable("memory://beside")


def put_in_place(table: Replica, made: Beside, log: MemoryLog) -> list[Rebuilt]:
    go_on(made, log)
    return [exchange(table, made, log, "kafka"), rebuild_current(table, "kafka")]


def set_rows(table: Replica, kind: Kind, rows: pl.DataFrame) -> None:
    """Damage: the newest version has these rows."""
    found = {Kind.CHANGELOG: table.changelog, Kind.CURRENT: table.current}[kind]
    assert isinstance(found, MemoryTable)
    object.__setattr__(found.versions[-1], "rows", rows)


def values(table: Replica) -> list[tuple[str, int]]:
    return sorted(rows(table.current, table.stream).select(KEY, "v").rows())


@pytest.mark.parametrize("pass_rows", [1, 2, 1_000])
def test_a_current_state_is_made_from_its_changelog_in_as_many_passes_as_memory_asks_for(
    log: MemoryLog, pass_rows: int
) -> None:
    log.write(TOPIC, 0, created(1, v=1), updated(1, v=2), created(2, v=2), deleted(2), created(3, v=3))
    table = orders(log)
    replicate(table, log)
    set_rows(table, Kind.CURRENT, rows(table.current, table.stream).filter(pl.col(KEY) == "9"))
    done = rebuild_current(table, "changelog", pass_rows)
    assert (done.rows, done.offsets) == (2, {0: 5})
    assert values(table) == [("1", 2), ("3", 3)]
    assert isinstance(table.current, MemoryTable)
    assert table.current.versions[-1].info[REBUILT] == "changelog"


def test_a_rebuilt_current_state_goes_on_from_there(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created(1, v=1))
    table = orders(log)
    replicate(table, log)
    rebuild_current(table, "changelog")
    log.write(TOPIC, 0, updated(1, v=2), created(2, v=5))
    replicate(table, log)
    assert values(table) == [("1", 2), ("2", 5)]


def test_a_current_state_that_stands_past_its_changelog_follows_it_back(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created(1, v=1))
    table = orders(log)
    replicate(table, log)
    log.write(TOPIC, 0, updated(1, v=2))
    replicate(table, log)
    restored = MemoryTable("memory://restored")
    other = replica(table.stream, restored, table.current)
    first = rows(table.changelog, table.stream).head(1)
    restored.append(restored.open(table.stream), first, {0: Range(0, 1)}, {})
    with pytest.raises(OffsetsLost, match="past its changelog"):
        merge_changes(other)
    rebuild_current(other, "changelog")
    assert values(other) == [("1", 1)]
    replicate(other, log)
    assert values(other) == [("1", 2)]


def test_a_changelog_with_lost_doubled_and_wrong_rows_is_made_anew_from_kafka(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created(1, v=1), updated(1, v=2), created(2, v=2), created(3, v=3))
    table = orders(log)
    replicate(table, log)
    whole = rows(table.changelog, table.stream)
    lost, doubled = whole.filter(pl.col(OFFSET) != 2), whole.head(1)
    wrong = pl.concat([lost, doubled]).with_columns(
        pl.when(pl.col("v") == 3).then(99).otherwise("v").alias("v")
    )
    set_rows(table, Kind.CHANGELOG, wrong)
    done = put_in_place(table, from_kafka(table, beside(), log), log)
    assert [(each.kind, each.rows, each.kept) for each in done] == [
        (Kind.CHANGELOG, 4, 0),
        (Kind.CURRENT, 3, 0),
    ]
    assert rows(table.changelog, table.stream).equals(whole)
    assert values(table) == [("1", 2), ("2", 2), ("3", 3)]
    assert table.changelog.open(table.stream).offsets == {0: 4}


def test_rows_whose_records_kafka_does_not_hold_any_more_stay_as_they_are(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created(1, v=1), created(2, v=2), updated(1, v=3))
    table = orders(log)
    replicate(table, log)
    whole = rows(table.changelog, table.stream)
    log.retain_from(TOPIC, 0, 2)
    [changelog, current] = put_in_place(table, from_kafka(table, beside(), log), log)
    assert (changelog.rows, changelog.kept, current.rows) == (3, 2, 2)
    assert rows(table.changelog, table.stream).equals(whole)


def test_records_that_kafka_removed_before_they_were_committed_are_not_passed_over(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created(1, v=1), created(2, v=2), created(3, v=3))
    table = orders(log)
    log.retain_from(TOPIC, 0, 2)
    with pytest.raises(OffsetsLost, match=r"before offsets \{0: 2\}") as refused:
        from_kafka(table, beside(), log)
    assert "--from source" in refused.value.remedy


def test_a_topic_that_lost_what_the_table_has_is_refused_and_the_table_stays(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created(1, v=1), created(2, v=2))
    table = orders(log)
    replicate(table, log)
    log.cut(TOPIC, 0, 1)
    with pytest.raises(OffsetsLost, match="the topic ends at"):
        put_in_place(table, from_kafka(table, beside(), log), log)
    assert keys(table.current, table.stream) == ["1", "2"]


def test_what_a_person_has_repaired_stays_repaired(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created(7, v=1), GARBAGE, (b'{"id":"8"}', b"x"))
    table = orders(log)
    replicate(table, log)
    repaired = event(7, "u", {"_id": 7, "v": 2})[1]
    assert repaired
    replay_letters(table, read_letters(table.letters, table.stream), {(0, 1): repaired})
    [changelog, _] = put_in_place(table, from_kafka(table, beside(), log), log)
    assert changelog.kept == 1
    assert values(table) == [("7", 2)]
    states = {each.offset: each.state for each in read_letters(table.letters, table.stream, None)}
    assert states == {1: REPLAYED, 2: OPEN}


def test_a_letter_whose_record_can_be_decoded_now_is_settled(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created(1, v=1), created(2, v="text"))
    table = orders(log, values=Policy.QUARANTINE)
    replicate(table, log)
    assert len(read_letters(table.letters, table.stream)) == 1
    kept = replica(table.stream, table.changelog, table.current, letters=table.letters)
    put_in_place(kept, from_kafka(kept, beside(), log), log)
    assert read_letters(table.letters, table.stream) == []
    assert keys(table.current, table.stream) == ["1", "2"]


def test_events_that_were_sent_again_are_marked_again(log: MemoryLog) -> None:
    first, second = created(1, v=1), updated(1, v=2)
    log.write(TOPIC, 0, first, second)
    table = orders(log)
    replicate(table, log)
    log.write(TOPIC, 0, first, second)
    replicate(table, log)
    marks = rows(table.changelog, table.stream)[RESENT].to_list()
    put_in_place(table, from_kafka(table, beside(), log), log)
    assert marks == [False, False, True, True]
    assert rows(table.changelog, table.stream)[RESENT].to_list() == marks
    assert values(table) == [("1", 2)]


def test_a_new_snapshot_brings_new_types_and_leaves_out_what_the_source_has_no_more(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created(1, v=1), created(2, v=2), GARBAGE)
    table = orders(log)
    replicate(table, log)
    since = log.ends([table.stream])[TOPIC]
    log.write(TOPIC, 0, event(1, "r", {"_id": 1, "v": "one"}), created(3, v="three"))
    replicate(table, log)
    assert "v__json" in rows(table.changelog, table.stream).columns
    [changelog, current] = put_in_place(table, from_source(table, beside(), since), log)
    assert (changelog.rows, current.rows) == (2, 2)
    found = rows(table.current, table.stream)
    assert sorted(found.select(KEY, "v").rows()) == [("1", "one"), ("3", "three")]
    assert "v__json" not in found.columns
    [letter] = read_letters(table.letters, table.stream, None)
    assert (letter.state, letter.note) == (DISCARDED, "rebuilt from a new snapshot")
    log.write(TOPIC, 0, updated(1, v="uno"))
    replicate(table, log)
    assert sorted(rows(table.current, table.stream)["v"]) == ["three", "uno"]


def test_what_was_before_a_new_snapshot_is_no_part_of_the_table_any_more(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created(1, v=1), created(2, v=2))
    table = orders(log)
    replicate(table, log)
    since = log.ends([table.stream])[TOPIC]
    log.write(TOPIC, 0, event(1, "r", {"_id": 1, "v": 1}))
    put_in_place(table, from_source(table, beside(), since), log)
    with pytest.raises(Terminal, match="the changelog begins at offset 2"):
        replay(table, log, {0: Range(1, 3)})
    [changelog, _] = put_in_place(table, from_kafka(table, beside(), log), log)
    assert (changelog.rows, values(table)) == (1, [("1", 1)]), "the second one was deleted, unseen"
    handle = table.changelog.open(table.stream)
    assert {p: n for p, n in handle.begun.items() if n} == {0: 2}


def test_a_table_that_goes_on_while_its_new_changelog_is_made_loses_nothing(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created(1, v=1))
    table = orders(log)
    replicate(table, log)
    made = from_kafka(table, beside(), log)
    go_on(made, log)
    log.write(TOPIC, 0, created(2, v=2))
    replicate(table, log)
    log.write(TOPIC, 0, created(3, v=3))
    done = exchange(table, made, log, "kafka")
    assert done.offsets == {0: 3}
    replicate(table, log)
    assert rows(table.changelog, table.stream).select(PARTITION, OFFSET).rows() == [(0, 0), (0, 1), (0, 2)]
    assert values(table) == [("1", 1), ("2", 2), ("3", 3)]


def test_a_table_ahead_of_its_topic_is_made_anew_from_a_snapshot(log: MemoryLog) -> None:
    log.write(TOPIC, 0, created(1, v=1), created(2, v=2), created(3, v=3))
    table = orders(log)
    replicate(table, log)
    log.cut(TOPIC, 0, 1)
    with pytest.raises(LogTruncated):
        replicate(table, log)
    since = log.ends([table.stream])[TOPIC]
    log.write(TOPIC, 0, event(1, "r", {"_id": 1, "v": 1}))
    put_in_place(table, from_source(table, beside(), since), log)
    log.write(TOPIC, 0, updated(1, v=5))
    replicate(table, log)
    assert values(table) == [("1", 5)]


@pytest.mark.parametrize("again", ["kafka", "source"])
def test_a_table_whose_topic_was_made_again_takes_the_new_one(log: MemoryLog, again: str) -> None:
    log.write(TOPIC, 0, created(1, v=1), created(2, v=2), GARBAGE)
    table = orders(log)
    replicate(table, log)
    log.delete(TOPIC)
    log.create(TOPIC)
    tables = table.changelog, table.current
    anew = replica(log.topics[TOPIC].stream, *tables, letters=table.letters)
    since = log.ends([anew.stream])[TOPIC]
    log.write(TOPIC, 0, event(1, "r", {"_id": 1, "v": 7}))
    with pytest.raises(StreamReplaced):
        replicate(anew, log)
    made = from_kafka(anew, beside(), log) if again == "kafka" else from_source(anew, beside(), since)
    put_in_place(anew, made, log)
    assert values(anew) == [("1", 7)]
    assert read_letters(anew.letters, anew.stream, None) == [], "they were of the other topic"
    log.write(TOPIC, 0, updated(1, v=8), GARBAGE)
    replicate(anew, log)
    assert values(anew) == [("1", 8)]
    assert len(read_letters(anew.letters, anew.stream)) == 1
    with pytest.raises(StreamReplaced):
        table.changelog.open(table.stream)


def test_a_table_of_a_source_that_was_restored_is_made_anew_from_a_snapshot(log: MemoryLog) -> None:
    old, later = updated(1, v=1), updated(1, v=2)
    log.write(TOPIC, 0, later)
    table = orders(log)
    replicate(table, log)
    log.write(TOPIC, 0, old)
    with pytest.raises(SourceReplaced):
        replicate(table, log)
    since = log.ends([table.stream])[TOPIC]
    log.write(TOPIC, 0, event(1, "r", {"_id": 1, "v": 1}))
    put_in_place(table, from_source(table, beside(), since), log)
    replicate(table, log)
    assert values(table) == [("1", 1)]
