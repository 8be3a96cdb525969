"""Lake tables on disk, filled from a log in memory by the replication itself, and ways to damage them that a
person or a machine has."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from deltalake import DeltaTable

from cdc_platform.core.model import Kind
from cdc_platform.core.offsets import Stream
from cdc_platform.lake.delta.history import DeltaHistory
from cdc_platform.lake.delta.table import DeltaLakeTable
from cdc_platform.replicate import replicate
from cdc_platform.verify.finding import Finding
from cdc_platform.verify.integrity import cdf_integrity
from cdc_platform.verify.notes import Notes
from cdc_platform.verify.stretch import Place
from tests.replicate.events import created, deleted, updated
from tests.replicate.memory_log import MemoryLog, Visible
from tests.replicate.shop import replica

TOPIC = "shop.shop.orders"
PARTITIONS = 2
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


LIFE: tuple[tuple[Visible, ...], ...] = (
    tuple(created(n, v=n) for n in range(20)),
    (*(updated(n, v=n + 0.5, name=f"n{n}") for n in range(0, 20, 3)), deleted(1), deleted(2)),
    (created(1, v=100), updated(4, v=40, lines=[{"sku": "a"}]), updated(4, v=41)),
    (updated(5, lines=[{"sku": "b", "qty": 2}]), deleted(19)),
)
"""The events of a lively shop, batch by batch."""


class Shop:
    """One collection of a shop: its topic and its two Delta tables in ``folder``."""

    def __init__(
        self, folder: Path, changelog_by: Sequence[str] = (), current_by: Sequence[str] = ()
    ) -> None:
        self.log = MemoryLog()
        self.stream: Stream = self.log.create(TOPIC, PARTITIONS)
        self.changelog = DeltaLakeTable(folder / "orders_changes", Kind.CHANGELOG, changelog_by)
        self.current = DeltaLakeTable(folder / "orders", Kind.CURRENT, current_by)
        self.replica = replica(self.stream, self.changelog, self.current)
        self.notes = Notes(folder / "checks", "orders")

    def write(self, *events: Visible) -> None:
        """Into the topic, each key into a partition of its own, a transaction's marker behind every
        record.
        """
        for event in events:
            assert event[0] is not None
            self.log.write(TOPIC, sum(event[0]) % PARTITIONS, event, None)

    def take(self, *events: Visible) -> None:
        """``write`` and bring both tables to the topic's ends, a commit each."""
        self.write(*events)
        replicate(self.replica, self.log)

    @classmethod
    def lively(cls, folder: Path) -> Shop:
        """With some commits of every kind of change."""
        shop = cls(folder)
        for events in LIFE:
            shop.take(*events)
        return shop

    @classmethod
    def like(cls, template: Path, folder: Path) -> Shop:
        """The lively shop of another folder once more, which is faster than living it again."""
        shutil.copytree(template, folder, dirs_exist_ok=True)
        shop = cls(folder)
        for events in LIFE:
            shop.write(*events)
        return shop

    def place(self, kind: Kind) -> Place:
        table = self.changelog if kind is Kind.CHANGELOG else self.current
        return Place(table, DeltaHistory(Path(table.uri)))

    def integrity(self, **options: Any) -> Finding:
        changelog, current = self.place(Kind.CHANGELOG), self.place(Kind.CURRENT)
        return cdf_integrity("orders", changelog, current, self.stream, self.notes, NOW, **options)


def delta(table: DeltaLakeTable) -> DeltaTable:
    """The table as somebody else opens it."""
    return DeltaTable(table.uri)


def unlock(changelog: DeltaLakeTable) -> DeltaTable:
    """A changelog refuses everything but appends, until somebody switches that off."""
    table = delta(changelog)
    table.alter.set_table_properties({"delta.appendOnly": "false"})
    return delta(changelog)


def rewrite(table: DeltaLakeTable, path: Path, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """Another content in the same file, and its size in the log, as if it had been written so."""
    before = path.stat().st_size
    change(pl.read_parquet(path, glob=False)).write_parquet(path)
    for log in Path(table.uri, "_delta_log").glob("*.json"):
        lines = log.read_text().splitlines()
        sized = [
            line.replace(f'"size":{before}', f'"size":{path.stat().st_size}') if path.name in line else line
            for line in lines
        ]
        log.write_text("\n".join(sized))


def feed_files(table: DeltaLakeTable) -> list[Path]:
    """Of the change data feed, the newest last."""
    return sorted(Path(table.uri, "_change_data").iterdir(), key=lambda path: path.stat().st_mtime_ns)


def data_files(table: DeltaLakeTable) -> list[Path]:
    """Of the newest version."""
    return [Path(uri.removeprefix("file://")) for uri in delta(table).file_uris()]
