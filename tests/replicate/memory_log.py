"""A log in memory behind the Log port: what Kafka promises to a reader of committed records, in few words.

- Offsets of a partition rise by one; some hold no visible record (transaction markers, aborted records,
  compacted ones). A reader's position moves over them, at the latest when it reaches the partition's end.
- Nothing is read before the first retained offset; a reader that stands before it is stopped for that topic.
- The same topic made again has another identity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Condition

import polars as pl

from cdc_platform.core.errors import CdcError, OffsetsLost
from cdc_platform.core.model import RECORD_SCHEMA, Records, Stopped
from cdc_platform.core.offsets import Offsets, Range, Ranges, Stream

CLUSTER = "cluster-1"
TIMESTAMP_MS = 1_790_000_000_000

Visible = tuple[bytes | None, bytes | None]
"""Key and value of a record."""


@dataclass(slots=True)
class Partition:
    """``slots``: a record or, for an offset without one, None. ``start``: first retained offset."""

    slots: list[Visible | None] = field(default_factory=list)
    start: int = 0


@dataclass(slots=True)
class Topic:
    stream: Stream
    partitions: list[Partition]
    failure: CdcError | None = None


class MemoryLog:
    """Thread-safe. ``failure`` is raised by the next poll of any reader, once."""

    def __init__(self) -> None:
        self.topics: dict[str, Topic] = {}
        self.changed = Condition()
        self.failure: BaseException | None = None
        self._made = 0

    def create(self, name: str, partitions: int = 3) -> Stream:
        with self.changed:
            self._made += 1
            stream = Stream(CLUSTER, name, f"uuid-{self._made}", partitions)
            self.topics[name] = Topic(stream, [Partition() for _ in range(partitions)])
            return stream

    def add_partitions(self, name: str, partitions: int) -> Stream:
        with self.changed:
            topic = self.topics[name]
            topic.stream = replace(topic.stream, partitions=partitions)
            topic.partitions.extend(Partition() for _ in range(partitions - len(topic.partitions)))
            return topic.stream

    def delete(self, name: str) -> None:
        with self.changed:
            del self.topics[name]

    def write(self, topic: str, partition: int, *records: Visible | None) -> None:
        """Append records; None is an offset without one."""
        with self.changed:
            self.topics[topic].partitions[partition].slots.extend(records)
            self.changed.notify_all()

    def retain_from(self, topic: str, partition: int, start: int) -> None:
        with self.changed:
            self.topics[topic].partitions[partition].start = start

    def cut(self, topic: str, partition: int, end: int) -> None:
        """Lose the log's tail, as an unclean election does."""
        with self.changed:
            del self.topics[topic].partitions[partition].slots[end:]

    def stop(self, topic: str, error: CdcError) -> None:
        """Let every reader find that it can read this topic no further."""
        with self.changed:
            self.topics[topic].failure = error
            self.changed.notify_all()

    def fail(self, error: BaseException) -> None:
        with self.changed:
            self.failure = error
            self.changed.notify_all()

    def streams(self, topics: Sequence[str]) -> Mapping[str, Stream]:
        return {name: self.topics[name].stream for name in topics if name in self.topics}

    def available(self, streams: Sequence[Stream]) -> Mapping[str, Ranges]:
        return {
            s.topic: {
                p: Range(held.start, len(held.slots))
                for p, held in enumerate(self.topics[s.topic].partitions[: s.partitions])
            }
            for s in streams
            if s.topic in self.topics
        }

    def ends(self, streams: Sequence[Stream]) -> Mapping[str, Offsets]:
        held = self.available(streams)
        return {topic: {p: r.end for p, r in ranges.items()} for topic, ranges in held.items()}

    def reader(self, starts: Mapping[Stream, Offsets]) -> MemoryReader:
        return MemoryReader(self, starts)


class MemoryReader:
    """``paused`` and ``closed`` are for tests to look at."""

    def __init__(self, log: MemoryLog, starts: Mapping[Stream, Offsets]) -> None:
        self._log = log
        self._positions = {
            s: {p: offsets.get(p, 0) for p in range(s.partitions)} for s, offsets in starts.items()
        }
        self._stopped: set[str] = set()
        self.paused: set[str] = set()
        self.closed = False

    def poll(self, timeout: float, max_rows: int) -> Sequence[Records | Stopped]:
        with self._log.changed:
            found = self._take(max_rows)
            if not found and timeout > 0:
                self._log.changed.wait(timeout)
                found = self._take(max_rows)
            return found

    def pause(self, topic: str) -> None:
        self.paused.add(topic)

    def resume(self, topic: str) -> None:
        self.paused.discard(topic)

    def close(self) -> None:
        self.closed = True

    def _take(self, max_rows: int) -> list[Records | Stopped]:
        failure, self._log.failure = self._log.failure, None
        if failure:
            raise failure
        found: list[Records | Stopped] = []
        for stream, positions in self._positions.items():
            if stream.topic in self._stopped | self.paused:
                continue
            taken = self._take_topic(stream, positions, max_rows)
            if isinstance(taken, Stopped):
                self._stopped.add(stream.topic)
                found.append(taken)
            elif taken:
                max_rows -= taken.frame.height
                found.append(taken)
        return found

    def _take_topic(self, stream: Stream, positions: dict[int, int], most: int) -> Records | Stopped | None:
        topic = self._log.topics.get(stream.topic)
        if topic is None or topic.stream.identity != stream.identity:
            return None  # a consumer hears nothing of a topic that is gone
        if topic.failure:
            return Stopped(stream.topic, topic.failure)
        rows: list[tuple[int, int, int, bytes | None, bytes | None]] = []
        ranges = {}
        for partition, held in enumerate(topic.partitions[: stream.partitions]):
            start = positions[partition]
            if start < held.start:
                return Stopped(stream.topic, OffsetsLost("gone", where=stream.topic, remedy="snapshot"))
            end = start
            # Offsets without a record at the end are passed by a poll of their own, as in Kafka.
            only_holes = all(slot is None for slot in held.slots[start:])
            while end < len(held.slots) and len(rows) < most:
                if any(held.slots[end:]) or only_holes:
                    if record := held.slots[end]:
                        rows.append((partition, end, TIMESTAMP_MS, *record))
                    end += 1
                else:
                    break
            if end > start:
                positions[partition] = end
                ranges[partition] = Range(start, end)
        if not ranges:
            return None
        return Records(stream, pl.DataFrame(rows, schema=RECORD_SCHEMA, orient="row"), ranges)
