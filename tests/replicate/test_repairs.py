"""Deletes that the platform wrote itself: they delete the row they name, and never a later one."""

from __future__ import annotations

import orjson
import pytest

from cdc_platform.core.columns import OPERATION
from cdc_platform.core.model import Kind
from cdc_platform.reconcile import Orphans, deletes
from cdc_platform.replicate import Replica, replicate
from cdc_platform.verify.position import ClusterTime
from tests.replicate.events import created, updated
from tests.replicate.memory_log import MemoryLog
from tests.replicate.shop import keys, replica, rows

TOPIC = "shop.shop.orders"
AT = ClusterTime(1_790_000_100, 3)


@pytest.fixture
def log() -> MemoryLog:
    log = MemoryLog()
    log.create(TOPIC)
    return log


@pytest.fixture
def orders(log: MemoryLog) -> Replica:
    return replica(log.topics[TOPIC].stream)


def repair(log: MemoryLog, key: str, offset: int) -> None:
    [(partition, name, value)] = deletes(Orphans(AT, {key: (0, offset)}, 0))
    log.write(TOPIC, partition, (name, value))


def test_a_repair_is_a_delete_in_the_changelog_and_removes_the_row(log: MemoryLog, orders: Replica) -> None:
    log.write(TOPIC, 0, created(1), created(2))
    replicate(orders, log)
    repair(log, "1", 0)
    replicate(orders, log)
    assert keys(orders.current, orders.stream) == ["2"]
    assert rows(orders.changelog, orders.stream)[OPERATION].to_list() == ["c", "c", "d"]


@pytest.mark.parametrize("together", [True, False])
def test_a_repair_that_comes_after_a_newer_row_is_void(
    log: MemoryLog, orders: Replica, together: bool
) -> None:
    log.write(TOPIC, 0, created(1, v=1))
    replicate(orders, log)
    log.write(TOPIC, 0, updated(1, v=2))
    if not together:
        replicate(orders, log)
    repair(log, "1", 0)
    receipts = [each for each in replicate(orders, log) if each.kind is Kind.CHANGELOG]
    assert rows(orders.current, orders.stream)["v"].to_list() == [2]
    assert rows(orders.changelog, orders.stream)[OPERATION].to_list() == ["c", "u"]
    assert [(each.rows_in, each.superseded) for each in receipts] == [(2, 1) if together else (1, 1)]


def test_a_row_that_comes_back_after_its_repair_stays(log: MemoryLog, orders: Replica) -> None:
    log.write(TOPIC, 0, created(1, v=1))
    replicate(orders, log)
    repair(log, "1", 0)
    log.write(TOPIC, 0, created(1, v=3))
    repair(log, "1", 0)
    replicate(orders, log)
    assert rows(orders.current, orders.stream)["v"].to_list() == [3]


def test_a_repair_is_an_envelope_that_names_its_writer_and_the_position_it_is_true_at() -> None:
    [(partition, key, value)] = deletes(Orphans(AT, {'{"$oid": "65"}': (2, 17)}, 0))
    assert (partition, orjson.loads(key)) == (2, {"id": '{"$oid": "65"}'})
    event = orjson.loads(value)
    assert (event["op"], event["source"]["connector"], event["source"]["repairs"]) == (
        "d",
        "cdc-platform",
        17,
    )
    assert event["source"]["ts_ms"] == AT.seconds * 1000
