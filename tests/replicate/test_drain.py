"""Many tables at once: nobody holds anybody back, nothing is lost, nothing ends in silence."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from threading import Event
from typing import Any

import pytest

from cdc_platform.core.errors import (
    CdcError,
    OffsetsLost,
    SchemaRefused,
    StreamReplaced,
    Terminal,
    Transient,
)
from cdc_platform.core.model import Kind, Policy, Receipt
from cdc_platform.core.offsets import Offsets, Ranges, Stream
from cdc_platform.lake.memory import MemoryTable
from cdc_platform.replicate import Drain, Failure, Outcome, Replica, Until, replicate
from tests.replicate.events import created, deleted, updated
from tests.replicate.memory_log import MemoryLog, MemoryReader
from tests.replicate.shop import WrittenThrough, keys, replica

QUICK: dict[str, Any] = {"changelog_age": 0.01, "current_age": 0.02}
NAMES = ("shop.shop.orders", "shop.shop.people", "shop.shop.items")
PATIENCE = 20.0
CAUGHT_UP = Until(caught_up=True)


class WatchedLog(MemoryLog):
    """Keeps the readers it gave out."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[MemoryReader] = []

    def reader(self, starts: Mapping[Stream, Offsets]) -> MemoryReader:
        self.readers.append(super().reader(starts))
        return self.readers[-1]


@pytest.fixture
def log() -> WatchedLog:
    log = WatchedLog()
    for name in NAMES:
        log.create(name)
    return log


def fill(log: MemoryLog, count: int = 30) -> None:
    for name in NAMES:
        for n in range(count):
            log.write(name, n % 3, created(n, v=n), None)


def tables(log: MemoryLog, **limits: Any) -> list[Replica]:
    return [replica(log.topics[name].stream, **{**QUICK, **limits}) for name in NAMES]


def outcomes(drain: Drain) -> Iterator[Outcome]:
    """All outcomes until the drain ends by itself."""
    began = time.monotonic()
    while drain.running:
        assert time.monotonic() - began < PATIENCE, "the drain ends"
        if outcome := drain.take(timeout=0.02):
            yield outcome


def all_of(replicas: list[Replica], log: MemoryLog, until: Until = CAUGHT_UP) -> list[Outcome]:
    with Drain(replicas, log, until) as drain:
        return list(outcomes(drain))


def receipts(found: list[Outcome]) -> list[Receipt]:
    assert not [each for each in found if isinstance(each, Failure)]
    return [each for each in found if isinstance(each, Receipt)]


def failures(found: list[Outcome]) -> dict[tuple[str, Kind], CdcError]:
    return {(each.table, each.kind): each.error for each in found if isinstance(each, Failure)}


def whole(each: Replica, log: MemoryLog) -> bool:
    ends = log.ends([each.stream])[each.stream.topic]
    return all(table.open(each.stream).offsets == ends for table in (each.changelog, each.current))


