"""The current state with the changelog's tail is the fold of the whole changelog, at any moment."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyiceberg.catalog.sql import SqlCatalog

from cdc_platform.core.columns import DELETE, KEY, OFFSET, OPERATION, PARTITION, POSITION, RESENT
from cdc_platform.core.errors import OffsetsLost, StreamReplaced
from cdc_platform.core.model import Handle, Kind, Records
from cdc_platform.core.offsets import Ranges
from cdc_platform.lake.delta.lake import DeltaLake
from cdc_platform.lake.iceberg.table import IcebergLakeTable
from cdc_platform.lake.memory import MemoryTable
from cdc_platform.reading.tail import state
from cdc_platform.replicate import Batch, append_changes, merge_changes
from tests.replicate.events import event
from tests.replicate.memory_log import MemoryLog, Visible
from tests.replicate.shop import replica

TOPIC = "shop.shop.orders"
KEYS = 5


Makes = Callable[[Kind], Any]


def in_memory(folder: Path, stack: ExitStack) -> Makes:
    return lambda kind: MemoryTable(f"memory://{kind}")


def in_delta(folder: Path, stack: ExitStack) -> Makes:
    return lambda kind: DeltaLake(folder).table(("shop", kind), kind)


def in_iceberg(folder: Path, stack: ExitStack) -> Makes:
    catalog = SqlCatalog("lake", uri=f"sqlite:///{folder}/catalog.db", warehouse=folder.as_uri())
    stack.callback(catalog.close)
    return lambda kind: IcebergLakeTable(lambda: catalog, ("shop", kind), kind)


@dataclass
class Shop:
    """A source, its topic and its two tables. ``at``: the source's clock; ``sent``: events by partition."""

    changelog: Any
    current: Any
    log: MemoryLog = field(default_factory=MemoryLog)
    at: int = 0
    sent: dict[int, list[Visible]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Made before the topic grows: of one that had grown before nothing is known (``replicate.growth``).
        self.changelog.open(self.log.create(TOPIC, partitions=2))

    def change(self, key: int, what: str) -> None:
        """One change, in the partition that the connector chooses for its key."""
        self.at += 1
        fields: dict[str, Any] = {"v": self.at}
        if what == "more":
            fields |= {f"f{self.at % 3}": "new", "of": {"a": 1, f"b{self.at % 3}": {"c": 2.5}}}
        if what == "list":
            fields |= {"items": [{"sku": "x", f"n{self.at % 2}": 1}, {}], "of": {}}
        document = None if what == "delete" else {"_id": key, **fields}
        made = event(key, "d" if what == "delete" else "u", document, {"_id": key}, at=self.at)
        partition = key * 7 % self.log.topics[TOPIC].stream.partitions
        self.log.write(TOPIC, partition, made)
        self.sent.setdefault(partition, []).append(made)

    def send_again(self, partition: int, number: int) -> None:
        """As a connector without exactly-once support does after a crash."""
        if sent := self.sent.get(partition):
            self.log.write(TOPIC, partition, *sent[-number:])

    def grow(self) -> None:
        self.log.add_partitions(TOPIC, self.log.topics[TOPIC].stream.partitions + 1)

    def append(self, most: int) -> None:
        stream = self.log.topics[TOPIC].stream
        writer = replica(stream, self.changelog, self.current)
        offsets = self.changelog.open(stream).offsets
        for records in self.log.reader({stream: offsets}).poll(0, most):
            assert isinstance(records, Records)
            append_changes(writer, Batch(records))

    def merge(self, most: int) -> None:
        stream = self.log.topics[TOPIC].stream
        merge_changes(replica(stream, self.changelog, self.current, current_rows=most))


changes = st.tuples(
    st.just(Shop.change), st.integers(0, KEYS - 1), st.sampled_from(["plain", "more", "list", "delete"])
)
appends = st.tuples(st.just(Shop.append), st.integers(1, 9))
merges = st.tuples(st.just(Shop.merge), st.integers(1, 9))
resends = st.tuples(st.just(Shop.send_again), st.integers(0, 3), st.integers(1, 3))
growths = st.tuples(st.just(Shop.grow))
programs = st.lists(st.one_of(changes, changes, appends, appends, merges, resends, growths), max_size=40)


def oracle(shop: Shop) -> dict[str, dict[str, Any]]:
    """The last change of each key in the source's order, of all there are; in plain Python."""
    handle, _ = shop.changelog.snapshot()
    last: dict[str, dict[str, Any]] = {}
    rows = shop.changelog.read(handle).collect().sort(PARTITION, OFFSET).to_dicts()
    for row in sorted(rows, key=lambda row: (row[POSITION]["seconds"], row[POSITION]["ord"])):
        if not row[RESENT]:
            last[row[KEY]] = row
    return {key: row for key, row in last.items() if row[OPERATION] != DELETE}


def check(shop: Shop) -> None:
    seen = state(shop.current, shop.changelog)
    rows = seen.rows.collect()
    assert seen.rows.collect_schema() == rows.schema
    assert {row[KEY]: row for row in rows.to_dicts()} == oracle(shop)
    assert rows.height == rows[KEY].n_unique()
    assert seen.offsets == shop.changelog.snapshot()[0].offsets


def play(makes: Makes, program: list[tuple[Any, ...]]) -> None:
    shop = Shop(makes(Kind.CHANGELOG), makes(Kind.CURRENT))
    for step, *given_ in program:
        step(shop, *given_)
        if step not in (Shop.change, Shop.send_again, Shop.grow):
            check(shop)


@given(program=programs)
@settings(max_examples=150, deadline=None)
def test_in_memory_at_any_moment(program: list[tuple[Any, ...]]) -> None:
    play(lambda kind: MemoryTable(f"memory://{kind}"), program)


@pytest.mark.parametrize("lake", [in_delta, in_iceberg])
@given(program=programs)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_in_each_format_at_any_moment(
    lake: Callable[[Path, ExitStack], Makes], program: list[tuple[Any, ...]]
) -> None:
    with TemporaryDirectory() as folder, ExitStack() as stack:
        play(lake(Path(folder), stack), program)


def merged_once(makes: Makes) -> Shop:
    shop = Shop(makes(Kind.CHANGELOG), makes(Kind.CURRENT))
    for key in range(KEYS):
        shop.change(key, "plain")
    shop.append(99)
    shop.merge(3)
    return shop


def test_writers_that_go_on_while_the_tables_are_looked_at_do_no_harm() -> None:
    shop = merged_once(lambda kind: MemoryTable(f"memory://{kind}"))

    class Moving(MemoryTable):
        def snapshot(self) -> tuple[Handle, int]:
            shop.change(1, "delete")
            shop.change(2, "more")
            shop.append(99)
            shop.merge(99)
            return shop.changelog.snapshot()

        def read(self, handle: Handle, ranges: Ranges | None = None) -> pl.LazyFrame:
            return shop.changelog.read(handle, ranges)

    rows = state(shop.current, Moving("memory://moving")).rows.collect()
    assert {row[KEY]: row for row in rows.to_dicts()} == oracle(shop)


def test_a_current_table_of_another_topic_or_past_its_changelog_is_refused() -> None:
    shop = merged_once(lambda kind: MemoryTable(f"memory://{kind}"))
    anew = MemoryTable("memory://anew")
    anew.open(shop.log.topics[TOPIC].stream)
    with pytest.raises(OffsetsLost, match="past its changelog"):
        state(shop.current, anew)
    other = MemoryTable("memory://other")
    other.open(shop.log.create("another"))
    with pytest.raises(StreamReplaced, match="was filled from"):
        state(shop.current, other)
