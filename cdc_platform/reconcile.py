"""Rows of the lake that the source has no more, found at a position and deleted through the ordinary
path.

Such rows are left when deletes were never streamed: a snapshot that was interrupted and begun again, a
connector that was made anew, changes that were lost with the oplog. The stream says nothing of them, a
comparison does.

Invariants
- Found as a proof finds them: at one position, with everything that had happened by then in the lake,
  twice.
- Deleted by an event in the key's own partition of the topic, so that every reader of the topic sees it,
  offsets stay unique, and the changelog tells of it. It names the row it deletes: a key that has come back
  since is safe (``replicate.repairs``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from cdc_platform.core.columns import DELETE, PLATFORM
from cdc_platform.core.errors import Transient
from cdc_platform.decode.envelope import REPAIRS
from cdc_platform.prove import await_lake, stand
from cdc_platform.verify.barrier import barrier_of
from cdc_platform.verify.compare import extra_places, wrong_keys
from cdc_platform.verify.judging import compared
from cdc_platform.verify.patience import Patience
from cdc_platform.verify.position import SourcePosition
from cdc_platform.verify.subject import Subject
from cdc_platform.verify.verdict import Kind

Place = tuple[int, int]
"""Partition and offset."""


@dataclass(frozen=True, slots=True)
class Damage:
    """``wrong``: keys whose row in the lake was not the source's at ``at``. ``places``: of those that the
    source did not have, the place of their last row. ``buckets_unlisted``: buckets that differ, too, and were
    not looked into: do it again.
    """

    at: SourcePosition
    wrong: Mapping[str, Kind]
    places: Mapping[str, Place]
    buckets_unlisted: int


@dataclass(frozen=True, slots=True)
class Orphans:
    """``rows``: keys that the source did not have at ``at``, with the place of their last row.
    ``buckets_unlisted``: buckets that differ, too, and were not looked into: do it again.
    """

    at: SourcePosition
    rows: Mapping[str, Place]
    buckets_unlisted: int


def find_orphans(
    subject: Subject,
    *,
    marker: str,
    deadline: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    drain: Callable[[], None] | None = None,
) -> Orphans:
    """Arguments as of ``prove``. Raises CdcError where a proof would end as unknown."""
    found = find_damage(subject, marker=marker, deadline=deadline, clock=clock, sleep=sleep, drain=drain)
    return Orphans(found.at, found.places, found.buckets_unlisted)


def find_damage(
    subject: Subject,
    *,
    marker: str,
    deadline: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    drain: Callable[[], None] | None = None,
) -> Damage:
    """What differs at one position, twice. Arguments as of ``prove``. Raises CdcError where a proof would end
    as unknown."""
    patience = Patience(clock, sleep, clock() + deadline)
    ground = stand(subject, patience)
    barrier = barrier_of(subject, marker, patience)
    ground.source.add(subject.truth.digests(ground.at))
    await_lake(subject, barrier, patience, drain)
    found = compared(subject, ground)
    if found.state.contended:
        raise Transient(
            "an initial snapshot is running: its rows may be newer than the position",
            where=f"table {subject.table}",
            remedy="reconcile once the connector streams (cdc connector status)",
        )
    wrong, unlisted = wrong_keys(subject.truth, found)
    places = extra_places(found, wrong)
    if wrong:
        second = compared(subject, ground)
        again, _ = wrong_keys(subject.truth, second)
        still = extra_places(second, again)
        wrong = {key: kind for key, kind in wrong.items() if again.get(key) == kind}
        places = {key: place for key, place in places.items() if still.get(key) == place}
    return Damage(ground.at, wrong, places, unlisted)


def together(found: Sequence[Orphans]) -> Orphans:
    """What was found in several formats of one table, as it stood at the last one's position."""
    rows = {key: place for each in found for key, place in each.rows.items()}
    return Orphans(found[-1].at, rows, max(each.buckets_unlisted for each in found))


def deletes(orphans: Orphans) -> list[tuple[int, bytes, bytes]]:
    """The events that delete them: partition, key and value of each record."""
    return [
        (partition, orjson.dumps({"id": key}), orjson.dumps(_delete(orphans.at, offset)))
        for key, (partition, offset) in sorted(orphans.rows.items())
    ]


def _delete(at: SourcePosition, offset: int) -> dict[str, object]:
    return {
        "before": None,
        "after": None,
        "op": DELETE,
        "source": {"connector": PLATFORM, **at.source(), REPAIRS: offset},
        "transaction": None,
    }
