"""The one reader of a drain: records from all topics into the tables' inboxes.

Invariants
- A topic that cannot be read stops its own table, with an error that names it; the others are read on.
- A table that is held back, that has ended or that cannot keep up is not fetched.
- A topic is what it was when its table was opened. Made again, it stops its table; given more partitions, the
  feed ends, so that the next run reads them all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event

from cdc_platform.core.errors import CdcError, StreamReplaced, Terminal, Transient
from cdc_platform.core.model import Kind, Stopped
from cdc_platform.core.offsets import Offsets, Ranges, ends_of, plan, reached
from cdc_platform.core.ports import Log, LogReader
from cdc_platform.replicate.lane import Lane
from cdc_platform.replicate.replica import Replica

POLL_SECONDS = 0.05
POLL_ROWS = 20_000
LOOK_AT_HOLDS = 0.5
"""Seconds between two looks at which tables are held."""
LOOK_AT_TOPICS = 30.0
"""Seconds between two looks at whether the topics are still the same."""


@dataclass(frozen=True, slots=True)
class Until:
    """When to end: at the ends the topics had at the start (``caught_up``), or after so many seconds without
    a record (``idle``), or in all (``seconds``).

    Out of time, the drain goes on for up to ``grace`` more seconds until ``relieved`` says that a successor
    is there to take over.
    """

    caught_up: bool = False
    idle: float = float("inf")
    seconds: float = float("inf")
    grace: float = 0.0
    relieved: Callable[[], bool] = lambda: True


@dataclass(slots=True)
class Feed:
    """``lanes``: by topic. ``stop``: end soon. ``handing_over``: set when a successor goes on at once.

    ``held``: whether an operator holds a table back. ``fail``: takes a table whose topic cannot be read.
    """

    lanes: Mapping[str, Lane]
    log: Log
    until: Until
    clock: Callable[[], float]
    stop: Event
    handing_over: Event
    held: Callable[[str], bool]
    fail: Callable[[Lane, Kind, CdcError], None]
    _positions: dict[str, dict[int, int]] = field(default_factory=dict)
    _goals: dict[str, Offsets] = field(default_factory=dict)

    def run(self) -> None:
        """Read until the end. Raises CdcError if no topic can be read at all."""
        self.look_at_holds()
        self._begin()
        if not self._goals:
            return
        reader = self.log.reader({self.lanes[t].replica.stream: p for t, p in self._positions.items()})
        most = min(POLL_ROWS, *(self.lanes[t].replica.limits.batch_rows for t in self._goals))
        began = heard = held_at = topics_at = self.clock()
        try:
            for topic in self._positions:
                self._throttle(reader, topic)
            while not self._over(began, heard):
                if self._read(reader, most):
                    heard = self.clock()
                now = self.clock()
                if now - held_at > LOOK_AT_HOLDS:
                    self.look_at_holds()
                    held_at = now
                if now - topics_at > LOOK_AT_TOPICS:
                    if self._topics_grew():
                        return
                    topics_at = now
                for topic in self._positions:
                    self._throttle(reader, topic)
        finally:
            reader.close()

    def look_at_holds(self) -> None:
        for lane in self.lanes.values():
            lane.held = self.held(lane.replica.name)

    def _begin(self) -> None:
        """Per topic where its changelog stands and where the topic ends; a table that cannot go on is left
        out.
        """
        lanes = {topic: lane for topic, lane in self.lanes.items() if not lane.ended.is_set()}
        # The tables first: another writer may move one past ends that were read before it was opened.
        committed = {topic: at for topic, lane in lanes.items() if (at := self._committed(lane)) is not None}
        available = self._available([lanes[topic].replica for topic in committed])
        for topic, at in committed.items():
            try:
                if topic not in available:
                    raise Terminal(
                        "the topic does not exist any more",
                        where=f"topic {topic}",
                        remedy="its lake table is whole; take the collection out of the source's "
                        "declaration, or take a new snapshot into a new table",
                    )
                self._goals[topic] = ends_of(plan(lanes[topic].replica.stream, at, available[topic]))
                self._positions[topic] = dict(at)
            except CdcError as error:
                self.fail(lanes[topic], Kind.CHANGELOG, error)

    def _available(self, replicas: Sequence[Replica]) -> Mapping[str, Ranges]:
        """A broker that has just come back says for a moment that partitions have no leader."""
        if not replicas:
            return {}
        return replicas[0].retrying(self.log.available, [each.stream for each in replicas])

    def _committed(self, lane: Lane) -> Offsets | None:
        replica = lane.replica
        try:
            return replica.retrying(replica.changelog.open, replica.stream).offsets
        except CdcError as error:
            self.fail(lane, Kind.CHANGELOG, error)
            return None

    def _read(self, reader: LogReader, most: int) -> bool:
        """Whether there were any records."""
        heard = False
        for read in reader.poll(POLL_SECONDS, most):
            lane = self.lanes[read.topic if isinstance(read, Stopped) else read.stream.topic]
            if isinstance(read, Stopped):
                self.fail(lane, Kind.CHANGELOG, read.error)
                continue
            self._positions[read.stream.topic] |= ends_of(read.ranges)
            heard = heard or bool(read.frame.height)
            if not lane.ended.is_set():
                lane.inbox.put(read)
        return heard

    def _throttle(self, reader: LogReader, topic: str) -> None:
        lane = self.lanes[topic]
        if wanted := (lane.inbox.full or lane.held or lane.ended.is_set()):
            if not lane.paused:
                reader.pause(topic)
        elif lane.paused:
            reader.resume(topic)
        lane.paused = wanted

    def _over(self, began: float, heard: float) -> bool:
        now = self.clock()
        overtime = now - began - self.until.seconds
        if overtime > 0 and (overtime > self.until.grace or self.until.relieved()):
            self.handing_over.set()
            return True
        lanes = [self.lanes[topic] for topic in self._goals]
        if self.until.caught_up and all(
            lane.held or lane.ended.is_set() or reached(self._positions[topic], self._goals[topic])
            for topic, lane in zip(self._goals, lanes, strict=True)
        ):
            return True
        ended = all(lane.ended.is_set() for lane in self.lanes.values())
        return ended or self.stop.is_set() or now - heard > self.until.idle

    def _topics_grew(self) -> bool:
        """Whether a topic has more partitions. One that was made again, or is gone, stops its table."""
        try:
            found = self.log.streams(list(self._positions))
        except Transient:  # the reader itself tells for how long no broker answers
            return False
        for topic in self._positions:
            lane, now = self.lanes[topic], found.get(topic)
            if not lane.ended.is_set() and (now is None or now.identity != lane.replica.stream.identity):
                self.fail(lane, Kind.CHANGELOG, _replaced(topic))
        return any(
            found[topic].partitions > self.lanes[topic].replica.stream.partitions
            for topic in self._positions
            if topic in found and not self.lanes[topic].ended.is_set()
        )


def _replaced(topic: str) -> StreamReplaced:
    return StreamReplaced(
        "the topic was deleted or made again while it was read",
        where=f"topic {topic}",
        remedy="take a new snapshot into a new table; the lake table has everything up to its own offsets",
    )
