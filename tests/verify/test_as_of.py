"""The lake as of a position equals a replay of the events that had happened by then."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from cdc_platform.core.offsets import Range
from cdc_platform.verify.as_of import LakeState, Opened, as_of, last_offsets, live_keys, operations
from cdc_platform.verify.position import ClusterTime
from tests.verify.world import STREAM, Doc, Lake, Source, digests, replay, rows

DOCS = st.none() | st.builds(
    lambda v, name: {"v": v, "name": name}, st.none() | st.integers(0, 3), st.none() | st.text(max_size=2)
)
CHANGES = st.lists(st.tuples(st.integers(0, 5), DOCS, st.booleans()), max_size=25)


def opened(lake: Lake) -> tuple[Opened, Opened]:
    return (
        Opened(lake.changelog, lake.changelog.open(STREAM)),
        Opened(lake.current, lake.current.open(STREAM)),
    )


def at_position(lake: Lake, at: ClusterTime, since: dict[int, int] | None = None) -> LakeState:
    changelog, current = opened(lake)
    return as_of(changelog, current, at, since or {})


@given(CHANGES, st.data())
def test_any_position_below_the_barrier_gives_the_rows_of_that_moment(
    changes: list[tuple[int, Doc | None, bool]], data: st.DataObject
) -> None:
    source, lake = Source(), Lake()
    for key, doc, next_second in changes:
        source.second += next_second
        source.ord = 0 if next_second else source.ord
        source.change(key, doc if doc is None else {"_id": key, **doc})
    upto = data.draw(st.integers(0, len(changes)), label="events at T")
    known = data.draw(st.integers(0, upto), label="events in Kafka before T")
    taken = data.draw(st.integers(0, len(changes)), label="events of the first commit")
    lake.take(source.history[:taken])
    lake.take(source.history)
    at = source.history[upto - 1].at if upto else ClusterTime(0, 0)
    since = {p: 2 * sum(e.partition == p for e in source.history[:known]) for p in range(STREAM.partitions)}
    changelog, current = opened(lake)
    state = as_of(changelog, current, at, since)
    expected = replay(source.history[:upto])
    assert dict(state.digests()) == digests(expected)
    assert live_keys(changelog, current.handle.offsets, at, since) == len(expected)
    assert state.reverted == len({e.key for e in source.history[upto:]})
    assert not state.unfolded
    assert not state.contended


def test_a_row_of_an_initial_snapshot_is_visible_at_every_position() -> None:
    source, lake = Source(second=5_000), Lake()
    source.change(1, {"_id": 1, "v": 1}, operation="r")
    lake.take(source.history)
    state = at_position(lake, ClusterTime(10, 0))
    assert dict(state.digests()) == digests(replay(source.history))
    assert state.contended


def test_a_snapshot_row_that_kafka_had_before_the_position_is_not_contended() -> None:
    source, lake = Source(), Lake()
    source.change(1, {"_id": 1, "v": 1}, operation="r")
    lake.take(source.history)
    assert not at_position(lake, ClusterTime(10, 0), {1: 2}).contended


def test_an_incremental_snapshot_row_after_the_position_is_taken_back() -> None:
    source, lake = Source(), Lake()
    source.change(1, {"_id": 1, "v": 1})
    source.second += 1
    event = source.change(1, {"_id": 1, "v": 2}, operation="u")
    source.history[-1] = type(event)(1, "r", event.doc, ClusterTime(1_001, 7), event.partition, event.offset)
    lake.take(source.history)
    state = at_position(lake, source.history[0].at)
    assert dict(state.digests()) == digests({1: {"_id": 1, "v": 1}})


def test_an_event_that_kafka_had_before_the_position_is_visible_whatever_its_time() -> None:
    source, lake = Source(), Lake()
    source.change(1, {"_id": 1, "v": 1})
    source.second += 20
    source.change(1, {"_id": 1, "v": 2})
    lake.take(source.history)
    state = at_position(lake, source.history[0].at, {0: 0, 1: 4, 2: 0})
    assert dict(state.digests()) == digests({1: {"_id": 1, "v": 2}})


def test_a_key_taken_back_goes_to_the_last_event_that_kafka_had_before_the_position() -> None:
    source, lake = Source(), Lake()
    source.change(1, {"_id": 1, "v": 1})
    for value in (2, 3):
        source.second += 20
        source.change(1, {"_id": 1, "v": value})
    lake.take(source.history)
    state = at_position(lake, source.history[0].at, {0: 0, 1: 4, 2: 0})
    assert dict(state.digests()) == digests({1: {"_id": 1, "v": 2}})


def test_counts_and_last_offsets_come_from_the_changelog() -> None:
    source, lake = Source(), Lake()
    source.change(1, {"_id": 1}, operation="c")
    source.change(1, {"_id": 1, "v": 2})
    source.change(1, None)
    lake.take(source.history)
    changelog, _ = opened(lake)
    assert operations(changelog) == {"c": 1, "d": 1, "u": 1}
    assert last_offsets(changelog, {"1", "9"}) == {"1": (1, 4)}


def test_the_order_of_rows_in_the_lake_does_not_matter() -> None:
    source, lake = Source(), Lake()
    for value in range(4):
        source.change(1, {"_id": 1, "v": value})
    lake.take(source.history)
    lake.damage(lake.changelog, lambda rows: rows.reverse())
    state = at_position(lake, source.history[1].at)
    assert dict(state.digests()) == digests({1: {"_id": 1, "v": 1}})
    assert not state.unfolded


def test_a_key_that_moved_to_another_partition_is_ordered_by_position() -> None:
    source, lake = Source(), Lake()
    for value in range(3):
        source.change(1, {"_id": 1, "v": value})
    moved = [replace(source.history[0], partition=2, offset=10), *source.history[1:]]
    handle = lake.changelog.open(STREAM)
    lake.changelog.append(handle, rows(moved), {1: Range(0, 6), 2: Range(0, 12)}, {})
    lake.current.append(lake.current.open(STREAM), rows(moved[-1:]), {1: Range(0, 6), 2: Range(0, 12)}, {})
    state = at_position(lake, source.history[1].at)
    assert dict(state.digests()) == digests({1: {"_id": 1, "v": 1}})
    assert not state.unfolded
