"""Batches close by rows, bytes or age, and join up; time is the test's."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Thread

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from cdc_platform.core.model import RECORD_SCHEMA, Limits, Records
from cdc_platform.core.offsets import Range, Stream
from cdc_platform.replicate.batch import Batch, joined
from cdc_platform.replicate.inbox import ADVANCE_AGE, Inbox, Taker

STREAM = Stream("cluster", "shop.shop.orders", "uuid-1", 2)


@dataclass(slots=True)
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def records(start: int, rows: int, *, size: int = 10, holes: int = 0, partition: int = 0) -> Records:
    """``rows`` records of ``size`` bytes and then ``holes`` offsets without one."""
    frame = pl.DataFrame(
        [(partition, start + n, 0, b"k", b"v" * size) for n in range(rows)],
        schema=RECORD_SCHEMA,
        orient="row",
    )
    return Records(STREAM, frame, {partition: Range(start, start + rows + holes)})


class Box(Inbox):
    """An inbox with one taker, whose batches are looked at."""

    def __init__(self, clock: Clock, limits: Limits) -> None:
        super().__init__(limits, clock)
        self.only = self.taker()

    @property
    def full(self) -> bool:
        return self.only.full


def inbox(clock: Clock, **limits: float) -> Box:
    return Box(clock, Limits.model_validate(limits))


def due(box: Box) -> Records | None:
    """What ``take`` gives at once, or None if nothing is due."""
    return taken(box) if box._due() else None


def taken(box: Box) -> Records | None:
    batch = box.only.take()
    return batch and batch.records


def test_a_batch_is_due_by_its_rows() -> None:
    box = inbox(Clock(), batch_rows=10, changelog_age=60)
    box.put(records(0, 9))
    assert due(box) is None
    box.put(records(9, 1))
    batch = due(box)
    assert batch
    assert (batch.frame.height, batch.ranges) == (10, {0: Range(0, 10)})


def test_a_batch_is_due_by_its_bytes() -> None:
    box = inbox(Clock(), batch_bytes=5_000, changelog_age=60)
    box.put(records(0, 1, size=4_000))
    assert due(box) is None
    box.put(records(1, 1, size=4_000))
    first = due(box)
    assert first
    assert first.ranges == {0: Range(0, 1)}


def test_a_batch_is_due_by_the_age_of_its_first_row() -> None:
    clock = Clock()
    box = inbox(clock, changelog_age=1.0)
    box.put(records(0, 1))
    clock.now += 0.9
    box.put(records(1, 1))
    assert due(box) is None
    clock.now += 0.1
    batch = due(box)
    assert batch
    assert batch.ranges == {0: Range(0, 2)}


def test_offsets_without_rows_wait_longer() -> None:
    clock = Clock()
    box = inbox(clock, changelog_age=1.0)
    box.put(records(0, 0, holes=1))
    clock.now += ADVANCE_AGE - 0.1
    assert due(box) is None
    clock.now += 0.1
    batch = due(box)
    assert batch
    assert batch.frame.is_empty()
    assert batch.ranges == {0: Range(0, 1)}


def test_rows_take_offsets_without_rows_along() -> None:
    clock = Clock()
    box = inbox(clock, changelog_age=1.0)
    box.put(records(0, 0, holes=1))
    box.put(records(1, 2, holes=1))
    box.put(records(0, 0, holes=4, partition=1))
    clock.now += 1.0
    batch = due(box)
    assert batch
    assert batch.ranges == {0: Range(0, 4), 1: Range(0, 4)}


def test_a_batch_holds_at_most_the_rows_it_may() -> None:
    box = inbox(Clock(), batch_rows=10)
    for n in range(6):
        box.put(records(n * 4, 4))
    box.close()
    sizes = []
    while batch := taken(box):
        sizes.append(batch.frame.height)
    assert sizes == [8, 8, 8]


def test_one_delivery_larger_than_a_batch_is_still_taken() -> None:
    box = inbox(Clock(), batch_rows=10)
    box.put(records(0, 25))
    batch = due(box)
    assert batch
    assert batch.frame.height == 25


def test_an_inbox_is_full_at_twice_a_batch() -> None:
    box = inbox(Clock(), batch_rows=10, batch_bytes=10_000)
    box.put(records(0, 19))
    assert not box.full
    box.put(records(19, 1))
    assert box.full
    assert taken(box)
    box.put(records(20, 1, size=30_000))
    assert box.full


def test_closing_gives_out_what_is_held_and_then_nothing() -> None:
    box = inbox(Clock(), changelog_age=60)
    box.put(records(0, 3))
    box.close()
    batch = taken(box)
    assert batch
    assert batch.frame.height == 3
    assert taken(box) is None
    assert taken(box) is None


def test_a_waiting_taker_is_woken_by_a_full_batch() -> None:
    box = inbox(Clock(), batch_rows=5, changelog_age=60)
    found: list[Records | None] = []
    waiting = Thread(target=lambda: found.append(taken(box)))
    waiting.start()
    box.put(records(0, 5))
    waiting.join(timeout=10)
    assert found
    assert found[0]
    assert found[0].frame.height == 5


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6), st.integers(0, 2)), max_size=20),
    st.integers(1, 12),
)
def test_batches_join_up_whatever_was_put(puts: list[tuple[int, int, int]], batch_rows: int) -> None:
    box = inbox(Clock(), batch_rows=batch_rows)
    ends = {0: 0, 1: 0}
    put = []
    for partition, rows, holes in puts:
        if rows + holes:
            put.append(records(ends[partition], rows, holes=holes, partition=partition))
            ends[partition] += rows + holes
            box.put(put[-1])
    box.close()
    position, frames = {0: 0, 1: 0}, []
    while batch := taken(box):
        for partition, covered in batch.ranges.items():
            assert covered.start == position[partition]
            position[partition] = covered.end
        frames.append(batch.frame)
    assert position == ends
    everything = pl.concat([pl.DataFrame(schema=RECORD_SCHEMA), *(each.frame for each in put)])
    assert pl.concat([pl.DataFrame(schema=RECORD_SCHEMA), *frames]).equals(everything)


def test_joined_keeps_the_first_start_and_the_last_end_of_each_partition() -> None:
    whole = joined([records(0, 2), records(5, 1, partition=1), records(2, 3)])
    assert whole.ranges == {0: Range(0, 5), 1: Range(5, 6)}
    assert whole.frame["offset"].to_list() == [0, 1, 5, 2, 3, 4]


def test_takers_that_keep_up_get_the_same_batches() -> None:
    box = Inbox(Limits(batch_rows=5), Clock())
    one, two = box.taker(), box.taker()
    for n in range(3):
        box.put(records(n * 5, 5))
        first, second = one.take(), two.take()
        assert first is not None
        assert first is second
        assert first.records.ranges == {0: Range(n * 5, n * 5 + 5)}


def test_a_slower_taker_gets_several_batches_as_one_and_nothing_twice() -> None:
    box = Inbox(Limits(batch_rows=10, changelog_age=0), Clock())
    one, two = box.taker(), box.taker()
    for n in range(6):
        box.put(records(n * 4, 4))
        assert one.take()
    box.close()
    assert [each.records.ranges[0] for each in everything(two)] == [Range(0, 8), Range(8, 16), Range(16, 24)]
    assert one.take() is None


def test_only_the_taker_that_is_slow_is_full_and_it_may_leave() -> None:
    box = Inbox(Limits(batch_rows=10, changelog_age=0), Clock())
    one, two = box.taker(), box.taker()
    for n in range(5):
        box.put(records(n * 4, 4))
        assert one.take()
    assert (one.full, two.full) == (False, True)
    two.leave()
    assert not two.full
    box.put(records(20, 4))
    assert one.take()
    box.close()
    assert two.take() is None


@given(st.lists(st.tuples(st.integers(1, 6), st.booleans(), st.booleans()), max_size=20), st.integers(1, 12))
def test_each_taker_gets_everything_in_order_whoever_takes_when(
    puts: list[tuple[int, bool, bool]], batch_rows: int
) -> None:
    box = Inbox(Limits(batch_rows=batch_rows, changelog_age=0), Clock())
    takers = (box.taker(), box.taker())
    found: tuple[list[Batch], list[Batch]] = ([], [])
    end = 0
    for rows, *takes in puts:
        box.put(records(end, rows))
        end += rows
        for taker, mine, now in zip(takers, found, takes, strict=True):
            if now and (batch := taker.take()):
                mine.append(batch)
    box.close()
    for taker, mine in zip(takers, found, strict=True):
        offsets = [
            offset for batch in [*mine, *everything(taker)] for offset in batch.records.frame["offset"]
        ]
        assert offsets == list(range(end))


def everything(taker: Taker) -> list[Batch]:
    """What a taker gets until the inbox is closed and empty."""
    found = []
    while batch := taker.take():
        found.append(batch)
    return found
