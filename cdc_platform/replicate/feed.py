"""One reader of a drain: records from many topics, each into the inbox of its tables.

Invariants
- A topic is read once for all formats of its table that stand near one another (``grouping``).
- A topic that cannot be read stops its own table, with an error that names it; the others are read on.
- A table that is held back, that has ended or that cannot keep up is not fetched. One format that cannot keep
  up while another waits is left behind: it is read for by itself.
- A topic is what it was when its table was opened. Made again, it stops its table; given more partitions, the
  feed ends, so that the next run reads them all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event

from cdc_platform.core.errors import CdcError, StreamReplaced, Terminal, Transient
from cdc_platform.core.model import Kind, Stopped
from cdc_platform.core.offsets import Offsets, Ranges, earliest, ends_of, plan, reached
from cdc_platform.core.ports import Log, LogReader
from cdc_platform.replicate.inbox import Inbox
from cdc_platform.replicate.lane import Lane
from cdc_platform.replicate.replica import Replica

POLL_SECONDS = 0.05
POLL_ROWS = 20_000
LOOK_AT_HOLDS = 0.5
"""Seconds between two looks at which tables are held."""
LOOK_AT_TOPICS = 30.0
"""Seconds between two looks at whether the topics are still the same."""
PATIENCE = 10.0
"""Seconds that a table waits for the same table in another format."""


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
class Pulse:
    """When something was last heard by any of a drain's readers: while one has work, the others stay."""

    began: float
    heard: float


