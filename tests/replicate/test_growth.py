"""A topic that gets more partitions while its table is filled: keys move, also between old partitions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cdc_platform.core.columns import KEY, PARTITION
from cdc_platform.core.model import Kind
from cdc_platform.core.ports import LakeTable
from cdc_platform.lake.delta.table import DeltaLakeTable
from cdc_platform.lake.memory import MemoryTable
from cdc_platform.replicate import merge_changes, replicate
from tests.replicate.events import event
from tests.replicate.memory_log import MemoryLog, Visible
from tests.replicate.shop import replica, rows

TOPIC = "shop.shop.orders"
Tables = Callable[[Kind], LakeTable]


@pytest.fixture(params=["memory", "delta"])
def tables(request: pytest.FixtureRequest, tmp_path: Path) -> Tables:
    """Gives the same two tables again and again."""
    made: dict[Kind, LakeTable] = {
        kind: MemoryTable(kind) if request.param == "memory" else DeltaLakeTable(tmp_path / kind, kind)
        for kind in Kind
    }
    return made.__getitem__


@pytest.fixture
def log() -> MemoryLog:
    log = MemoryLog()
    log.create(TOPIC, partitions=2)
    return log


def change(v: int, operation: str = "u") -> Visible:
    return event(1, operation, None if operation == "d" else {"_id": 1, "v": v}, {"_id": 1}, at=v)


def test_what_a_run_took_for_the_last_change_before_it_knew_is_made_good_by_the_next(
    log: MemoryLog, tables: Tables
) -> None:
    log.write(TOPIC, 1, change(0, "c"), change(1))
    unaware = replica(log.topics[TOPIC].stream, tables(Kind.CHANGELOG), tables(Kind.CURRENT))
    log.add_partitions(TOPIC, 3)
    log.write(TOPIC, 0, change(2))
    replicate(unaware, log)
    assert rows(tables(Kind.CURRENT), unaware.stream)["v"].to_list() == [1], "by its offsets"
    aware = replica(log.topics[TOPIC].stream, tables(Kind.CHANGELOG), tables(Kind.CURRENT))
    replicate(aware, log)
    assert rows(tables(Kind.CURRENT), aware.stream)["v"].to_list() == [2]


def test_a_run_that_knows_the_topic_as_it_was_does_not_take_a_key_back(
    log: MemoryLog, tables: Tables
) -> None:
    """It merges what lies in the old partition after another run has merged the new one."""
    log.write(TOPIC, 0, change(0, "c"), change(1))
    changelog, current = tables(Kind.CHANGELOG), tables(Kind.CURRENT)
    unaware = replica(log.topics[TOPIC].stream, changelog, current, current_rows=1)
    current.open(unaware.stream)
    replicate(replica(unaware.stream, changelog, MemoryTable("memory://elsewhere")), log)
    log.add_partitions(TOPIC, 4)
    log.write(TOPIC, 3, change(2, "d"))
    aware = replica(log.topics[TOPIC].stream, changelog, current, current_rows=1)
    replicate(replica(aware.stream, changelog, MemoryTable("memory://elsewhere")), log)
    assert merge_changes(aware)
    while merge_changes(unaware):
        assert not rows(current, unaware.stream).height, "the deleted row does not come alive"
    assert current.open(unaware.stream).offsets == {0: 2, 2: 0, 3: 1}


def test_a_table_learns_of_new_partitions_once(log: MemoryLog) -> None:
    log.write(TOPIC, 0, change(0, "c"))
    changelog, current = MemoryTable("memory://changelog"), MemoryTable("memory://current")
    replicate(replica(log.topics[TOPIC].stream, changelog, current), log)
    log.add_partitions(TOPIC, 4)
    for _ in range(3):
        replicate(replica(log.topics[TOPIC].stream, changelog, current), log)
    assert [version.offsets for version in current.versions] == [{}, {0: 1}, {0: 1, 2: 0, 3: 0}]
    assert rows(current, log.topics[TOPIC].stream).select(KEY, PARTITION).rows() == [("1", 0)]
