"""A source, a log and two lake tables in memory: events go in, and each of the four can be asked or
damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import orjson
import polars as pl

from cdc_platform.core.columns import DELETE, KEY, METADATA, OPERATION, READ
from cdc_platform.core.digest import bucket_of, encoder, row_digest
from cdc_platform.core.model import RECORD_SCHEMA, Handle, Records, Stopped
from cdc_platform.core.offsets import Offsets, Range, Ranges, Stream
from cdc_platform.core.ports import LogReader
from cdc_platform.lake.memory import MemoryTable
from cdc_platform.prove import prove
from cdc_platform.verify.position import ClusterTime
from cdc_platform.verify.shape import DOCUMENTS, Shape
from cdc_platform.verify.subject import Past, Subject, operation_in_json
from cdc_platform.verify.verdict import OpenLetter, Result, Unprovable

STREAM = Stream("cluster", "shop.shop.orders", "uuid-1", 3)
MARKERS = Stream("cluster", "shop.shop.cdc_markers", "uuid-2", 1)
FIELDS = pl.Schema({"_id": pl.Int64(), "v": pl.Float64(), "name": pl.String()})
ROW = pl.Schema({**METADATA, **FIELDS})

encode = encoder()
Doc = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """``doc`` is the row after the change; ``at`` its position, the second's order being -1 for a snapshot
    row."""

    key: int
    operation: str
    doc: Doc | None
    at: ClusterTime
    partition: int
    offset: int

    def row(self) -> Doc:
        moment = datetime.fromtimestamp(self.at.seconds, UTC)
        return {
            KEY: str(self.key),
            OPERATION: self.operation,
            "_cdc_timestamp": moment,
            "_cdc_position": {"seconds": self.at.seconds, "ord": self.at.ord, "total_order": 0},
            "_kafka_topic": STREAM.topic,
            "_kafka_partition": self.partition,
            "_kafka_offset": self.offset,
            "_ingestion_timestamp": moment,
            "_ingestion_date": date(2026, 1, 1),
            **(self.doc or {"_id": self.key}),
        }


def rows(events: Sequence[Event]) -> pl.DataFrame:
    return pl.DataFrame([event.row() for event in events], schema=ROW)


def replay(events: Sequence[Event]) -> dict[int, Doc]:
    """The oracle: what is alive after these events, in their order."""
    alive: dict[int, Doc] = {}
    for event in events:
        if event.operation == DELETE:
            alive.pop(event.key, None)
        else:
            alive[event.key] = event.doc or {}
    return alive


def digests(alive: Mapping[int, Doc]) -> dict[str, int]:
    return {str(key): row_digest(str(key), encode(doc)) for key, doc in alive.items()}


@dataclass(slots=True)
class Source:
    """Changes are events at once; ``send`` lets the stream carry them to the log, in order."""

    history: list[Event] = field(default_factory=list)
    sent: int = 0
    second: int = 1_000
    ord: int = 0

    def change(self, key: int, doc: Doc | None, *, operation: str = "u") -> Event:
        self.ord += 1
        partition = key % STREAM.partitions
        offset = 2 * sum(e.partition == partition for e in self.history)
        at = ClusterTime(self.second, -1 if operation == READ else self.ord)
        event = Event(key, DELETE if doc is None else operation, doc, at, partition, offset)
        self.history.append(event)
        return event


@dataclass(slots=True)
class MemoryTruth:
    """``on_mark``: what the connector does when a marker is written. ``failure``: raised by the n-th
    reading. ``tells``: it knows which rows have changed. ``unsent``: changes of its rows that no event tells
    of. ``read``: the keys that were asked for."""

    source: Source
    on_mark: Callable[[str], None]
    failures: list[Unprovable | None] = field(default_factory=list)
    after_position: Callable[[], None] = lambda: None
    taken: int | None = None
    known: Shape = DOCUMENTS
    tells: bool = False
    unsent: list[Callable[[dict[int, Doc]], object]] = field(default_factory=list)
    read: set[str] = field(default_factory=set)

    def position(self) -> ClusterTime:
        at = ClusterTime(self.source.second, self.source.ord)
        self.taken = len(self.source.history)
        self.after_position()
        return at

    def digests(self, at: ClusterTime, buckets: Set[int] | None = None) -> Iterator[tuple[str, int]]:
        assert at.seconds <= self.source.second
        failure = self.failures.pop(0) if self.failures else None
        if failure:
            raise failure
        for key, digest in digests(self.there()).items():
            if buckets is None or bucket_of(key) in buckets:
                yield key, digest

    def of_keys(self, at: ClusterTime, keys: Set[str]) -> Iterator[tuple[str, int]]:
        assert at.seconds <= self.source.second
        self.read |= keys
        yield from ((key, digest) for key, digest in digests(self.there()).items() if key in keys)

    def rows(self, at: ClusterTime) -> int:
        assert at.seconds <= self.source.second
        return len(self.there())

    def ground(self) -> str | None:
        return (
            orjson.dumps({key: str(digest) for key, digest in digests(self.there()).items()}).decode()
            if self.tells and self.taken is not None
            else None
        )

    def changed(self, at: ClusterTime, ground: str) -> frozenset[str] | None:
        assert at.seconds <= self.source.second
        if not self.tells:
            return None
        before, now = orjson.loads(ground), digests(self.there())
        return frozenset(key for key, digest in now.items() if before.get(key) != str(digest))

    def there(self) -> dict[int, Doc]:
        """The rows at the position: what the events say, and what was done without one."""
        rows = replay(self.source.history[: self.taken])
        for change in self.unsent:
            change(rows)
        return rows

    def mark(self, marker: str) -> None:
        self.on_mark(marker)

    def cells(self, at: ClusterTime, keys: Set[str]) -> Mapping[str, Mapping[str, str]]:
        assert at.seconds <= self.source.second
        rows = self.there()
        return {
            str(key): {name: encode({name: value}) for name, value in row.items()}
            for key, row in rows.items()
            if str(key) in keys
        }

    def shape(self) -> Shape:
        return self.known

    def close(self) -> None: ...


@dataclass(slots=True)
class MemoryLog:
    """A transaction's end marker follows every record, so ends are even and records sit on even offsets."""

    source: Source
    markers: list[tuple[bytes, bytes]] = field(default_factory=list)
    markers_exist: bool = True

    def streams(self, topics: Sequence[str]) -> Mapping[str, Stream]:
        known = {STREAM.topic: STREAM} | ({MARKERS.topic: MARKERS} if self.markers_exist else {})
        return {topic: known[topic] for topic in topics if topic in known}

    def ends(self, streams: Sequence[Stream]) -> Mapping[str, Offsets]:
        sent = self.source.history[: self.source.sent]
        table = {p: 2 * sum(e.partition == p for e in sent) for p in range(STREAM.partitions)}
        known = {STREAM.topic: table, MARKERS.topic: {0: len(self.markers)}}
        return {stream.topic: known[stream.topic] for stream in streams}

    def available(self, streams: Sequence[Stream]) -> Mapping[str, Ranges]:
        return {t: {p: Range(0, end) for p, end in ends.items()} for t, ends in self.ends(streams).items()}

    def reader(self, starts: Mapping[Stream, Offsets]) -> LogReader:
        return MarkerReader(self, starts[MARKERS].get(0, 0))

    def mark(self, marker: str, operation: str = "c") -> None:
        key = orjson.dumps({"id": f'"{marker}"'})
        self.markers.append((key, orjson.dumps({"op": operation, "after": "{}"})))


