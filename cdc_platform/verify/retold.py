"""A few keys' rows in the changelog, held against what Kafka still has of them.

Invariants
- Of each key Kafka is read from its last changelog row on, in that row's partition; of a key without one from
  the beginning of every partition. Both only as far back as the topic's ``newest`` offsets, beyond which the
  records of the last rows alone are read, one by one.
- A record that lies in no range that was read is neither there nor missing.
- A truncation that is wrong is wrong for every key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from cdc_platform.core.columns import KEY, METADATA, OFFSET, OPERATION, PARTITION, POSITION, TIMESTAMP
from cdc_platform.core.digest import encode_columns
from cdc_platform.core.offsets import Range, Ranges
from cdc_platform.verify.as_of import Opened
from cdc_platform.verify.topic import PLACES, Heard, Topic, reread, within
from cdc_platform.verify.unfold import unfold

_PLACE: Final = [PARTITION, OFFSET]
_KEYED: Final = pl.Schema({KEY: pl.String(), **PLACES})
_EVENT: Final = [OPERATION, TIMESTAMP, POSITION]
"""Metadata that an event tells of itself."""

SHOWN: Final = 3
"""Places named of a key; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Retold:
    """``wrong``: key → where its changelog is not what Kafka holds, in words. ``decided``: keys of which
    Kafka still holds what decides: the record of their last changelog row, or, without any row, everything.
    ``beyond``: why nothing can be told of the others.
    """

    wrong: Mapping[str, Sequence[str]]
    decided: frozenset[str]
    beyond: str


def retell(keys: Sequence[str], history: pl.DataFrame, changelog: Opened, topic: Topic) -> Retold:
    """``history``: KEY, PARTITION and OFFSET of the keys' rows in the changelog. Raises CdcError."""
    if topic.hear is None:
        return Retold({}, frozenset(), "Kafka was not asked")
    plan = _plan(keys, history, changelog, topic)
    heard: list[Heard] = []
    there: list[pl.DataFrame] = []
    until = topic.clock() + topic.deadline
    for cover in plan.covers:
        mine = _of(keys) & within(cover)
        for batch in reread(topic, cover, plan.starts(cover), until):
            told = topic.hear(batch)
            heard.append(Heard(told.rows.filter(mine), told.letters.filter(mine), told.repairs, told.unsent))
        rows = changelog.table.read(changelog.handle, cover).filter(_of(keys))
        there.append(rows.collect())
    unsent = _together([each.unsent for each in heard])
    found = _Both(
        theirs=_said(_together([each.rows for each in heard]), unsent),
        ours=_said(_together(there), unsent),
        dead=_together([each.letters for each in heard]),
        late=_together([each.repairs for each in heard]),
    )
    return Retold(_wrong(keys, found, topic), plan.decided(found.theirs), plan.beyond)


@dataclass(frozen=True, slots=True)
class _Both:
    """``theirs``, ``ours``: what Kafka's records and the changelog's rows say. ``dead``: KEY and places of
    records that cannot be rows. ``late``: places of repairs that the changelog may lack."""

    theirs: pl.DataFrame
    ours: pl.DataFrame
    dead: pl.DataFrame
    late: pl.DataFrame


@dataclass(frozen=True, slots=True)
class _Plan:
    """``covers``: what to read, one after the other. ``lasts``: place of each key's last row. ``whole``:
    whether everything that ever was in the topic lies in the first of them."""

    held: Ranges
    covers: tuple[Ranges, ...]
    lasts: Mapping[str, tuple[int, int]]
    keys: Sequence[str]
    whole: bool

    def starts(self, cover: Ranges) -> dict[int, int]:
        """What is not read begins at its end."""
        return {p: cover[p].start if p in cover else r.end for p, r in self.held.items()}

    def decided(self, heard: pl.DataFrame) -> frozenset[str]:
        there = set(heard.select(KEY, *_PLACE).iter_rows())
        found = {key for key, place in self.lasts.items() if (key, *place) in there}
        return frozenset(found | {key for key in self.keys if key not in self.lasts and self.whole})

    @property
    def beyond(self) -> str:
        read = " ".join(f"{p}:{r.start}" for p, r in sorted(self.covers[0].items())) or "no offset"
        return f"beyond the changelog nothing can be told, as Kafka's records were read from {read} on only"


