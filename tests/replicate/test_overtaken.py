"""Another writer moves the tables while a drain looks where they stand: that is no damage, and no failure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest

from cdc_platform.core.model import Handle, Kind
from cdc_platform.core.offsets import Ranges, Stream
from cdc_platform.lake.memory import MemoryTable
from cdc_platform.replicate import Drain, Failure, Replica, Until, merge_changes, replicate
from tests.replicate.events import created
from tests.replicate.memory_log import MemoryLog
from tests.replicate.shop import keys, replica

TOPIC = "shop.shop.orders"


class Overtaking(MemoryLog):
    """Once, between the answer of ``available`` and its arrival, another writer takes what came meanwhile."""

    winner: Replica | None = None

    def available(self, streams: Sequence[Stream]) -> Mapping[str, Ranges]:
        answer = super().available(streams)
        winner, self.winner = self.winner, None
        if winner:
            self.write(TOPIC, 0, created(2))
            replicate(winner, self)
        return answer


def test_a_changelog_past_the_ends_that_were_read_before_is_no_truncated_log() -> None:
    log = Overtaking()
    ours = replica(log.create(TOPIC, partitions=1), changelog_age=0, current_age=0)
    log.write(TOPIC, 0, created(1))
    log.winner = ours
    with Drain([ours], log, Until(caught_up=True)) as drain:
        found = []
        while drain.running:
            found.append(drain.take(timeout=0.02))
    assert not [each for each in found if isinstance(each, Failure)]
    assert keys(ours.changelog, ours.stream) == ["1", "2"]


class Overtaken(MemoryTable):
    """Once, after it was opened, another writer moves both tables."""

    move: Callable[[], object] | None = None

    def open(self, stream: Stream) -> Handle:
        handle = super().open(stream)
        move, self.move = self.move, None
        if move:
            move()
        return handle


@pytest.mark.parametrize("opened", Kind)
def test_a_current_table_moved_with_its_changelog_is_not_past_it(opened: Kind) -> None:
    log = MemoryLog()
    changelog, current = Overtaken("memory://changes"), Overtaken("memory://current")
    ours = replica(log.create(TOPIC, partitions=1), changelog, current)
    log.write(TOPIC, 0, created(1))
    replicate(ours, log)
    log.write(TOPIC, 0, created(2))
    table = changelog if opened is Kind.CHANGELOG else current
    moved: list[object] = []
    table.move = lambda: moved.extend(replicate(ours, log))
    merge_changes(ours)
    assert moved
    assert keys(current, ours.stream) == ["1", "2"]
