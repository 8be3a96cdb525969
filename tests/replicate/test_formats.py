"""One table in two formats: one read and one decoding for both, and neither waits for the other's trouble."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from threading import Event
from typing import Any

import polars as pl
import pytest

from cdc_platform.core.errors import Terminal
from cdc_platform.core.model import Format, Handle, Kind, Receipt
from cdc_platform.core.offsets import Stream
from cdc_platform.decode.documents import Layout
from cdc_platform.lake.memory import MemoryTable
from cdc_platform.replicate import Batch, Drain, Failure, Outcome, Replica, Until
from cdc_platform.replicate.grouping import groups
from cdc_platform.replicate.lane import Lane
from tests.replicate.events import created, updated
from tests.replicate.shop import WrittenThrough, keys, replica, rows
from tests.replicate.test_drain import PATIENCE, QUICK, WatchedLog, hurried, outcomes, wait_until
from tests.replicate.test_drain import whole_changelog as caught_up

TOPIC, OTHER = "shop.shop.orders", "shop.shop.people"


@pytest.fixture
def log() -> WatchedLog:
    log = WatchedLog()
    for name in (TOPIC, OTHER):
        log.create(name)
    return log


def delta(log: WatchedLog, topic: str = TOPIC, **given: Any) -> Replica:
    return replica(log.topics[topic].stream, **{**QUICK, **given})


def iceberg(log: WatchedLog, topic: str = TOPIC, **given: Any) -> Replica:
    return replace(delta(log, topic, **given), format=Format.ICEBERG)


def fill(log: WatchedLog, first: int, count: int, topic: str = TOPIC) -> None:
    for n in range(first, first + count):
        log.write(topic, n % 3, created(n, v=n))


def drained(tables: list[Replica], log: WatchedLog) -> list[Outcome]:
    with Drain(tables, log, Until(caught_up=True)) as drain:
        return list(outcomes(drain))


def waiting_for(event: Event) -> Callable[[], None]:
    def wait() -> None:
        assert event.wait(PATIENCE)

    return wait


def test_both_are_filled_by_one_read_with_the_same_rows_and_their_own_offsets(log: WatchedLog) -> None:
    fill(log, 0, 60)
    log.write(TOPIC, 0, updated(0, v=1.5, new=[{"a": 1}, None]))
    both = [delta(log), iceberg(log)]
    found = drained(both, log)
    assert not [each for each in found if isinstance(each, Failure)]
    assert {each.format for each in found} == {Format.DELTA, Format.ICEBERG}
    assert len(log.readers) == 1
    for kind in Kind:
        one, two = (
            rows(each.changelog if kind is Kind.CHANGELOG else each.current, each.stream) for each in both
        )
        assert one.height == (61 if kind is Kind.CHANGELOG else 60)
        assert one.equals(two)
    assert all(caught_up(each, log) for each in both)


def test_a_batch_is_decoded_once_for_tables_with_the_same_columns(log: WatchedLog) -> None:
    fill(log, 0, 3)
    reader = log.reader({log.topics[TOPIC].stream: {}})
    [records] = reader.poll(1.0, 10)
    batch = Batch(records)  # type: ignore[arg-type]
    table = delta(log)
    columns = table.columns(table.changelog.open(table.stream))
    first = batch.decoded(table.decode, columns, table.rules, Layout())
    assert batch.decoded(table.decode, columns, table.rules, Layout()) is first
    wider = pl.Schema({**columns, "v": pl.Int64()})
    assert batch.decoded(table.decode, wider, table.rules, Layout()) is not first


@pytest.mark.parametrize("kind", list(Kind))
def test_one_that_fails_leaves_the_other_going_and_goes_on_from_its_own_offsets(
    log: WatchedLog, kind: Kind
) -> None:
    broken = Event()

    def fail() -> None:
        if broken.is_set():
            raise Terminal("no", remedy="none")

    table: dict[str, Any] = {kind.value: WrittenThrough("memory://broken", fail)}
    both = [delta(log), iceberg(log, **table)]
    fill(log, 0, 30)
    drained(both, log)
    broken.set()
    fill(log, 30, 30)
    failures = [each for each in drained(both, log) if isinstance(each, Failure)]
    assert [(each.table, each.format, each.kind) for each in failures] == [("orders", Format.ICEBERG, kind)]
    assert len(keys(both[0].current, both[0].stream)) == 60
    assert len(keys(both[1].current, both[1].stream)) == 30
    broken.clear()
    drained(both, log)
    assert len(keys(both[1].current, both[1].stream)) == 60


def test_one_that_is_stuck_is_left_behind_and_catches_up_by_itself(log: WatchedLog) -> None:
    go_on = Event()
    stuck = iceberg(log, changelog=WrittenThrough("memory://stuck", waiting_for(go_on)), batch_rows=5)
    both = [delta(log, batch_rows=5), stuck]
    fill(log, 0, 300)
    with Drain(both, log, Until(), clock=hurried) as drain:
        wait_until(lambda: caught_up(both[0], log))
        fill(log, 300, 30)
        wait_until(lambda: caught_up(both[0], log))
        assert not caught_up(stuck, log)
        go_on.set()
        wait_until(lambda: caught_up(stuck, log))
        assert len(log.readers) == 2
        fill(log, 330, 30)
        wait_until(lambda: all(caught_up(each, log) for each in both))
        drain.stop()
        found = list(outcomes(drain))
    assert not [each for each in found if isinstance(each, Failure)]
    for each in both:
        assert len(rows(each.changelog, each.stream)) == 360, "nothing is written twice"


def test_one_that_is_left_behind_and_then_fails_does_not_keep_the_drain_going(log: WatchedLog) -> None:
    go_on = Event()

    def wait_and_fail() -> None:
        assert go_on.wait(PATIENCE)
        raise Terminal("no", remedy="none")

    stuck = iceberg(log, changelog=WrittenThrough("memory://stuck", wait_and_fail), batch_rows=5)
    both = [delta(log, batch_rows=5), stuck]
    fill(log, 0, 300)
    with Drain(both, log, Until(idle=30), clock=hurried) as drain:
        wait_until(lambda: caught_up(both[0], log))
        go_on.set()
        found = list(outcomes(drain))
    assert [each.format for each in found if isinstance(each, Failure)] == [Format.ICEBERG]


def test_one_that_is_far_behind_is_read_for_by_itself(log: WatchedLog) -> None:
    fill(log, 0, 300)
    ahead, behind = delta(log, batch_rows=20), iceberg(log, batch_rows=20)
    drained([ahead], log)
    log.readers.clear()
    fill(log, 300, 10)
    receipts = [each for each in drained([ahead, behind], log) if isinstance(each, Receipt)]
    assert len(log.readers) == 2
    assert sum(each.rows_in for each in receipts if each.kind is Kind.CHANGELOG) == 310 + 10
    assert keys(behind.current, behind.stream) == keys(ahead.current, ahead.stream)


def test_near_ones_share_a_read_also_if_one_stands_a_little_behind(log: WatchedLog) -> None:
    fill(log, 0, 30)
    ahead, behind = delta(log), iceberg(log)
    drained([ahead], log)
    log.readers.clear()
    fill(log, 30, 30)
    drained([ahead, behind], log)
    assert len(log.readers) == 1
    for each in (ahead, behind):
        assert len(keys(each.changelog, each.stream)) == 60, "nothing is written twice"


class SlowToOpen(MemoryTable):
    """As if its catalog did not answer."""

    def __init__(self, uri: str, before: Callable[[], None]) -> None:
        super().__init__(uri)
        self._before = before

    def open(self, stream: Stream) -> Handle:
        self._before()
        return super().open(stream)


def test_one_that_cannot_be_opened_does_not_keep_the_other_waiting(log: WatchedLog) -> None:
    answer = Event()
    slow = iceberg(log, changelog=SlowToOpen("memory://slow", waiting_for(answer)))
    both = [delta(log), slow, delta(log, OTHER)]
    fill(log, 0, 30)
    fill(log, 0, 30, OTHER)
    with Drain(both, log, Until(), clock=hurried) as drain:
        wait_until(lambda: caught_up(both[0], log) and caught_up(both[2], log))
        answer.set()
        wait_until(lambda: caught_up(slow, log))
        drain.stop()
    assert len(keys(slow.changelog, slow.stream)) == 30


def test_a_drain_that_is_stopped_does_not_wait_for_one_to_board(log: WatchedLog) -> None:
    answer = Event()
    slow = iceberg(log, changelog=SlowToOpen("memory://slow", waiting_for(answer)))
    with Drain([slow], log, Until()) as drain:
        drain.stop()
        answer.set()
    assert not drain.running


def test_what_one_has_lost_to_retention_does_not_stop_the_other(log: WatchedLog) -> None:
    fill(log, 0, 30)
    ahead = delta(log)
    drained([ahead], log)
    for partition in range(3):
        log.retain_from(TOPIC, partition, 5)
    fill(log, 30, 3)
    late = iceberg(log)
    failures = [each for each in drained([ahead, late], log) if isinstance(each, Failure)]
    assert [each.format for each in failures] == [Format.ICEBERG]
    assert len(keys(ahead.current, ahead.stream)) == 33


def test_tables_are_grouped_by_where_they_stand(log: WatchedLog) -> None:
    one, two, three = (
        Lane(delta(log, batch_rows=10)),
        Lane(iceberg(log, batch_rows=10)),
        Lane(delta(log, OTHER)),
    )
    one.at, two.at, three.at = {0: 100, 1: 50}, {0: 95, 1: 50}, {0: 1}
    assert groups([one, two, three]) == [{TOPIC: [one, two], OTHER: [three]}]
    two.at = {0: 100}
    assert groups([one, two, three]) == [{TOPIC: [one], OTHER: [three]}, {TOPIC: [two]}]
    assert groups([]) == []
