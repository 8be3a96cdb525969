"""The log on a real Kafka: what is visible, where it ends, what it no longer has."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import IsolationLevel, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from cdc_platform.core.errors import LogTruncated, OffsetsLost, Terminal, Transient
from cdc_platform.core.model import Records, Stopped
from cdc_platform.core.offsets import Offsets, Range, Stream, ends_of, plan, reached
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.kafka.reader import KafkaReader
from cdc_platform.local.stack import Stack
from tests.stack.conftest import eventually

pytestmark = pytest.mark.stack

Rows = list[tuple[int, int, bytes | None, bytes | None]]
"""Partition, offset, key, value."""

CreateTopic = Callable[..., str]


@pytest.fixture(scope="session")
def bootstrap(stack: Stack) -> str:
    return stack.endpoints.kafka_bootstrap


@pytest.fixture(scope="session")
def log(bootstrap: str) -> KafkaLog:
    return KafkaLog(bootstrap)


@pytest.fixture(scope="session")
def admin(bootstrap: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap})


@pytest.fixture
def create(log: KafkaLog, admin: AdminClient) -> Iterator[CreateTopic]:
    """Makes topics of unique names, gone after the test."""
    made: list[str] = []

    def one(partitions: int = 1) -> str:
        topic = f"kafka-test.{uuid.uuid4().hex[:12]}"
        log.create({topic: partitions})
        made.append(topic)
        return topic

    yield one
    for future in admin.delete_topics(made).values() if made else []:
        future.exception(timeout=20)


def stream_of(log: KafkaLog, topic: str) -> Stream:
    """A new topic takes a moment until all of the cluster knows it."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if found := log.streams([topic]).get(topic):
            return found
        time.sleep(0.1)
    raise AssertionError(f"{topic} does not appear")


def produce(bootstrap: str, topic: str, *values: bytes, partition: int = 0) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
    for value in values:
        producer.produce(topic, key=b"k", value=value, partition=partition)
    assert producer.flush(20) == 0


def transaction(bootstrap: str, topic: str, *values: bytes, partition: int = 0, commit: bool = True) -> None:
    producer = open_transaction(bootstrap, topic, *values, partition=partition)
    if commit:
        producer.commit_transaction(20)
    else:
        producer.abort_transaction(20)
    settled(bootstrap, topic, partition)


def settled(bootstrap: str, topic: str, partition: int = 0) -> None:
    """Wait for the transaction's marker, which is written after the producer's call has returned."""
    admin, place = AdminClient({"bootstrap.servers": bootstrap}), TopicPartition(topic, partition)

    def end(isolation: IsolationLevel) -> int:
        found = admin.list_offsets({place: OffsetSpec.latest()}, isolation_level=isolation)
        return int(found[place].result(timeout=10).offset)

    eventually(lambda: end(IsolationLevel.READ_COMMITTED) == end(IsolationLevel.READ_UNCOMMITTED))


def open_transaction(bootstrap: str, topic: str, *values: bytes, partition: int = 0) -> Producer:
    producer = Producer(
        {"bootstrap.servers": bootstrap, "transactional.id": uuid.uuid4().hex, "linger.ms": 0}
    )
    producer.init_transactions(20)
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, key=b"k", value=value, partition=partition)
    assert producer.flush(20) == 0
    return producer


