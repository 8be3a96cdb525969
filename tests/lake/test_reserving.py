"""Writers of one table let one another go first: a long commit beside short ones comes through."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cdc_platform.core.errors import Conflict
from cdc_platform.core.model import Handle
from cdc_platform.core.offsets import Range
from cdc_platform.lake.memory import MemoryTable
from cdc_platform.lake.reserving import LOOKS, LOSSES, PATIENCE, SPARE, Reserving
from tests.lake.rows import STREAM, fitted, row


class Time:
    """A clock that only waiting moves; whoever waits lets ``meanwhile`` happen once."""

    def __init__(self) -> None:
        self.now = 0.0
        self.meanwhile: Callable[[], object] = lambda: None

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        happens, self.meanwhile = self.meanwhile, lambda: None
        happens()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def table() -> MemoryTable:
    return MemoryTable("memory://orders")


def writer(table: MemoryTable, time: Time) -> Reserving:
    return Reserving(table, time.clock, time.sleep)


def commit(table: Reserving, handle: Handle) -> Handle:
    at = handle.offsets.get(0, 0)
    return table.append(handle, fitted(handle, [row(0, at, f"k{at}")]), {0: Range(at, at + 1)}, {})


def lose(loser: Reserving, winner: Reserving, times: int, time: Time, seconds: float = 0) -> None:
    for _ in range(times):
        late = loser.open(STREAM)
        commit(winner, winner.open(STREAM))
        time.now += seconds
        with pytest.raises(Conflict):
            commit(loser, late)


def test_a_writer_that_lost_again_and_again_is_let_go_first(table: MemoryTable, time: Time) -> None:
    slow, quick = writer(table, time), writer(table, time)
    lose(slow, quick, LOSSES, time)
    mine = slow.open(STREAM)
    time.meanwhile = lambda: commit(slow, mine)
    theirs = quick.open(STREAM)
    assert time.now == LOOKS, "it goes on as soon as the other has committed"
    assert theirs.version == mine.version + 1
    commit(quick, theirs)


def test_a_reservation_that_was_too_short_is_made_again(table: MemoryTable, time: Time) -> None:
    slow, quick = writer(table, time), writer(table, time)
    lose(slow, quick, LOSSES, time)
    mine = slow.open(STREAM)
    commit(quick, quick.open(STREAM))
    assert time.now == pytest.approx(SPARE, abs=2 * LOOKS)
    with pytest.raises(Conflict):
        commit(slow, mine)
    mine = slow.open(STREAM)
    time.meanwhile = lambda: commit(slow, mine)
    assert quick.open(STREAM).version == mine.version + 1


def test_what_others_have_under_way_is_refused_by_the_reservation(table: MemoryTable, time: Time) -> None:
    slow, quick = writer(table, time), writer(table, time)
    lose(slow, quick, LOSSES - 1, time)
    late = slow.open(STREAM)
    commit(quick, under_way := quick.open(STREAM))
    under_way = quick.open(STREAM)
    with pytest.raises(Conflict):
        commit(slow, late)
    with pytest.raises(Conflict):
        commit(quick, under_way)


def test_a_reservation_is_as_long_as_the_refused_attempts_ask_for(table: MemoryTable, time: Time) -> None:
    slow, quick = writer(table, time), writer(table, time)
    lose(slow, quick, LOSSES, time, seconds=20)
    reservation = table.open(STREAM).reservation
    assert reservation is not None
    assert reservation.seconds == 20 * PATIENCE + SPARE


def test_a_writer_that_was_killed_after_its_reservation_is_waited_for_once(
    table: MemoryTable, time: Time
) -> None:
    slow, quick = writer(table, time), writer(table, time)
    lose(slow, quick, LOSSES, time)
    quick.open(STREAM)
    waited = time.now
    handle = quick.open(STREAM)
    assert time.now == waited
    commit(quick, handle)


def test_nobody_waits_for_a_reservation_of_its_own(table: MemoryTable, time: Time) -> None:
    slow, quick = writer(table, time), writer(table, time)
    lose(slow, quick, LOSSES, time)
    commit(slow, slow.open(STREAM))
    assert time.now == 0


def test_a_commit_that_comes_through_forgets_the_losses(table: MemoryTable, time: Time) -> None:
    slow, quick = writer(table, time), writer(table, time)
    for _ in range(3):
        lose(slow, quick, LOSSES - 1, time)
        commit(slow, slow.open(STREAM))
    assert all("cdc.reservation" not in version.info for version in table.versions)
    assert len(table.versions) == 1 + 3 * LOSSES


def test_a_merge_and_an_exchange_are_reserved_for_as_well(table: MemoryTable, time: Time) -> None:
    slow, quick = writer(table, time), writer(table, time)
    for _ in range(LOSSES):
        late = slow.open(STREAM)
        commit(quick, quick.open(STREAM))
        with pytest.raises(Conflict):
            slow.replace(late, [], late.logical, {}, {})
    assert table.open(STREAM).reservation is not None
    late = slow.open(STREAM)
    quick.open(STREAM)
    commit(quick, quick.open(STREAM))
    with pytest.raises(Conflict):
        slow.merge(late, fitted(late, [row(0, 0, "k")]), {}, {})
    assert table.open(STREAM).reservation is not None
