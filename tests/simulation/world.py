"""The log that a source is captured into, with all that may happen to a log."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final
from zlib import crc32

from cdc_platform.core.model import Policy
from cdc_platform.core.offsets import Stream
from tests.replicate.events import Doc, key_text, tombstone
from tests.replicate.memory_log import MemoryLog, Visible
from tests.simulation.history import Event, Source, corrupted, junk

TOPIC: Final = "shop.shop.orders"

Place = tuple[int, int]
"""Partition and offset."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What kind of world it is. ``mixing``: how often a field has a value of another type. ``poison``: how
    often a record cannot become a row. ``resends``: the connector sends its last events again now and then.
    ``growth``: how often the topic gets more partitions. ``crowded``: nothing fails, but everywhere somebody
    else goes ahead.
    """

    values: Policy = Policy.JSON
    mixing: float = 0.0
    poison: float = 0.0
    resends: bool = False
    growth: float = 0.0
    crowded: bool = False

    @classmethod
    def drawn(cls, rng: Random) -> Traits:
        values = rng.choices(list(Policy), (5, 3, 2))[0]
        resends = rng.random() < 0.3
        return cls(
            values,
            mixing=rng.choice((0.0, 0.1, 0.3)),
            poison=rng.choice((0.0, 0.1, 0.3)) if values is not Policy.REFUSE else rng.choice((0.0, 0.05)),
            resends=resends,
            growth=0.0 if resends else rng.choice((0.0, 0.0, 0.4)),
            crowded=rng.random() < 0.25,
        )


@dataclass(frozen=True, slots=True)
class Delivered:
    """One record in the log that is no tombstone. ``at``: its place in the source's order, -1 for junk.

    ``poison``: it cannot become a row, under no policy. ``true``: the value that it should have had, None
    for junk. ``partitions``: how many the topic had. ``first``: the place where the same event was delivered
    before, if it was.
    """

    partition: int
    offset: int
    key: str
    operation: str
    doc: Doc
    at: int
    poison: bool
    true: bytes | None
    partitions: int
    first: Place | None = None

    @property
    def place(self) -> Place:
        return self.partition, self.offset


class World:
    """Source and log. Between the events lie offsets without a record; deletes may bring a tombstone."""

    def __init__(self, rng: Random, traits: Traits | None = None) -> None:
        self.rng = rng
        self.traits = traits or Traits.drawn(rng)
        self.source = Source(rng, self.traits.mixing)
        self.log = MemoryLog()
        self.log.create(TOPIC, rng.randint(1, 3))
        self.made_with = self.stream.partitions
        self.delivered: list[Delivered] = []
        self.held = False
        self._sent: dict[int, tuple[Visible, bool]] = {}

    @property
    def stream(self) -> Stream:
        """The topic as it is now."""
        return self.log.topics[TOPIC].stream

    @property
    def grown(self) -> bool:
        return self.stream.partitions > self.made_with

    def happen(self, changes: int) -> None:
        """The source changes, and the log is written up to it."""
        if self.rng.random() < self.traits.growth:
            self.log.add_partitions(TOPIC, self.stream.partitions + self.rng.randint(1, 3))
        for _ in range(changes):
            self._deliver(self.source.change())
        if self.traits.resends and self.rng.random() < 0.3:
            for happened in self._last_streamed(self.rng.randint(1, 4)):
                self._deliver(happened)
        if self.rng.random() < self.traits.poison / 2:
            self._write_junk()
        if self.rng.random() < 0.15:
            self.held = not self.held

    def _last_streamed(self, most: int) -> list[Event]:
        """What a connector would send again: a snapshot it would take anew."""
        last = self.source.events[-most:]
        read = [at for at, event in enumerate(last) if event.operation == "r"]
        return last[read[-1] + 1 :] if read else last

    def _deliver(self, happened: Event) -> None:
        partition = crc32(happened.key.encode()) % self.stream.partitions
        if happened.at not in self._sent:
            poison = self.rng.random() < self.traits.poison
            self._sent[happened.at] = corrupted(self.rng, happened) if poison else happened.record(), poison
        record, poison = self._sent[happened.at]  # what is sent again is the same, byte for byte
        offset = self._write(partition, record)
        if happened.operation == "d" and self.rng.random() < 0.5:
            self._write(partition, tombstone(happened.key))
        first = next((each.place for each in self.delivered if each.at == happened.at), None)
        self.delivered.append(
            Delivered(
                partition,
                offset,
                key_text(happened.key),
                happened.operation,
                happened.doc,
                happened.at,
                poison,
                happened.record()[1],
                self.stream.partitions,
                first,
            )
        )

    def _write_junk(self) -> None:
        partition = self.rng.randrange(self.stream.partitions)
        offset = self._write(partition, junk(self.rng))
        self.delivered.append(
            Delivered(partition, offset, "", "", {}, -1, True, None, self.stream.partitions)
        )

    def _write(self, partition: int, record: Visible) -> int:
        """The offset of the record; before and after it there may be one without any."""
        holes = [None] * (self.rng.random() < 0.3)
        offset = self.end(partition) + len(holes)
        self.log.write(TOPIC, partition, *holes, record, *([None] * (self.rng.random() < 0.3)))
        return offset

    def end(self, partition: int) -> int:
        return len(self.log.topics[TOPIC].partitions[partition].slots)

    @property
    def ends(self) -> dict[int, int]:
        return {p: end for p in range(self.stream.partitions) if (end := self.end(p))}
