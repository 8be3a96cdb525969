"""Kafka behind the Log port: what topics are, where they end, and how to make them.

Invariants
- Ends are last stable offsets: what a reader of committed records can reach, aborted transactions included.
- A topic's identity is its UUID. A name that comes back with another UUID is another stream.
- Every call is bounded by ``timeout`` seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
)

from cdc_platform.core.errors import Terminal, Transient
from cdc_platform.core.offsets import Offsets, Range, Ranges, Stream
from cdc_platform.core.sizes import MAX_RECORD_BYTES
from cdc_platform.kafka.reader import KafkaReader

T = TypeVar("T")


class KafkaLog:
    """One admin connection, kept: making one costs seconds on its first call."""

    def __init__(self, bootstrap: str, timeout: float = 15.0) -> None:
        self._bootstrap = bootstrap
        self._timeout = timeout
        self._admin = AdminClient(
            {
                "bootstrap.servers": bootstrap,
                "socket.timeout.ms": int(timeout * 1000),
                "reconnect.backoff.max.ms": 2_000,
                "log_level": 2,  # connection failures are reported as errors of the calls
            }
        )
        self._cluster_id: str | None = None

    def streams(self, topics: Sequence[str]) -> Mapping[str, Stream]:
        """Identity of each topic that exists; a missing topic is left out."""
        if not topics:
            return {}
        cluster_id = self._cluster()
        described = self._submit(
            lambda: self._admin.describe_topics(TopicCollection(list(topics)), request_timeout=self._timeout)
        )
        found = {}
        for topic, future in described.items():
            try:
                description = self._result(future)
            except UnknownTopic:
                continue
            found[topic] = Stream(cluster_id, topic, str(description.topic_id), len(description.partitions))
        return found

    def available(self, streams: Sequence[Stream]) -> Mapping[str, Ranges]:
        """Per topic and partition the first retained offset and the last stable offset (two requests).

        A topic that does not exist is left out.
        """
        starts = self._offsets(streams, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        ends = self.ends(streams)
        return {
            s.topic: {p: Range(starts[s.topic][p], end) for p, end in ends[s.topic].items()}
            for s in streams
            if s.topic in starts and s.topic in ends
        }

    def ends(self, streams: Sequence[Stream]) -> Mapping[str, Offsets]:
        """Per topic and partition the last stable offset: one request for all of them, but for those that do
        not exist."""
        return self._offsets(streams, _latest())

    def written(self, stream: Stream) -> Offsets:
        """Per partition the offset after the last record, also of a transaction that is not committed yet."""
        wanted = {TopicPartition(stream.topic, p): _latest() for p in range(stream.partitions)}
        listed = self._submit(
            lambda: self._admin.list_offsets(
                wanted, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=self._timeout
            )
        )
        return {each.partition: int(self._result(future).offset) for each, future in listed.items()}

    def reader(self, starts: Mapping[Stream, Offsets]) -> KafkaReader:
        return KafkaReader(self._bootstrap, starts)

    def compacted(self, topic: str) -> bool:
        """Whether Kafka removes records of the topic that have a newer one with the same key."""
        asked = ConfigResource(ConfigResource.Type.TOPIC, topic)
        [found] = self._submit(
            lambda: self._admin.describe_configs([asked], request_timeout=self._timeout)
        ).values()
        return "compact" in str(self._result(found)["cleanup.policy"].value)

    def create(self, topics: Mapping[str, int]) -> None:
        """Make each topic with that many partitions, for records as large as the platform carries (brokers
        take 1 MB by default); one that is there already is left as it is.
        """
        new = [
            NewTopic(
                topic,
                num_partitions=partitions,
                replication_factor=-1,
                config={"max.message.bytes": str(MAX_RECORD_BYTES)},
            )
            for topic, partitions in topics.items()
        ]
        for future in self._submit(
            lambda: self._admin.create_topics(new, request_timeout=self._timeout)
        ).values():
            try:
                self._result(future)
            except TopicExists:
                continue

    def _offsets(self, streams: Sequence[Stream], spec: OffsetSpec) -> dict[str, dict[int, int]]:
        wanted = {TopicPartition(s.topic, p): spec for s in streams for p in range(s.partitions)}
        found: dict[str, dict[int, int]] = {s.topic: {} for s in streams}
        if not wanted:
            return found
        listed = self._submit(
            lambda: self._admin.list_offsets(
                wanted, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=self._timeout
            )
        )
        gone = set()
        for partition, future in listed.items():
            try:
                found[partition.topic][partition.partition] = self._result(future).offset
            except UnknownTopic:
                gone.add(partition.topic)
        return {topic: offsets for topic, offsets in found.items() if topic not in gone}

    def _cluster(self) -> str:
        if self._cluster_id is None:
            future = self._submit(lambda: self._admin.describe_cluster(request_timeout=self._timeout))
            self._cluster_id = str(self._result(future).cluster_id)
        return self._cluster_id

    def _submit(self, request: Callable[[], T]) -> T:
        try:
            return request()
        except KafkaException as error:
            raise self._translated(error) from error

    def _result(self, future: Future[Any]) -> Any:
        try:
            return future.result(timeout=self._timeout + 5)
        except (KafkaException, TimeoutError) as error:
            raise self._translated(error) from error

    def _translated(self, error: Exception) -> Exception:
        told = error.args[0] if error.args and isinstance(error.args[0], KafkaError) else None
        code = None if told is None else told.code()
        where = f"Kafka at {self._bootstrap}"
        if code == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return UnknownTopic("the topic does not exist", where=where)
        if code == KafkaError.TOPIC_ALREADY_EXISTS:
            return TopicExists("the topic exists", where=where)
        why = f"nothing came within {self._timeout + 5:g} s" if told is None else told.str()
        return Transient(
            f"Kafka did not answer: {why}",
            where=where,
            remedy="check that the brokers run and that CDC_KAFKA_BOOTSTRAP names them",
        )


def _latest() -> OffsetSpec:
    return OffsetSpec.latest()  # type: ignore[no-untyped-call,no-any-return]


class UnknownTopic(Terminal):
    """No topic of that name."""


class TopicExists(Terminal):
    """A topic of that name is there already."""