def _plan(keys: Sequence[str], history: pl.DataFrame, changelog: Opened, topic: Topic) -> _Plan:
    held = topic.log.available([topic.stream])[topic.stream.topic]
    ends = {p: min(changelog.handle.offsets.get(p, 0), r.end) for p, r in held.items()}
    newest = {p: Range(max(r.start, ends[p] - topic.newest), ends[p]) for p, r in held.items()}
    mine = history.filter(pl.col(KEY).is_in(list(keys))).sort(OFFSET)
    lasts = {key: (partition, offset) for key, partition, offset in mine.select(KEY, *_PLACE).iter_rows()}
    starts: dict[int, int] = {}
    for partition, offset in lasts.values():
        starts[partition] = min(starts.get(partition, offset), offset)
    if unseen := any(key not in lasts for key in keys):
        starts = dict.fromkeys(held, 0)
    cover = {p: Range(max(starts[p], r.start), r.end) for p, r in newest.items() if p in starts}
    older = [
        (partition, offset)
        for partition, offset in sorted(set(lasts.values()))
        if partition in held and held[partition].start <= offset < newest[partition].start
    ]
    whole = unseen and all(r.start == 0 for r in newest.values())
    return _Plan(held, ({p: r for p, r in cover.items() if r}, *_one_by_one(older)), lasts, keys, whole)


def _one_by_one(places: Sequence[tuple[int, int]]) -> Iterator[Ranges]:
    """Single offsets, one of each partition at a time."""
    left: dict[int, list[int]] = {}
    for partition, offset in places:
        left.setdefault(partition, []).append(offset)
    while any(left.values()):
        taken = {partition: offsets.pop() for partition, offsets in left.items() if offsets}
        yield {partition: Range(offset, offset + 1) for partition, offset in taken.items()}


def _of(keys: Sequence[str]) -> pl.Expr:
    """Rows of these keys, and truncations, which are of every key."""
    return pl.col(KEY).is_in(list(keys)) | pl.col(KEY).is_null()


def _together(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(schema=_KEYED), *frames], how="diagonal_relaxed")


def _said(rows: pl.DataFrame, unsent: pl.DataFrame) -> pl.DataFrame:
    """KEY, place, and one text of all that the row says, but for values that its event did not send."""
    if rows.is_empty():
        return pl.DataFrame(schema=pl.Schema({**_KEYED, "said": pl.String()}))
    marks = unsent.drop(KEY).unique(_PLACE)
    marks = rows.select(_PLACE).join(marks, on=_PLACE, how="left", maintain_order="left")
    sent = [
        rows[name].set(marks[name].fill_null(value=False), None) if name in marks.columns else rows[name]
        for name in rows.columns
        if name not in METADATA
    ]
    texts = encode_columns([*sent, *rows.select(_EVENT).get_columns()], unfold)
    return rows.select(KEY, *_PLACE).with_columns(pl.Series("said", texts, pl.String))


def _wrong(keys: Sequence[str], found: _Both, topic: Topic) -> dict[str, list[str]]:
    both = [KEY, *_PLACE]
    theirs, ours = found.theirs, found.ours
    missing = theirs.join(ours, on=both, how="anti", nulls_equal=True).join(found.late, on=_PLACE, how="anti")
    dead = _dead(missing, found, topic)
    invented = ours.join(theirs, on=both, how="anti", nulls_equal=True)
    paired = ours.join(theirs, on=both, nulls_equal=True, suffix=" in Kafka")
    looks = {
        "Kafka's {} is not in the changelog": missing.join(dead, on=_PLACE, how="anti"),
        "Kafka's {} is a dead letter": dead,
        "the changelog has {} otherwise than Kafka": paired.filter(pl.col("said") != pl.col("said in Kafka")),
        "the changelog has {} more than once": ours.group_by(both).len().filter(pl.col("len") > 1),
        "Kafka has no record of it at {}": invented.clear() if topic.compacted else invented,
    }
    told: dict[str, list[str]] = {}
    for sentence, rows in looks.items():
        for key in keys:
            places = rows.filter((pl.col(KEY) == key) | pl.col(KEY).is_null()).sort(_PLACE)
            if places.height:
                told.setdefault(key, []).append(sentence.format(_listed(places)))
    return told


def _dead(missing: pl.DataFrame, found: _Both, topic: Topic) -> pl.DataFrame:
    """Records that cannot be rows now, and those that could not when they came."""
    kept = topic.letters()
    known = pl.DataFrame(schema=PLACES) if kept is None else kept.select(_PLACE).unique().collect()
    before = missing.join(known, on=_PLACE, how="semi").select(KEY, *_PLACE)
    now = found.dead.join(found.ours, on=_PLACE, how="anti").select(KEY, *_PLACE)
    return pl.concat([before, now]).unique()


def _listed(places: pl.DataFrame) -> str:
    listed = places.select(_PLACE).unique(maintain_order=True)
    shown = ", ".join(f"{partition}:{offset}" for partition, offset in listed.head(SHOWN).iter_rows())
    return shown + (f" and {listed.height - SHOWN} more" if listed.height > SHOWN else "")
