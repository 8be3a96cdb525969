"""Events that a connector sends again: kept, marked, and without effect."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import orjson
import polars as pl
import pytest

from cdc_platform.core.columns import KEY, OFFSET, PARTITION, RESENT
from cdc_platform.core.errors import SourceReplaced
from cdc_platform.core.model import Kind, Policy
from cdc_platform.core.offsets import Range
from cdc_platform.lake.memory import MemoryTable
from cdc_platform.replicate import Replica, replicate
from cdc_platform.replicate.letters import read_letters
from cdc_platform.replicate.replay import replay, replay_letters
from tests.replicate.events import created, deleted, event, updated
from tests.replicate.memory_log import MemoryLog, Visible
from tests.replicate.shop import replica, rows

TOPIC = "shop.shop.orders"


@pytest.fixture
def log() -> MemoryLog:
    log = MemoryLog()
    log.create(TOPIC)
    return log


def taken(log: MemoryLog, *events: Visible, table: Replica | None = None, partition: int = 0) -> Replica:
    log.write(TOPIC, partition, *events)
    table = table or replica(log.topics[TOPIC].stream)
    replicate(table, log)
    return table


def marks(table: Replica) -> list[int]:
    """Offsets of the rows that are marked."""
    return rows(table.changelog, table.stream).filter(pl.col(RESENT))[OFFSET].to_list()


def state(table: Replica) -> dict[str, int]:
    found = rows(table.current, table.stream)
    return dict(found.select(KEY, "v").iter_rows()) if "v" in found.columns else {}


def transaction(*events: tuple[str, str, int]) -> list[Visible]:
    """Changes (key, operation, v) at one position, told apart by their order in it."""
    made = [event(key, operation, {"_id": key, "v": v}) for key, operation, v in events]
    bodies = [orjson.loads(value) for _, value in made if value]
    at = {"source": bodies[-1]["source"]}
    ordered = [{**body, **at, "transaction": {"total_order": n}} for n, body in enumerate(bodies)]
    return [(key, orjson.dumps(body)) for (key, _), body in zip(made, ordered, strict=True)]


@pytest.mark.parametrize("together", [True, False])
def test_the_last_events_once_more_change_nothing(log: MemoryLog, together: bool) -> None:
    events = [created("a", v=1), updated("a", v=2), created("b", v=1), deleted("b"), updated("a", v=3)]
    if together:
        table = taken(log, *events, *events[1:])
    else:
        table = taken(log, *events)
        for each in events[1:]:
            taken(log, each, table=table)
    assert marks(table) == [5, 6, 7, 8]
    assert state(table) == {'"a"': 3}


def test_no_version_of_the_current_state_goes_back(log: MemoryLog) -> None:
    events = [created("a", v=1), updated("a", v=2), deleted("a")]
    table = taken(log, *events)
    for each in (*events, created("b", v=1)):
        taken(log, each, table=table)
    assert isinstance(table.current, MemoryTable)
    seen = [version.rows[KEY].to_list() for version in table.current.versions]
    assert '"a"' not in [key for keys in seen for key in keys]
    assert seen[-1] == ['"b"']


def test_what_comes_after_the_resend_counts(log: MemoryLog) -> None:
    first = [created("a", v=1), updated("a", v=2)]
    table = taken(log, *first)
    taken(log, *first, updated("a", v=3), table=table)
    assert marks(table) == [2, 3]
    assert state(table) == {'"a"': 3}


def test_a_transaction_that_is_cut_by_a_batch_is_no_resend(log: MemoryLog) -> None:
    changes = transaction(("a", "c", 1), ("b", "c", 1), ("a", "u", 2), ("b", "u", 2), ("a", "u", 3))
    log.write(TOPIC, 0, *changes)
    table = replica(log.topics[TOPIC].stream, batch_rows=2)
    replicate(table, log)
    assert marks(table) == []
    assert state(table) == {'"a"': 3, '"b"': 2}
    taken(log, *changes[2:], updated("c", v=1), table=table)
    assert marks(table) == [5, 6, 7]


def test_a_transaction_larger_than_what_is_looked_at_first_is_looked_up_whole(log: MemoryLog) -> None:
    changes = transaction(*((f"k{n}", "c", n) for n in range(3_000)))
    table = taken(log, *changes)
    taken(log, changes[0], changes[-1], *transaction(("new", "c", 0)), table=table)
    assert marks(table) == [3_000, 3_001]


def test_an_event_of_the_past_that_the_changelog_has_not_stops_the_table(log: MemoryLog) -> None:
    old = created("a", v=0)
    table = taken(log, created("b", v=1), updated("b", v=2))
    log.write(TOPIC, 0, created("c", v=1), old)
    with pytest.raises(SourceReplaced) as stopped:
        replicate(table, log)
    assert 'partition 0, offset 3, key "a"' in stopped.value.where
    assert table.changelog.open(table.stream).offsets == {0: 2}, "nothing is dropped"


def test_letters_whose_keys_cannot_be_read_hold_no_event(log: MemoryLog) -> None:
    old, value = created("a", v=0), created("x")[1]
    letters = [(key, value) for key in (None, b"\xff\xfe", b"key", b"[1]", b'{"id":7}')]
    table = taken(log, created("b", v=1), *letters, updated("b", v=2))
    log.write(TOPIC, 0, old)
    with pytest.raises(SourceReplaced):
        replicate(table, log)


def test_each_partition_has_an_order_of_its_own(log: MemoryLog) -> None:
    early = created("a", v=0)
    table = taken(log, created("b", v=1))
    taken(log, early, table=table, partition=1)
    assert marks(table) == []


def test_what_a_snapshot_reads_again_is_a_row_as_before(log: MemoryLog) -> None:
    read = event("a", "r", {"_id": "a", "v": 7}, at=0)
    table = taken(log, created("a", v=1), updated("a", v=2))
    taken(log, read, read, table=table)
    assert marks(table) == []
    assert state(table) == {'"a"': 7}


def test_a_letter_sent_again_stays_the_one_that_is_open(log: MemoryLog) -> None:
    events = [created("a", v=1), updated("a", v="two"), updated("a", v=3), updated("b", v="two")]
    table = replica(log.topics[TOPIC].stream, values=Policy.QUARANTINE)
    taken(log, *events, *events, table=table)
    assert [each.offset for each in read_letters(table.letters, table.stream)] == [1, 3, 5, 7]
    kept = replica(table.stream, table.changelog, table.current, letters=table.letters)
    taken(log, *events, table=kept)
    assert marks(kept) == [4, 6, 8, 9, 10], "the last one has no row before"


@pytest.mark.parametrize("seed", range(20))
def test_letters_replayed_in_any_order_take_no_key_back(log: MemoryLog, seed: int) -> None:
    rng = Random(seed)
    events = [
        created("a", v=1), updated("a", v="two"), updated("a", v=3), updated("b", v="one"), updated("b", v=2)
    ]  # fmt: skip
    table = replica(log.topics[TOPIC].stream, values=Policy.QUARANTINE)
    taken(log, *events, *events, table=table)
    repaired = {(0, at): updated("a" if at in (1, 6) else "b", v=-1)[1] for at in (1, 3, 6, 8)}
    letters = list(read_letters(table.letters, table.stream))
    rng.shuffle(letters)
    for each in letters:
        value = with_time_of(each.value, repaired[0, each.offset])
        replay_letters(table, [each], {(0, each.offset): value})
        assert state(table) == {'"a"': 3, '"b"': 2}
    assert {5, 7, 9} <= set(marks(table)) <= {5, 6, 7, 8, 9}


def with_time_of(original: bytes | None, repaired: bytes | None) -> bytes:
    assert original
    assert repaired
    return orjson.dumps({**orjson.loads(repaired), "source": orjson.loads(original)["source"]})


def test_a_replay_of_offsets_marks_as_the_run_did(log: MemoryLog) -> None:
    events = [created("a", v=1), updated("a", v=2), deleted("a"), created("a", v=4)]
    whole = taken(log, *events, *events[:3])
    gaps = MemoryTable("memory://gaps")
    holed = replica(whole.stream, gaps, MemoryTable("memory://holed"))
    handle = gaps.open(holed.stream)
    kept = rows(whole.changelog, whole.stream).filter(pl.col(OFFSET).is_in([0, 3]))
    gaps.append(handle, kept, {0: Range(0, 7)}, {})
    replicate(holed, log)
    replay(holed, log, {0: Range(0, 7)})
    assert marks(holed) == marks(whole) == [4, 5, 6]
    assert state(holed) == {'"a"': 4}


def test_after_the_topic_has_grown_a_resend_into_another_partition_stops_nothing(log: MemoryLog) -> None:
    events = [created("a", v=1), updated("a", v=2)]
    table = taken(log, *events)
    log.add_partitions(TOPIC, 5)
    grown = replica(log.topics[TOPIC].stream, table.changelog, table.current, letters=table.letters)
    taken(log, updated("a", v=3), *events, table=grown, partition=4)
    assert state(grown) == {'"a"': 3}


def places(table: Replica, kind: Kind) -> Sequence[tuple[int, int]]:
    found = table.changelog if kind is Kind.CHANGELOG else table.current
    return rows(found, table.stream).select(PARTITION, OFFSET).rows()


def test_no_row_of_the_current_state_is_one_that_was_sent_again(log: MemoryLog) -> None:
    events = [created(n, v=n) for n in range(5)]
    table = taken(log, *events, *events)
    assert places(table, Kind.CURRENT) == places(table, Kind.CHANGELOG)[:5]
    assert not rows(table.current, table.stream)[RESENT].any()