def wait_until(condition: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < PATIENCE
        time.sleep(0.005)


def test_all_tables_are_caught_up_and_every_receipt_adds_up(log: WatchedLog) -> None:
    fill(log)
    log.write(NAMES[0], 0, updated(0, v=1), deleted(3), None)
    replicas = tables(log)
    found = receipts(all_of(replicas, log))
    assert all(whole(each, log) for each in replicas)
    assert all(each.rows_in == sum(each.applied.values()) + each.superseded for each in found)
    assert sum(each.rows_in for each in found if each.kind is Kind.CHANGELOG) == 92
    assert sum(each.rows_in for each in found if each.kind is Kind.CURRENT) == 92
    assert len(keys(replicas[0].current, replicas[0].stream)) == 29
    assert log.readers[0].closed


def test_a_drain_with_nothing_to_do_ends_at_once(log: WatchedLog) -> None:
    assert all_of(tables(log), log) == []


def test_a_broker_that_has_just_come_back_is_asked_again() -> None:
    class Returning(WatchedLog):
        refused = False

        def available(self, streams: Sequence[Stream]) -> Mapping[str, Ranges]:
            if not self.refused:
                self.refused = True
                raise Transient("no leader was found", remedy="wait for the brokers")
            return super().available(streams)

    returning = Returning()
    for name in NAMES:
        returning.create(name)
    fill(returning)
    replicas = tables(returning)
    assert failures(all_of(replicas, returning)) == {}
    assert all(whole(each, returning) for each in replicas)


def test_no_changelog_commit_holds_more_rows_than_it_may(log: WatchedLog) -> None:
    fill(log, 100)
    found = receipts(all_of(tables(log, batch_rows=10), log))
    assert max(each.rows_in for each in found if each.kind is Kind.CHANGELOG) <= 10


def test_a_table_that_fails_does_not_hold_the_others_back(log: WatchedLog) -> None:
    fill(log)
    log.write(NAMES[1], 0, created("x", v="text"))
    replicas = tables(log, values=Policy.REFUSE)
    found = failures(all_of(replicas, log))
    assert [(table, kind, type(e)) for (table, kind), e in found.items()] == [
        ("people", Kind.CHANGELOG, SchemaRefused)
    ]
    assert [whole(each, log) for each in replicas] == [True, False, True]


def hurried() -> float:
    """A clock on which half a minute passes in a third of a second."""
    return time.monotonic() * 100


def test_a_table_that_is_held_is_neither_read_nor_merged_until_it_is_released(log: WatchedLog) -> None:
    fill(log)
    replicas = tables(log)
    held = {"people"}
    with Drain(replicas, log, Until(), held=held.__contains__) as drain:
        wait_until(lambda: whole(replicas[0], log) and whole(replicas[2], log))
        assert not replicas[1].changelog.open(replicas[1].stream).offsets
        held.clear()
        wait_until(lambda: whole(replicas[1], log))
        held.add("people")
        wait_until(lambda: log.readers[0].paused == {NAMES[1]})
        log.write(NAMES[1], 0, created("late"))
        log.write(NAMES[0], 0, created("late"))
        wait_until(lambda: whole(replicas[0], log))
        assert not whole(replicas[1], log)
        drain.stop()


def test_what_is_held_does_not_keep_a_drain_from_ending(log: WatchedLog) -> None:
    fill(log)
    replicas = tables(log)
    with Drain(replicas, log, CAUGHT_UP, held=lambda name: name == "people") as drain:
        list(outcomes(drain))
    assert [whole(each, log) for each in replicas] == [True, False, True]


def test_a_topic_that_is_gone_stops_its_table_alone(log: WatchedLog) -> None:
    fill(log)
    replicas = tables(log)
    log.delete(NAMES[1])
    found = failures(all_of(replicas, log))
    assert list(found) == [("people", Kind.CHANGELOG)]
    assert "does not exist any more" in str(found["people", Kind.CHANGELOG])
    assert [whole(each, log) for each in (replicas[0], replicas[2])] == [True, True]


def test_a_topic_made_again_under_a_reader_stops_its_table_alone(log: WatchedLog) -> None:
    fill(log)
    replicas = tables(log)
    with Drain(replicas, log, Until(), clock=hurried) as drain:
        wait_until(lambda: all(whole(each, log) for each in replicas))
        log.create(NAMES[1])
        found = []
        wait_until(lambda: found.append(drain.take(0.02)) or any(isinstance(e, Failure) for e in found))
        log.write(NAMES[0], 0, created("late"))
        wait_until(lambda: whole(replicas[0], log))
        drain.stop()
    [failure] = [each for each in found if isinstance(each, Failure)]
    assert (failure.table, type(failure.error)) == ("people", StreamReplaced)


def test_a_drain_whose_topic_gets_more_partitions_ends_and_the_next_reads_them_all(
    log: WatchedLog,
) -> None:
    fill(log)
    with Drain(tables(log), log, Until(), clock=hurried) as drain:
        log.add_partitions(NAMES[0], 5)
        receipts(list(outcomes(drain)))
    replicas = tables(log)
    log.write(NAMES[0], 3, created("wide"))
    log.write(NAMES[0], 4, created("wider"))
    all_of(replicas, log)
    assert all(whole(each, log) for each in replicas)


def test_a_topic_that_cannot_be_read_stops_its_table_alone(log: WatchedLog) -> None:
    fill(log)
    log.retain_from(NAMES[0], 1, 3)
    replicas = tables(log)
    found = failures(all_of(replicas, log))
    assert list(found) == [("orders", Kind.CHANGELOG)]
    assert isinstance(found["orders", Kind.CHANGELOG], OffsetsLost)
    assert [whole(each, log) for each in replicas] == [False, True, True]


def test_what_was_read_of_a_topic_before_it_stopped_is_committed(log: WatchedLog) -> None:
    fill(log)
    replicas = tables(log)
    with Drain(replicas, log, Until(idle=0.5)) as drain:
        wait_until(lambda: bool(keys(replicas[0].changelog, replicas[0].stream)))
        log.stop(NAMES[0], OffsetsLost("gone", where=NAMES[0], remedy="take a new snapshot"))
        for n in range(5):
            log.write(NAMES[1], 0, created(100 + n))
        found = failures(list(outcomes(drain)))
    assert list(found) == [("orders", Kind.CHANGELOG)]
    assert [whole(each, log) for each in replicas][1:] == [True, True]
    assert len(keys(replicas[0].changelog, replicas[0].stream)) == 30


def test_a_current_table_that_fails_leaves_its_changelog_going(log: WatchedLog) -> None:
    fill(log)

    def fail() -> None:
        raise Terminal("no", remedy="none")

    first = log.topics[NAMES[0]].stream
    replicas = [replica(first, current=WrittenThrough("memory://x", fail), **QUICK), *tables(log)[1:]]
    found = failures(all_of(replicas, log))
    assert list(found) == [("orders", Kind.CURRENT)]
    assert len(keys(replicas[0].changelog, first)) == 30
    assert [whole(each, log) for each in replicas[1:]] == [True, True]


class Panic(BaseException):
    """As libraries written in Rust raise it: not an Exception."""


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("error", [Panic("index out of bounds"), KeyError("x")])
def test_a_panic_in_a_worker_is_a_failure_of_its_table(
    log: WatchedLog, kind: Kind, error: BaseException
) -> None:
    fill(log)

    def fail() -> None:
        raise error

    first = log.topics[NAMES[0]].stream
    panicking: dict[str, Any] = {kind.value: WrittenThrough("memory://x", fail)}
    broken = replica(first, **panicking, **QUICK)
    replicas = [broken, *tables(log)[1:]]
    found = failures(all_of(replicas, log))
    assert list(found) == [("orders", kind)]
    assert found["orders", kind].remedy
    assert [whole(each, log) for each in replicas[1:]] == [True, True]


def test_a_store_that_cannot_be_read_is_trouble_that_passes(log: WatchedLog) -> None:
    fill(log)
    broken = [OSError("connection reset")] * 5

    def fail() -> None:
        if broken:
            raise broken.pop()

    first = log.topics[NAMES[0]].stream
    table = replica(first, current=WrittenThrough("memory://x", fail), **QUICK)
    [failure] = failures(all_of([table], log)).values()
    assert isinstance(failure, Transient)
    assert "connection reset" in str(failure)
    assert failures(all_of([table], log)) == {}
    assert whole(table, log)


@pytest.mark.parametrize(
    ("error", "raised"),
    [(Transient("no broker", remedy="x"), Transient), (KeyError("x"), Terminal), (Panic("p"), Terminal)],
)
def test_what_ends_the_reader_is_raised_and_never_looks_like_success(
    log: WatchedLog, error: BaseException, raised: type[CdcError]
) -> None:
    fill(log)
    log.fail(error)
    with Drain(tables(log), log, Until(caught_up=True)) as drain, pytest.raises(raised):
        list(outcomes(drain))


def test_stopping_loses_nothing(log: WatchedLog) -> None:
    fill(log)
    replicas = tables(log, changelog_age=60, current_age=60)
    with Drain(replicas, log, Until()) as drain:
        wait_until(lambda: bool(log.readers))
        time.sleep(0.1)
        drain.stop()
        found = receipts(list(outcomes(drain)))
    assert all(each.kind is Kind.CHANGELOG for each in found), "what is left to merge is for the next run"
    fill(log)
    for each in replicas:
        replicate(each, log)
        assert whole(each, log)
        assert len(keys(each.changelog, each.stream)) == 60


def test_leaving_the_context_waits_for_the_commit_that_is_under_way(log: WatchedLog) -> None:
    log.write(NAMES[0], 0, created("a"))
    entered, go_on = Event(), Event()

    def wait() -> None:
        entered.set()
        assert go_on.wait(PATIENCE)

    stream = log.topics[NAMES[0]].stream
    only = replica(stream, changelog=WrittenThrough("memory://slow", wait), **QUICK)
    with Drain([only], log, Until()) as drain:
        assert entered.wait(PATIENCE)
        drain.stop()
        go_on.set()
    assert keys(only.changelog, stream) == ['"a"']
    assert not [t for t in drain._threads if t.is_alive()]


def test_a_table_that_cannot_keep_up_is_paused_and_others_go_on(log: WatchedLog) -> None:
    go_on = Event()

    def wait() -> None:
        assert go_on.wait(PATIENCE)

    first = log.topics[NAMES[0]].stream
    slow = replica(first, changelog=WrittenThrough("memory://slow", wait), batch_rows=5, **QUICK)
    others = tables(log, batch_rows=5)[1:]
    fill(log, 100)
    with Drain([slow, *others], log, Until(caught_up=True)) as drain:
        wait_until(lambda: bool(log.readers) and NAMES[0] in log.readers[0].paused)
        wait_until(lambda: all(whole_changelog(each, log) for each in others))
        assert NAMES[0] in log.readers[0].paused
        held = next(lane.taker for lane in drain._lanes if lane.topic == NAMES[0])
        assert held
        assert held._inbox._open.rows + held._held.rows <= 2 * 5 + 5, "held rows are bounded"
        go_on.set()
        receipts(list(outcomes(drain)))
    assert whole(slow, log)
    assert len(keys(slow.changelog, first)) == 100


def whole_changelog(each: Replica, log: MemoryLog) -> bool:
    return each.changelog.open(each.stream).offsets == log.ends([each.stream])[each.stream.topic]


def test_offsets_without_rows_are_committed_to_both_tables(log: WatchedLog) -> None:
    log.write(NAMES[0], 0, created("a"), None, None)
    log.write(NAMES[0], 2, None)
    replicas = tables(log)
    receipts(all_of(replicas, log))
    assert replicas[0].changelog.open(replicas[0].stream).offsets == {0: 3, 2: 1}
    assert replicas[0].current.open(replicas[0].stream).offsets == {0: 3, 2: 1}


def test_an_idle_drain_ends(log: WatchedLog) -> None:
    fill(log, 3)
    replicas = tables(log)
    receipts(all_of(replicas, log, Until(idle=0.2)))
    assert all(whole(each, log) for each in replicas)


def test_a_drain_out_of_time_leaves_the_merging_to_its_successor(log: WatchedLog) -> None:
    fill(log, 3)
    replicas = tables(log, current_age=60)
    found = receipts(all_of(replicas, log, Until(seconds=0.3)))
    assert {each.kind for each in found} == {Kind.CHANGELOG}
    assert all(whole_changelog(each, log) for each in replicas)


def test_a_staying_drain_merges_what_its_predecessor_left(log: WatchedLog) -> None:
    """Without a new record: otherwise the current state would stay behind until one comes."""
    fill(log, 3)
    [first, *_] = tables(log, current_age=60)
    all_of([first], log, Until(seconds=0.3))
    assert keys(first.current, first.stream) == []
    successor = replace(first, limits=first.limits.model_copy(update={"current_age": 0.02}))
    with Drain([successor], log, Until()) as drain:
        wait_until(lambda: whole(successor, log))
        drain.stop()


def test_a_table_that_is_changed_all_the_time_is_not_merged_all_the_time(log: WatchedLog) -> None:
    """Other writers of the current state would never come through."""
    [name, *_] = NAMES
    log.write(name, 0, created(0, v=0), None)
    stream = log.topics[name].stream

    def changed_meanwhile() -> None:
        before = changelog.open(stream).version
        log.write(name, 0, updated(0, v=before), None)
        wait_until(lambda: changelog.open(stream).version > before)

    changelog, current = MemoryTable("memory://changes"), WrittenThrough("memory://orders", changed_meanwhile)
    table = replica(stream, changelog, current, changelog_age=0.01, current_age=60)
    all_of([replace(table, kinds=frozenset({Kind.CHANGELOG}))], log)
    found = receipts(all_of([table], log, Until(seconds=1)))
    assert [each.kind for each in found].count(Kind.CURRENT) == 1


@pytest.mark.parametrize("kind", list(Kind))
def test_a_table_may_want_one_kind_only(log: WatchedLog, kind: Kind) -> None:
    fill(log, 9)
    [full, *_] = tables(log)
    only = replace(full, kinds=frozenset({kind}))
    found = receipts(all_of([only], log))
    match kind:
        case Kind.CHANGELOG:
            assert {each.kind for each in found} == {Kind.CHANGELOG}
            assert whole_changelog(only, log)
            assert isinstance(only.current, MemoryTable)
            assert not only.current.exists()
        case Kind.CURRENT:
            assert found == []
            all_of([replace(full, kinds=frozenset({Kind.CHANGELOG}))], log)
            caught_up = receipts(all_of([only], log))
            assert {each.kind for each in caught_up} == {Kind.CURRENT}
            assert whole(only, log)


def test_two_drains_of_the_same_tables_write_everything_once(log: WatchedLog) -> None:
    fill(log, 60)
    replicas = tables(log, batch_rows=7, attempts=200)
    with (
        Drain(replicas, log, Until(caught_up=True)) as one,
        Drain(replicas, log, Until(caught_up=True)) as two,
    ):
        found = [*receipts(list(outcomes(one))), *receipts(list(outcomes(two)))]
    assert sum(each.rows_in for each in found if each.kind is Kind.CHANGELOG) == 180
    for each in replicas:
        assert whole(each, log)
        assert len(keys(each.changelog, each.stream)) == 60
        assert len(keys(each.current, each.stream)) == 60
