"""A source with a random history, the log it is captured into, and what the lake must look like in the end.

The oracle is plain Python: documents in dicts, records in lists. It shares nothing with the platform but the
bytes of the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import orjson
import polars as pl

from cdc_platform.core.columns import DELETE, KEY, METADATA, OFFSET, OPERATION, PARTITION
from cdc_platform.core.offsets import RANGES, Stream, parse
from cdc_platform.core.ports import LakeTable
from cdc_platform.lake.memory import MemoryTable, Version
from tests.replicate.events import Doc, event, key_text, tombstone
from tests.replicate.memory_log import MemoryLog, Visible

TOPIC = "shop.shop.orders"
PARTITIONS = 3
KEYS = ("a", "b", "it's", 'say "hi"', "\u00e9\U0001f600", "", "zz")


@dataclass(frozen=True, slots=True)
class Delivered:
    """One change event in the log. ``doc``: the row image it carries, of a delete the one before."""

    partition: int
    offset: int
    key: str
    operation: str
    doc: Doc


@dataclass(slots=True)
class Source:
    """Documents that change at random; every change is an event, in the source's order."""

    rng: Random
    documents: dict[str, Doc] = field(default_factory=dict)
    events: list[tuple[str, str, Doc]] = field(default_factory=list)
    fields: list[str] = field(default_factory=lambda: ["v"])

    def change(self) -> None:
        key = self.rng.choice(KEYS)
        known = self.documents.get(key)
        if known is not None and self.rng.random() < 0.35:
            del self.documents[key]
            self.events.append((key, "d", known))
            return
        doc = self._document(key)
        self.documents[key] = doc
        snapshot = not self.events or (known is None and self.rng.random() < 0.1)
        self.events.append((key, "u" if known is not None else "r" if snapshot else "c", doc))

    def _document(self, key: str) -> Doc:
        if self.rng.random() < 0.1:
            self.fields.append(f"f{len(self.fields)}")
        doc: Doc = {"_id": key}
        for name in self.rng.sample(self.fields, self.rng.randint(0, len(self.fields))):
            doc[name] = self.rng.randint(-5, 10**12)
        if self.rng.random() < 0.2:
            doc["at"] = {name: str(self.rng.randint(0, 9)) for name in self.rng.sample("xyz", 2)}
        return doc


class World:
    """Source and log. Between the events lie offsets without a record; deletes may bring a tombstone; now and
    then the connector sends the last events once more."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.source = Source(rng)
        self.log = MemoryLog()
        self.stream: Stream = self.log.create(TOPIC, PARTITIONS)
        self.delivered: list[Delivered] = []

    def happen(self, changes: int) -> None:
        """The source changes, and the log is written up to it."""
        for _ in range(changes):
            self.source.change()
            self._deliver(len(self.source.events) - 1)
        if self.rng.random() < 0.15:
            first = max(0, len(self.source.events) - self.rng.randint(1, 4))
            for number in range(first, len(self.source.events)):
                self._deliver(number)

    def _deliver(self, number: int) -> None:
        key, operation, doc = self.source.events[number]
        partition = sum(key.encode()) % PARTITIONS
        slots: list[Visible | None] = [None] * (self.rng.random() < 0.3)
        offset = self.end(partition) + len(slots)
        if operation == DELETE:
            slots.append(event(key, operation, None, doc, number))
            slots.extend([tombstone(key)] * (self.rng.random() < 0.5))
        else:
            slots.append(event(key, operation, doc, None, number))
        slots.extend([None] * (self.rng.random() < 0.3))
        self.log.write(TOPIC, partition, *slots)
        self.delivered.append(Delivered(partition, offset, key_text(key), operation, doc))

    def end(self, partition: int) -> int:
        return len(self.log.topics[TOPIC].partitions[partition].slots)

    @property
    def ends(self) -> dict[int, int]:
        return {p: end for p in range(PARTITIONS) if (end := self.end(p))}


def documents(rows: pl.DataFrame) -> Iterator[tuple[dict[str, Any], Doc]]:
    """Metadata and document of each row; a column that is null is a field that is missing, at every level."""
    fields = [name for name in rows.columns if name not in METADATA]
    metadata = rows.select(KEY, OPERATION, PARTITION, OFFSET).to_dicts()
    images = rows.select(fields).to_dicts() if fields else [{} for _ in metadata]
    for known, image in zip(metadata, images, strict=True):
        yield known, _without_nulls(image)


def _without_nulls(doc: Doc) -> Doc:
    return {
        name: _without_nulls(value) if isinstance(value, dict) else value
        for name, value in doc.items()
        if value is not None
    }


def check(world: World, changelog: LakeTable, current: LakeTable) -> None:
    """Raises AssertionError naming the invariant that does not hold."""
    for table in (changelog, current):
        offsets = {p: end for p, end in table.open(world.stream).offsets.items() if end}
        assert offsets == world.ends, f"{table.uri} stands at the topic's ends"
    _check_changelog(world, _rows(changelog, world.stream))
    _check_current(world, _rows(current, world.stream))
    for table in (changelog, current):
        if isinstance(table, MemoryTable):
            _check_commits(world, table.versions)
            _check_versions(world, table.versions, folded=table is current)


def _rows(table: LakeTable, stream: Stream) -> pl.DataFrame:
    return table.read(table.open(stream)).collect()


def _check_changelog(world: World, rows: pl.DataFrame) -> None:
    found = {(m[PARTITION], m[OFFSET]): (m[KEY], m[OPERATION], doc) for m, doc in documents(rows)}
    expected = {(e.partition, e.offset): (e.key, e.operation, e.doc) for e in world.delivered}
    assert rows.height == len(found), "the changelog holds every delivered event once"
    assert found == expected, "the changelog holds every delivered event as it was"


def _check_current(world: World, rows: pl.DataFrame) -> None:
    found = [(m[KEY], doc) for m, doc in documents(rows)]
    assert len(found) == len(dict(found)), "the current table has one row a key"
    expected = {key_text(key): doc for key, doc in world.source.documents.items()}
    assert dict(found) == expected, "the current table is the source"


def _check_commits(world: World, versions: tuple[Version, ...]) -> None:
    """Every commit accounts for its rows, and together they cover each offset and each event once."""
    covered: dict[int, int] = {}
    total = 0
    for version in versions[1:]:
        counts = orjson.loads(version.info["cdc.rows"])
        assert counts["in"] >= sum(counts["applied"].values()), "rows in = applied + superseded"
        total += counts["in"]
        for partition, held in parse(version.info[RANGES]).items():
            assert held.start == covered.get(partition, 0), "commits join up without gap or overlap"
            covered[partition] = held.end
    assert total == len(world.delivered), "every event went into one commit"


def _check_versions(world: World, versions: tuple[Version, ...], *, folded: bool) -> None:
    """At every version the rows are those of exactly the offsets it claims, folded or not."""
    for version in versions:
        seen = [e for e in world.delivered if e.offset < version.offsets.get(e.partition, 0)]
        expected = _last(seen) if folded else Counter((e.partition, e.offset) for e in seen)
        found = Counter(version.rows.select(PARTITION, OFFSET).rows())
        assert found == expected, f"version {version.number} holds what its offsets say"


def _last(seen: list[Delivered]) -> Counter[tuple[int, int]]:
    last: Mapping[str, Delivered] = {e.key: e for e in sorted(seen, key=lambda e: (e.partition, e.offset))}
    return Counter((e.partition, e.offset) for e in last.values() if e.operation != DELETE)