@dataclass(slots=True)
class Feed:
    """``lanes``: by topic, each with the place that its changelog stands at. ``stop``: end soon.
    ``handing_over``: set when a successor goes on at once. ``held``: whether an operator holds a table back.
    ``fail``: takes a table whose topic cannot be read. ``leave``: one that others do not wait for any more.
    """

    lanes: Mapping[str, list[Lane]]
    log: Log
    until: Until
    clock: Callable[[], float]
    pulse: Pulse
    stop: Event
    handing_over: Event
    held: Callable[[str], bool]
    fail: Callable[[Lane, Kind, CdcError], None]
    leave: Callable[[Lane], None]
    _inboxes: dict[str, Inbox] = field(default_factory=dict)
    _positions: dict[str, dict[int, int]] = field(default_factory=dict)
    _goals: dict[str, Offsets] = field(default_factory=dict)
    _paused: set[str] = field(default_factory=set)

    def run(self) -> None:
        """Read until the end. Raises CdcError if no topic can be read at all."""
        try:
            self._board()
            self.look_at_holds()
            self._begin()
            if self._goals:
                self._feed()
        finally:
            for inbox in self._inboxes.values():
                inbox.close()

    def _board(self) -> None:
        for topic, lanes in self.lanes.items():
            inbox = self._inboxes[topic] = Inbox(lanes[0].replica.limits, self.clock)
            for lane in lanes:
                lane.board(inbox.taker())

    def _feed(self) -> None:
        starts = {self.lanes[topic][0].replica.stream: at for topic, at in self._positions.items()}
        most = min(POLL_ROWS, *(self.lanes[t][0].replica.limits.batch_rows for t in self._goals))
        reader = self.log.reader(starts)
        self.pulse.heard = held_at = topics_at = self.clock()
        try:
            for topic in self._positions:
                self._throttle(reader, topic)
            while not self._over():
                if self._read(reader, most):
                    self.pulse.heard = self.clock()
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
        for lanes in self.lanes.values():
            held = self.held(lanes[0].replica.name)
            for lane in lanes:
                lane.held = held

    def _begin(self) -> None:
        """Per topic where its tables stand and where it ends; a table that cannot go on is left out."""
        # The tables were opened before: another writer may move one past ends that were read earlier.
        available = self._available([lanes[0].replica for lanes in self.lanes.values()])
        for topic, lanes in self.lanes.items():
            if topic not in available:
                self._stop_topic(topic, _gone(topic))
                continue
            plans = [self._plan(lane, available[topic]) for lane in lanes]
            if going := self._going(topic):
                self._positions[topic] = earliest([lane.at for lane in going])
                self._goals[topic] = next(ends_of(ranges) for ranges in plans if ranges is not None)

    def _plan(self, lane: Lane, available: Ranges) -> Ranges | None:
        try:
            return plan(lane.replica.stream, lane.at, available)
        except CdcError as error:
            self.fail(lane, Kind.CHANGELOG, error)
            lane.end()
            return None

    def _available(self, replicas: Sequence[Replica]) -> Mapping[str, Ranges]:
        """A broker that has just come back says for a moment that partitions have no leader."""
        if not replicas:
            return {}
        return replicas[0].retrying(self.log.available, [each.stream for each in replicas])

    def _read(self, reader: LogReader, most: int) -> bool:
        """Whether there were any records."""
        heard = False
        for read in reader.poll(POLL_SECONDS, most):
            if isinstance(read, Stopped):
                self._stop_topic(read.topic, read.error)
                continue
            topic = read.stream.topic
            self._positions[topic] |= ends_of(read.ranges)
            heard = heard or bool(read.frame.height)
            if self._going(topic):
                self._inboxes[topic].put(read)
        return heard

    def _going(self, topic: str) -> list[Lane]:
        return [lane for lane in self.lanes[topic] if not lane.ended.is_set()]

    def _stop_topic(self, topic: str, error: CdcError) -> None:
        """What was read of it before is still committed."""
        for lane in self._going(topic):
            self.fail(lane, Kind.CHANGELOG, error)
        self._inboxes[topic].close()

    def _throttle(self, reader: LogReader, topic: str) -> None:
        lanes = self._going(topic)
        full = [lane for lane in lanes if self._is_full(lane)]
        if len(full) < len(lanes):
            full = [lane for lane in full if not self._leave_behind(lane)]
        wanted = bool(full) or not lanes or any(lane.held for lane in lanes)
        if wanted and topic not in self._paused:
            reader.pause(topic)
            self._paused.add(topic)
        elif not wanted and topic in self._paused:
            reader.resume(topic)
            self._paused.remove(topic)

    def _is_full(self, lane: Lane) -> bool:
        full = lane.taker is not None and lane.taker.full
        lane.full_since = (lane.full_since or self.clock()) if full else None
        return full

    def _leave_behind(self, lane: Lane) -> bool:
        """Whether others have waited long enough for a lane, which then is another reader's."""
        if lane.full_since is None or self.clock() - lane.full_since < PATIENCE:
            return False
        self.lanes[lane.topic].remove(lane)
        self.leave(lane)
        return True

    def _over(self) -> bool:
        now = self.clock()
        overtime = now - self.pulse.began - self.until.seconds
        if overtime > 0 and (overtime > self.until.grace or self.until.relieved()):
            self.handing_over.set()
            return True
        if self.until.caught_up and all(self._is_caught_up(topic) for topic in self._goals):
            return True
        ended = not any(self._going(topic) for topic in self.lanes)
        return ended or self.stop.is_set() or now - self.pulse.heard > self.until.idle

    def _is_caught_up(self, topic: str) -> bool:
        return reached(self._positions[topic], self._goals[topic]) or not any(
            not lane.held for lane in self._going(topic)
        )

    def _topics_grew(self) -> bool:
        """Whether a topic has more partitions. One that was made again, or is gone, stops its table."""
        try:
            found = self.log.streams(list(self._positions))
        except Transient:  # the reader itself tells for how long no broker answers
            return False
        known = {topic: self.lanes[topic][0].replica.stream for topic in self._positions}
        for topic, stream in known.items():
            now = found.get(topic)
            if now is None or now.identity != stream.identity:
                self._stop_topic(topic, _replaced(topic))
        return any(
            found[topic].partitions > stream.partitions
            for topic, stream in known.items()
            if topic in found and self._going(topic)
        )


def _gone(topic: str) -> Terminal:
    return Terminal(
        "the topic does not exist any more",
        where=f"topic {topic}",
        remedy="its lake table is whole; take the collection out of the source's declaration, or take a new "
        "snapshot into a new table",
    )


def _replaced(topic: str) -> StreamReplaced:
    return StreamReplaced(
        "the topic was deleted or made again while it was read",
        where=f"topic {topic}",
        remedy="the lake table has everything up to its own offsets; to go on with the topic as it is now: "
        "cdc rebuild TABLE --from source",
    )
