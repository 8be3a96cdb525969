"""Reads committed records of several topics by offset, as columns.

Invariants
- Positions are ours: no group, no commit, no reset. An offset that Kafka no longer has ends that topic's
  reading with an error; it is never replaced by another offset.
- A partition's position also moves over offsets that hold no visible record (transaction markers, aborted
  records, compaction), as the end-of-partition event reports it. Without that, a caught-up table would always
  seem to lag by one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import polars as pl
from confluent_kafka import Consumer, KafkaError, TopicPartition

from cdc_platform.core.errors import CdcError, OffsetsLost, Terminal, Transient
from cdc_platform.core.model import RECORD_SCHEMA, Records, Stopped
from cdc_platform.core.offsets import Offsets, Range, Stream
from cdc_platform.core.sizes import MAX_RECORD_BYTES

FETCH_BYTES: Final = 16 * 2**20
"""Asked of one partition at once, compressed as it is stored."""

POLL_BYTES: Final = 32 * 2**20
"""Handed over at once. A fetch may hold many times that: it is compressed."""

UNREACHABLE_AFTER = 60.0
"""Seconds without any broker after which reading gives up; librdkafka reconnects by itself until then."""


@dataclass(slots=True)
class _Rows:
    partition: list[int] = field(default_factory=list)
    offset: list[int] = field(default_factory=list)
    timestamp_ms: list[int] = field(default_factory=list)
    key: list[bytes | None] = field(default_factory=list)
    value: list[bytes | None] = field(default_factory=list)

    def take(self, message: Any) -> None:
        self.partition.append(message.partition())
        self.offset.append(message.offset())
        self.timestamp_ms.append(message.timestamp()[1])
        self.key.append(message.key())
        self.value.append(message.value())

    def frame(self) -> pl.DataFrame:
        columns = {
            "partition": self.partition,
            "offset": self.offset,
            "timestamp_ms": self.timestamp_ms,
            "key": self.key,
            "value": self.value,
        }
        return pl.DataFrame(columns, schema=RECORD_SCHEMA)


class KafkaReader:
    """One consumer for all topics of a source."""

    def __init__(self, bootstrap: str, starts: Mapping[Stream, Offsets]) -> None:
        self._bootstrap = bootstrap
        self._streams = {stream.topic: stream for stream in starts}
        self._positions = {
            (stream.topic, p): offsets.get(p, 0)
            for stream, offsets in starts.items()
            for p in range(stream.partitions)
        }
        self._down_since: float | None = None
        self._consumer = Consumer(_configuration(bootstrap), error_cb=self._broker_error)
        self._consumer.assign([TopicPartition(t, p, offset) for (t, p), offset in self._positions.items()])

    def poll(self, timeout: float, max_rows: int) -> Sequence[Records | Stopped]:
        before = dict(self._positions)
        rows: dict[str, _Rows] = {}
        stopped: dict[str, CdcError] = {}
        for message in self._consumed(timeout, max_rows):
            if (error := message.error()) is None:
                rows.setdefault(message.topic(), _Rows()).take(message)
                self._positions[message.topic(), message.partition()] = message.offset() + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                self._positions[message.topic(), message.partition()] = message.offset()
            elif failure := self._failure(message, error):
                stopped[message.topic()] = failure
        self._check_brokers(heard=bool(rows))
        return [*self._records(before, rows), *(Stopped(t, error) for t, error in stopped.items())]

    def _consumed(self, timeout: float, most: int) -> list[Any]:
        """Up to ``most`` messages, of about POLL_BYTES at most: how many that are, the first ones tell."""
        until = time.monotonic() + timeout
        taken: list[Any] = []
        size, wanted = 0, 1
        while wanted:
            found = self._consumer.consume(wanted, max(0.0, until - time.monotonic()))
            taken += found
            size += sum(map(len, found))
            if len(found) < wanted:
                break
            fitting = (POLL_BYTES - size) * len(taken) // max(1, size)
            wanted = max(0, min(most - len(taken), fitting, 4 * len(taken)))
        return taken

    def pause(self, topic: str) -> None:
        self._consumer.pause(self._partitions(topic))

    def resume(self, topic: str) -> None:
        self._consumer.resume(self._partitions(topic))

    def close(self) -> None:
        self._consumer.close()

    def _records(self, before: Mapping[tuple[str, int], int], rows: Mapping[str, _Rows]) -> list[Records]:
        moved: dict[str, dict[int, Range]] = {}
        for (topic, partition), end in self._positions.items():
            if end > before[topic, partition]:
                moved.setdefault(topic, {})[partition] = Range(before[topic, partition], end)
        return [
            Records(self._streams[topic], rows.get(topic, _Rows()).frame(), ranges)
            for topic, ranges in moved.items()
        ]

    def _partitions(self, topic: str) -> list[TopicPartition]:
        return [TopicPartition(t, p) for t, p in self._positions if t == topic]

    def _failure(self, message: Any, error: KafkaError) -> CdcError | None:
        topic, partition = message.topic(), message.partition()
        where = f"topic {topic}, partition {partition}, offset {self._positions.get((topic, partition))}"
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            return OffsetsLost(
                "Kafka no longer holds the next offset to read",
                where=where,
                remedy="cdc rebuild TABLE --from source; and raise the topic's retention above the longest "
                "outage you want to survive",
            )
        if error.code() in _RECONNECTING or error.retriable():
            return None
        return Terminal(f"Kafka refuses to deliver records: {error.str()}", where=where)

    def _broker_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN and self._down_since is None:
            self._down_since = time.monotonic()

    def _check_brokers(self, *, heard: bool) -> None:
        if heard:
            self._down_since = None
        if self._down_since is not None and time.monotonic() - self._down_since > UNREACHABLE_AFTER:
            raise Transient(
                f"no broker answered for {UNREACHABLE_AFTER:.0f} s",
                where=f"Kafka at {self._bootstrap}",
                remedy="check that the brokers run; reading goes on from the tables' own offsets",
            )


_RECONNECTING = (
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TIMED_OUT,
    KafkaError._RESOLVE,
)


def _configuration(bootstrap: str) -> dict[str, str | int | bool]:
    return {
        "bootstrap.servers": bootstrap,
        "group.id": "cdc-platform-reads-by-offset",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        "fetch.wait.max.ms": 50,
        # a broker sends a record that is larger by itself; what is fetched at once is what memory must hold
        "fetch.message.max.bytes": FETCH_BYTES,
        "fetch.max.bytes": 2 * FETCH_BYTES,
        "receive.message.max.bytes": 2 * MAX_RECORD_BYTES,
        "queued.max.messages.kbytes": 2 * FETCH_BYTES // 1024,
        "queued.min.messages": 100_000,
        "socket.keepalive.enable": True,
        "reconnect.backoff.max.ms": 2_000,
        "log_level": 2,  # connection failures are counted by the reader
    }