@dataclass(slots=True)
class MarkerReader:
    log: MemoryLog
    at: int

    def poll(self, timeout: float, max_rows: int) -> Sequence[Records | Stopped]:
        assert timeout > 0
        found = self.log.markers[self.at : self.at + max_rows]
        if not found:
            return []
        frame = pl.DataFrame(
            [(0, self.at + i, 0, key, value) for i, (key, value) in enumerate(found)],
            schema=RECORD_SCHEMA,
            orient="row",
        )
        start, self.at = self.at, self.at + len(found)
        return [Records(MARKERS, frame, {0: Range(start, self.at)})]

    def pause(self, topic: str) -> None: ...

    def resume(self, topic: str) -> None: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class Lake:
    changelog: MemoryTable = field(default_factory=lambda: MemoryTable("memory://orders_changes"))
    current: MemoryTable = field(default_factory=lambda: MemoryTable("memory://orders"))
    applied: int = 0

    def take(self, events: Sequence[Event]) -> None:
        """Commit the next events to both tables."""
        fresh = events[self.applied :]
        self.applied += len(fresh)
        handle = self.changelog.open(STREAM)
        ranges = {
            p: Range(handle.offsets.get(p, 0), 2 * sum(e.partition == p for e in events[: self.applied]))
            for p in range(STREAM.partitions)
        }
        self.changelog.append(handle, rows(fresh), ranges, {})
        last = {event.key: event for event in fresh}
        self.current.merge(self.current.open(STREAM), rows(list(last.values())), ranges, {})

    def damage(self, table: MemoryTable, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
        """Rewrite the table's rows behind everybody's back, offsets unchanged."""
        handle: Handle = table.open(STREAM)
        damaged = change(table.read(handle).collect())
        empty = table.merge(handle, rows([]).head(0), {}, {})
        everything = table.read(empty).select(KEY).collect()
        deletes = pl.DataFrame(
            [{KEY: key, OPERATION: DELETE} for key in everything[KEY]],
            schema=damaged.select(KEY, OPERATION).schema,
        )
        table.append(table.merge(empty, deletes, {}, {}), damaged, {}, {})


@dataclass(slots=True)
class World:
    """``works``: the connector sends what happens. ``drains``: the lake follows when asked to."""

    source: Source = field(default_factory=Source)
    lake: Lake = field(default_factory=Lake)
    works: bool = True
    log: MemoryLog = field(init=False)
    truth: MemoryTruth = field(init=False)
    seconds: float = 0.0
    open_letters: Callable[[], Sequence[OpenLetter]] = tuple
    past: Past | None = None
    operation_of: Callable[[bytes], str | None] = operation_in_json

    def __post_init__(self) -> None:
        self.log = MemoryLog(self.source)
        self.truth = MemoryTruth(self.source, self.mark)

    def mark(self, marker: str) -> None:
        if self.works:
            self.source.sent = len(self.source.history)
            self.log.markers_exist = True
            self.log.mark(marker)

    def drain(self) -> None:
        self.lake.take(self.source.history[: self.source.sent])

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def clock(self) -> float:
        self.seconds += 0.01
        return self.seconds

    def prove(self, *, drain: bool = True, stream: Stream = STREAM) -> Result:
        subject = Subject(
            "orders",
            stream,
            self.truth,
            self.log,
            self.lake.changelog,
            self.lake.current,
            MARKERS.topic,
            self.open_letters,
            operation_of=self.operation_of,
            past=self.past,
        )
        return prove(
            subject,
            marker="proof",
            deadline=30,
            clock=self.clock,
            sleep=self.sleep,
            drain=self.drain if drain else None,
        )
