"""At which hand-over a key went wrong: source → topic → changelog → current.

    the changelog's fold at T is the source's row     changelog → current
    Kafka holds another record than the changelog     topic → changelog, with the places
    both agree, the current row is not their fold     changelog → current
    both agree, and the source has another row        source → topic: no record makes what the source has
    Kafka no longer holds what would tell             unknown, and where its records begin

Invariants
- The first hand-over from the source on counts: what comes after it only passed on what it was given.
- Nothing is guessed. That Kafka has no record is told only of offsets that were read again.
- Only the few keys of a result are looked into, as they were where they were compared: what came later does
  not hide what was wrong there. Kafka is read from their last changelog rows there on, no further back than
  the topic's ``newest`` offsets, but for the records of those very rows; and it ends.
- A verdict never waits for this: what goes wrong here leaves the stage unknown.

The topic's records are read by the decoder that filled the table. So a value that the decoder misreads looks
as if the source had never sent the right one; that the source has another value was found without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import polars as pl

from cdc_platform.core.columns import DELETE, KEY, OFFSET, OPERATION, PARTITION, POSITION
from cdc_platform.core.errors import CdcError
from cdc_platform.core.offsets import Offsets, Range
from cdc_platform.core.position import Engine
from cdc_platform.verify.as_of import NOT_RESENT, TRUNCATION, Opened, below, had_happened, last, standing
from cdc_platform.verify.compare import Ground
from cdc_platform.verify.finding import said
from cdc_platform.verify.images import image_digests
from cdc_platform.verify.position import SourcePosition
from cdc_platform.verify.retold import Retold, retell
from cdc_platform.verify.rows import digests
from cdc_platform.verify.shape import Shape
from cdc_platform.verify.subject import Subject
from cdc_platform.verify.topic import Topic
from cdc_platform.verify.verdict import DifferingKey, Stage

_NARROW: Final = (KEY, PARTITION, OFFSET, OPERATION, POSITION)
_PLACE: Final = [PARTITION, OFFSET]


@dataclass(frozen=True, slots=True)
class Known:
    """What the source has at ``at``: key → digest of its row, None without one; keys that nobody read are
    left out. ``since``, ``shape``: of the comparison's ground."""

    at: SourcePosition
    since: Offsets
    shape: Shape
    rows: Mapping[str, int | None]


def traced(
    keys: Sequence[DifferingKey],
    changelog: Opened,
    current: Opened,
    topic: Callable[[], Topic],
    known: Known | None = None,
) -> tuple[DifferingKey, ...]:
    """The keys with their stages. ``topic``: may raise CdcError. ``known``: the source, if it was read."""
    if not keys:
        return ()
    try:
        found = stages([each.key for each in keys], changelog, current, topic(), known)
    except CdcError as error:
        found = dict.fromkeys((each.key for each in keys), (Stage.UNKNOWN, said(error)))
    unclear = (Stage.UNKNOWN, "topic, changelog and current table agree by now")
    put = [(each, *(found[each.key] or unclear)) for each in keys]
    return tuple(replace(each, stage=stage, told=told) for each, stage, told in put)


def with_stages(
    subject: Subject,
    keys: Sequence[DifferingKey],
    changelog: Opened,
    current: Opened,
    ground: Ground,
    source: Mapping[str, int | None],
) -> tuple[DifferingKey, ...]:
    """The keys of a proof with their stages, if the subject's topic can be read again. ``source``: as
    ``Known.rows``."""
    if subject.topic is None:
        return tuple(keys)
    known = Known(ground.at, ground.since, ground.shape, source)
    return traced(keys, changelog, current, subject.topic, known)


def stages(
    keys: Sequence[str],
    changelog: Opened,
    current: Opened,
    topic: Topic,
    known: Known | None = None,
    upto: Offsets | None = None,
) -> dict[str, tuple[Stage, str] | None]:
    """Stage and what shows it, by key; None where topic, changelog and current table agree and the source
    was not read. ``upto``: the offsets at which the keys were compared, if not with the source. Raises
    CdcError."""
    lake = _lake(changelog, current, keys)
    right = _as_the_source(lake, known)
    asked = [key for key in keys if key not in right]
    if not asked:
        retold = Retold({}, frozenset(), "")
    else:
        history = lake.history.filter(_compared(lake, known, upto))
        emptied = _emptied(asked, history, changelog, known)
        retold = retell(asked, history, changelog, topic, emptied)
    return {key: _stage(key, lake, right, retold, known) for key in keys}


