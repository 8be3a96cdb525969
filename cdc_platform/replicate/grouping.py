"""Which tables are read for together.

Invariants
- Tables of one topic that stand near one another share one read and one decoding.
- A table that is far behind another of its topic is read for by itself, and holds it back by nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from cdc_platform.core.offsets import lag
from cdc_platform.replicate.lane import Lane


def groups(lanes: Sequence[Lane]) -> list[dict[str, list[Lane]]]:
    """``lanes``: opened. Each group by topic; a topic's foremost tables are in the first group.

    Near is what lies within one batch.
    """
    if not lanes:
        return []
    by_topic: dict[str, list[Lane]] = {}
    for lane in lanes:
        by_topic.setdefault(lane.topic, []).append(lane)
    near = {topic: _near(found) for topic, found in by_topic.items()}
    together = {id(lane) for found in near.values() for lane in found}
    return [near, *groups([lane for lane in lanes if id(lane) not in together])]


def _near(lanes: Sequence[Lane]) -> list[Lane]:
    foremost = max(lanes, key=lambda lane: sum(lane.at.values()))
    limit = foremost.replica.limits.batch_rows
    return [lane for lane in lanes if lag(lane.at, foremost.at) <= limit]