class Reading:
    """Polls a reader and remembers what came and where it stands; ranges must join up."""

    def __init__(self, reader: KafkaReader, starts: dict[str, Offsets]) -> None:
        self.reader = reader
        self.rows: dict[str, Rows] = {}
        self.positions: dict[str, dict[int, int]] = {topic: dict(o) for topic, o in starts.items()}
        self.stopped: dict[str, Stopped] = {}

    def poll(self, max_rows: int = 1_000, timeout: float = 0.2) -> None:
        for read in self.reader.poll(timeout, max_rows):
            if isinstance(read, Stopped):
                self.stopped[read.topic] = read
                continue
            self._take(read)

    def _take(self, read: Records) -> None:
        topic = read.stream.topic
        positions = self.positions.setdefault(topic, {})
        for partition, covered in read.ranges.items():
            assert covered.start == positions.get(partition, 0), "ranges join up"
            assert covered.end > covered.start
            positions[partition] = covered.end
        for row in read.frame.select("partition", "offset", "key", "value").rows():
            covered = read.ranges[row[0]]
            assert covered.start <= row[1] < covered.end
            self.rows.setdefault(topic, []).append(row)

    def until(self, condition: Callable[[], bool], within: float = 30, **poll: Any) -> None:
        end = time.monotonic() + within
        while not condition():
            assert time.monotonic() < end, (self.positions, self.stopped)
            self.poll(**poll)

    def for_seconds(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.poll()

    def values(self, topic: str) -> list[bytes | None]:
        return [value for _, _, _, value in self.rows.get(topic, [])]

    def until_reached(self, topic: str, ends: Offsets, **poll: Any) -> None:
        self.until(lambda: reached(self.positions.get(topic, {}), ends), **poll)


@pytest.fixture
def read(log: KafkaLog) -> Iterator[Callable[..., Reading]]:
    readers: list[KafkaReader] = []

    def start(*streams: Stream, starts: dict[str, Offsets] | None = None) -> Reading:
        starts = starts or {}
        reader = log.reader({stream: starts.get(stream.topic, {}) for stream in streams})
        readers.append(reader)
        return Reading(reader, starts)

    yield start
    for reader in readers:
        reader.close()


Read = Callable[..., Reading]


def test_positions_move_over_transaction_markers_and_aborted_records_to_the_end(
    log: KafkaLog, create: CreateTopic, bootstrap: str, read: Read
) -> None:
    topic = create(2)
    transaction(bootstrap, topic, b"1", b"2")
    transaction(bootstrap, topic, b"no", b"no", commit=False)
    transaction(bootstrap, topic, b"3")
    transaction(bootstrap, topic, b"no", commit=False)
    transaction(bootstrap, topic, b"no", partition=1, commit=False)
    stream = stream_of(log, topic)
    ends = log.ends([stream])[topic]
    assert ends == {0: 3 + 3 + 2 + 2, 1: 2}
    reading = read(stream)
    reading.until_reached(topic, ends)
    assert reading.positions[topic] == ends
    assert [(p, o, v) for p, o, _, v in reading.rows[topic]] == [(0, 0, b"1"), (0, 1, b"2"), (0, 6, b"3")]


def test_a_single_row_a_poll_reaches_the_same_end(
    log: KafkaLog, create: CreateTopic, bootstrap: str, read: Read
) -> None:
    topic = create()
    for n in range(5):
        transaction(bootstrap, topic, b"%d" % n, commit=n != 2)
    stream = stream_of(log, topic)
    reading = read(stream)
    reading.until_reached(topic, log.ends([stream])[topic], max_rows=1)
    assert reading.values(topic) == [b"0", b"1", b"3", b"4"]


def test_an_open_transaction_holds_back_the_end_and_the_reader(
    log: KafkaLog, create: CreateTopic, bootstrap: str, read: Read
) -> None:
    topic = create()
    produce(bootstrap, topic, b"before")
    pending = open_transaction(bootstrap, topic, b"pending")
    produce(bootstrap, topic, b"after")
    stream = stream_of(log, topic)
    assert log.ends([stream])[topic] == {0: 1}
    reading = read(stream)
    reading.until_reached(topic, {0: 1})
    reading.for_seconds(0.5)
    assert reading.positions[topic] == {0: 1}
    pending.commit_transaction(20)
    settled(bootstrap, topic)
    reading.until_reached(topic, log.ends([stream])[topic])
    assert reading.values(topic) == [b"before", b"pending", b"after"]
    assert reading.positions[topic] == {0: 4}


def test_a_reader_starts_at_the_offset_it_is_given(
    log: KafkaLog, create: CreateTopic, bootstrap: str, read: Read
) -> None:
    topic = create(2)
    produce(bootstrap, topic, *(b"%d" % n for n in range(10)))
    produce(bootstrap, topic, b"x", partition=1)
    stream = stream_of(log, topic)
    reading = read(stream, starts={topic: {0: 7}})
    reading.until_reached(topic, log.ends([stream])[topic])
    assert sorted(v for v in reading.values(topic) if v) == [b"7", b"8", b"9", b"x"]


def test_keys_and_values_may_be_missing(
    log: KafkaLog, create: CreateTopic, bootstrap: str, read: Read
) -> None:
    topic = create()
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce(topic, key=b"k", value=None, partition=0)
    producer.produce(topic, key=None, value=b"", partition=0)
    assert producer.flush(20) == 0
    reading = read(stream_of(log, topic))
    reading.until_reached(topic, {0: 2})
    assert [(key, value) for _, _, key, value in reading.rows[topic]] == [(b"k", None), (None, b"")]


def test_an_offset_that_retention_took_stops_its_topic_alone(
    log: KafkaLog, create: CreateTopic, bootstrap: str, admin: AdminClient, read: Read
) -> None:
    lost, well = create(), create()
    for topic in (lost, well):
        produce(bootstrap, topic, *(b"%d" % n for n in range(10)))
    for future in admin.delete_records([TopicPartition(lost, 0, 6)]).values():
        future.result(timeout=20)
    streams = [stream_of(log, topic) for topic in (lost, well)]
    available = log.available(streams)
    assert available == {lost: {0: Range(6, 10)}, well: {0: Range(0, 10)}}
    with pytest.raises(OffsetsLost, match="2 to 5"):
        plan(streams[0], {0: 2}, available[lost])
    reading = read(*streams, starts={lost: {0: 2}})
    reading.until(lambda: lost in reading.stopped)
    error = reading.stopped[lost].error
    assert isinstance(error, OffsetsLost)
    assert error.where == f"topic {lost}, partition 0, offset 2"
    assert error.remedy
    reading.until_reached(well, {0: 10})
    produce(bootstrap, well, b"later")
    reading.until_reached(well, {0: 11})
    assert reading.values(lost) == []
    assert reading.positions[lost] == {0: 2}


def test_an_offset_past_the_end_stops_its_topic_alone(
    log: KafkaLog, create: CreateTopic, bootstrap: str, read: Read
) -> None:
    short, well = create(), create()
    for topic in (short, well):
        produce(bootstrap, topic, b"1", b"2")
    streams = [stream_of(log, topic) for topic in (short, well)]
    with pytest.raises(LogTruncated):
        plan(streams[0], {0: 9}, log.available(streams)[short])
    reading = read(*streams, starts={short: {0: 9}})
    reading.until(lambda: short in reading.stopped)
    reading.until_reached(well, {0: 2})
    assert reading.values(short) == []


def test_a_topic_that_is_made_again_has_another_identity(
    log: KafkaLog, create: CreateTopic, admin: AdminClient
) -> None:
    topic = create(2)
    before = stream_of(log, topic)
    assert stream_of(log, topic) == before
    admin.delete_topics([topic])[topic].result(timeout=20)
    eventually_gone(log, topic)
    log.create({topic: 2})
    after = stream_of(log, topic)
    assert (after.cluster_id, after.topic, after.partitions) == (before.cluster_id, topic, 2)
    assert after.topic_id != before.topic_id
    assert after.app_id(0) != before.app_id(0)


def eventually_gone(log: KafkaLog, topic: str) -> None:
    until = time.monotonic() + 20
    while log.streams([topic]):
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_topic_that_does_not_exist_is_left_out(log: KafkaLog, create: CreateTopic) -> None:
    topic = create(3)
    stream_of(log, topic)
    found = log.streams([topic, "kafka-test.nowhere"])
    assert list(found) == [topic]
    assert found[topic].partitions == 3
    assert log.streams([]) == {}
    assert log.ends([]) == {}


def test_creating_a_topic_that_exists_leaves_it_as_it_is(
    log: KafkaLog, create: CreateTopic, bootstrap: str
) -> None:
    topic = create(2)
    before = stream_of(log, topic)
    produce(bootstrap, topic, b"1")
    log.create({topic: 5})
    assert stream_of(log, topic) == before
    assert log.ends([before])[topic] == {0: 1, 1: 0}


def test_the_ends_of_a_topic_that_vanished_are_an_error_and_not_empty(
    log: KafkaLog, create: CreateTopic, admin: AdminClient
) -> None:
    topic = create()
    stream = stream_of(log, topic)
    admin.delete_topics([topic])[topic].result(timeout=20)
    eventually_gone(log, topic)
    with pytest.raises((Terminal, Transient)):
        log.ends([stream])


def test_a_paused_topic_delivers_nothing_and_loses_nothing(
    log: KafkaLog, create: CreateTopic, bootstrap: str, read: Read
) -> None:
    slow, quick = create(2), create()
    numbers = [b"%05d" % n for n in range(3_000)]
    for partition in range(2):
        produce(bootstrap, slow, *numbers, partition=partition)
    produce(bootstrap, quick, *numbers)
    reading = read(stream_of(log, slow), stream_of(log, quick))
    reading.until(lambda: len(reading.values(slow)) > 100, max_rows=50)
    for _ in range(3):
        reading.reader.pause(slow)
        held = len(reading.values(slow))
        produce(bootstrap, quick, b"more")
        end = log.ends([stream_of(log, quick)])[quick]
        reading.until_reached(quick, end)
        reading.for_seconds(0.3)
        assert len(reading.values(slow)) == held
        reading.reader.resume(slow)
        reading.until(lambda before=held: len(reading.values(slow)) > before, max_rows=50)  # type: ignore[misc]
    reading.until_reached(slow, {0: 3_000, 1: 3_000})
    assert [(p, o) for p, o, _, _ in sorted(reading.rows[slow])] == [
        (p, n) for p in range(2) for n in range(3_000)
    ]


def test_what_comes_while_a_topic_is_paused_at_its_end_is_delivered_afterwards(
    log: KafkaLog, create: CreateTopic, bootstrap: str, read: Read
) -> None:
    topic = create()
    produce(bootstrap, topic, b"1")
    reading = read(stream_of(log, topic))
    reading.until_reached(topic, {0: 1})
    reading.reader.pause(topic)
    transaction(bootstrap, topic, b"2")
    reading.for_seconds(0.3)
    assert reading.values(topic) == [b"1"]
    reading.reader.resume(topic)
    reading.until_reached(topic, {0: 3})
    assert reading.values(topic) == [b"1", b"2"]


@pytest.mark.parametrize(
    "ask",
    [
        lambda log: log.streams(["any"]),
        lambda log: log.create({"any": 1}),
        lambda log: log.available([Stream("cluster", "any", "uuid", 1)]),
    ],
    ids=["streams", "create", "available"],
)
def test_a_broker_that_does_not_answer_is_transient_in_bounded_time(
    ask: Callable[[KafkaLog], object],
) -> None:
    log = KafkaLog("127.0.0.1:1", timeout=2)
    began = time.monotonic()
    with pytest.raises(Transient) as raised:
        ask(log)
    assert time.monotonic() - began < 12
    assert "127.0.0.1:1" in raised.value.where
    assert raised.value.remedy


def test_a_description_of_ends_is_what_a_plan_ends_at(
    log: KafkaLog, create: CreateTopic, bootstrap: str
) -> None:
    topic = create(2)
    produce(bootstrap, topic, b"1", b"2", partition=1)
    stream = stream_of(log, topic)
    planned = plan(stream, {1: 1}, log.available([stream])[topic])
    assert planned == {0: Range(0, 0), 1: Range(1, 2)}
    assert ends_of(planned) == log.ends([stream])[topic]