@dataclass(frozen=True, slots=True)
class _Lake:
    """``history``: the keys' rows in the changelog and its truncations, narrow. ``unfolded``: keys whose
    current row is not the fold of them. ``places``: of the keys' last rows."""

    changelog: Opened
    current: Opened
    history: pl.DataFrame
    unfolded: frozenset[str]
    places: Mapping[str, str]


def _lake(changelog: Opened, current: Opened, keys: Sequence[str]) -> _Lake:
    mine = pl.col(KEY).is_in(list(keys))
    rows = changelog.changes().filter(mine | TRUNCATION).select(_NARROW).collect()
    folded = _images(changelog, rows.lazy().filter(below(current.handle.offsets)))
    expected = sorted(image_digests(folded))
    there = sorted(image_digests(current.rows().filter(mine)))
    wrong = {key for key, _ in {*expected} ^ {*there}}
    wrong |= {key for key, _ in there if sum(each == key for each, _ in there) > 1}
    newest = last(rows.lazy(), changelog.kind).select(KEY, *_PLACE).collect()
    places = {key: f"{partition}:{offset}" for key, partition, offset in newest.iter_rows()}
    return _Lake(changelog, current, rows, frozenset(wrong), places)


def _images(changelog: Opened, history: pl.LazyFrame) -> pl.LazyFrame:
    """The whole rows of the table that a narrow history leads to."""
    winners = standing(history, changelog.kind).select(_PLACE).collect()
    spans = winners.group_by(PARTITION).agg(low=pl.col(OFFSET).min(), high=pl.col(OFFSET).max())
    ranges = {partition: Range(low, high + 1) for partition, low, high in spans.iter_rows()}
    rows = changelog.table.read(changelog.handle, ranges).filter(NOT_RESENT)
    return rows.join(winners.lazy(), on=_PLACE, how="semi")


def _as_the_source(lake: _Lake, known: Known | None) -> frozenset[str]:
    """Keys that the changelog leads to as the source has them."""
    if known is None:
        return frozenset()
    history = lake.history.lazy().filter(_compared(lake, known, None))
    folded = dict(digests(_images(lake.changelog, history), known.shape))
    return frozenset(key for key, digest in known.rows.items() if folded.get(key) == digest)


def _compared(lake: _Lake, known: Known | None, upto: Offsets | None) -> pl.Expr:
    """True for the changelog's rows that count where the keys were compared."""
    if known is not None:
        happened = had_happened(known.at, known.since, lake.changelog.kind)
        return below(lake.current.handle.offsets) & happened
    return pl.lit(value=True) if upto is None else below(upto)


def _emptied(
    keys: Sequence[str], history: pl.DataFrame, changelog: Opened, known: Known | None
) -> frozenset[str]:
    """Keys that a truncation may have taken, by somebody: their last change was no deletion."""
    if changelog.kind is Engine.MONGODB:
        return frozenset()
    kept = last(history.lazy(), changelog.kind).filter(pl.col(OPERATION) != DELETE)
    there = set(kept.select(KEY).collect()[KEY])
    standing_now = set(standing(history.lazy(), changelog.kind).select(KEY).collect()[KEY])
    gone = {key for key in keys if known is None or known.rows.get(key, 0) is None}
    return frozenset(there & (gone | set(keys) - standing_now))


def _stage(
    key: str, lake: _Lake, right: frozenset[str], retold: Retold, known: Known | None
) -> tuple[Stage, str] | None:
    place = lake.places.get(key)
    if key in right:
        by = f"its last changelog row, {place}, leads" if place else "that it has no changelog row leads"
        return Stage.CURRENT, f"{by} to what the source has"
    if wrong := retold.wrong.get(key):
        return Stage.CHANGELOG, ", ".join(wrong)
    if key in lake.unfolded:
        beyond = "" if key in retold.decided else f"; {retold.beyond}"
        row = f"its last changelog row, {place}," if place else "no changelog row"
        return Stage.CURRENT, f"{row} leads to another row than the current table has{beyond}"
    if key not in retold.decided:
        return Stage.UNKNOWN, retold.beyond
    if known is None or key not in known.rows:
        return None
    held = f"its last record, {place}, does not say" if place else "none of Kafka's records says"
    return Stage.TOPIC, f"{held} what the source has, and the changelog has what Kafka holds"
