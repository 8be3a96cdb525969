"""A shop's orders in a lake of either format, filled as replication fills it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cdc_platform.core.model import Format, Records
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.platform import replica
from cdc_platform.reading import Table, open_table
from cdc_platform.replicate import Batch, Replica, append_changes, merge_changes
from tests.replicate.memory_log import MemoryLog, Visible

SOURCE = Source(
    name="shop",
    uri="mongodb://nowhere",
    database="shop",
    collections=("orders", "customers"),
    formats=(Format.DELTA, Format.ICEBERG),
    collection_formats={"customers": (Format.ICEBERG,)},
)
TOPIC = SOURCE.topic("orders")


@dataclass
class Shop:
    settings: Settings
    format: Format
    log: MemoryLog = field(default_factory=MemoryLog)

    def __post_init__(self) -> None:
        self.log.create(TOPIC, partitions=2)

    @property
    def writer(self) -> Replica:
        stream = self.log.topics[TOPIC].stream
        return replica(self.settings, SOURCE, "orders", stream, stored=self.format)

    @property
    def table(self) -> Table:
        return open_table(SOURCE, "orders", format=self.format, settings=self.settings)

    def append(self, *events: Visible | None, partition: int = 0) -> None:
        """Events, into the topic and the changelog."""
        self.log.write(TOPIC, partition, *events)
        writer = self.writer
        offsets = writer.changelog.open(writer.stream).offsets
        for records in self.log.reader({writer.stream: offsets}).poll(0, 1_000):
            assert isinstance(records, Records)
            append_changes(writer, Batch(records))

    def merge(self) -> None:
        """All that is in the changelog, into the current table."""
        while merge_changes(self.writer):
            pass


def shop(folder: Path, stored: Format) -> Shop:
    return Shop(Settings(lake_root=folder / "lake", state_dir=folder / "state"), stored)
