"""A few keys' rows in the changelog, held against what Kafka still has of them.

Invariants
- Of each key Kafka is read from its last changelog row on, in that row's partition; of a key without one from
  the beginning of every partition. Both only as far back as the topic's ``newest`` offsets, beyond which the
  records of the last rows alone are read, one by one.
- A record that lies in no range that was read is neither there nor missing.
- A value that an event did not send is the one that the key's earlier records sent; they are read for it, as
  far back as the ``newest`` offsets. Where none of them tells it, it is not compared, and the key undecided.
- A truncation that is wrong is wrong for every key. It lies in any partition: of keys that one may have taken
  all partitions are read, from the place on that the key's last row has among the source's changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from cdc_platform.core.columns import KEY, METADATA, OFFSET, OPERATION, PARTITION, POSITION, TIMESTAMP
from cdc_platform.core.digest import encode_columns
from cdc_platform.core.offsets import Offsets, Range, Ranges
from cdc_platform.core.position import before
from cdc_platform.verify.as_of import Opened, last, place_of
from cdc_platform.verify.carried import Whole, whole_of
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


def retell(
    keys: Sequence[str],
    history: pl.DataFrame,
    changelog: Opened,
    topic: Topic,
    emptied: Set[str] = frozenset(),
) -> Retold:
    """``history``: KEY, PARTITION, OFFSET, OPERATION and POSITION of the keys' rows in the changelog.
    ``emptied``: keys that a truncation may have taken. Raises CdcError."""
    if topic.hear is None:
        return Retold({}, frozenset(), "Kafka was not asked")
    plan = _plan(keys, history, changelog, topic)
    reading = _Reading(plan, changelog, topic, topic.clock() + topic.deadline)
    for cover in plan.covers:
        reading.add(cover)
    reading.fill()
    wrong = _wrong(keys, reading.found, topic)
    if left := frozenset(emptied) - wrong.keys():
        after = _after(plan.mine.filter(pl.col(KEY).is_in(list(left))), plan.held, changelog)
        reading.extend(after)
        reading.fill()
        wrong = _wrong(keys, reading.found, topic)
        left = left if reading.lacks(after) else frozenset()
    return Retold(wrong, plan.decided(reading.whole, left), reading.beyond)


@dataclass(slots=True)
class _Reading:
    """What Kafka told of the keys, and what the changelog has in the same ranges. ``since``: per partition
    from where on all was read."""

    plan: _Plan
    changelog: Opened
    topic: Topic
    until: float
    since: dict[int, int] = field(default_factory=dict)
    heard: list[Heard] = field(default_factory=list)
    ours: list[pl.DataFrame] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.since = {p: r.end for p, r in self.plan.newest.items()}
        self.since |= {p: r.start for p, r in self.plan.covers[0].items()}

    @property
    def whole(self) -> Whole:
        rows, unsent = ([getattr(each, name) for each in self.heard] for name in ("rows", "unsent"))
        return whole_of(_together(rows), _together(unsent))

    @property
    def found(self) -> _Both:
        whole = self.whole
        return _Both(
            theirs=_said(whole.rows, whole.holes),
            ours=_said(_together(self.ours), whole.holes),
            dead=_together([each.letters for each in self.heard]),
            late=_together([each.repairs for each in self.heard]),
        )

    def add(self, cover: Ranges) -> None:
        assert self.topic.hear is not None
        mine = _of(self.plan.keys) & within(cover)
        for batch in reread(self.topic, cover, self.plan.starts(cover), self.until):
            told = self.topic.hear(batch)
            rows, letters = told.rows.filter(mine), told.letters.filter(mine)
            self.heard.append(Heard(rows, letters, told.repairs, told.unsent))
        there = self.changelog.table.read(self.changelog.handle, cover)
        self.ours.append(there.filter(_of(self.plan.keys)).collect())

    def extend(self, starts: Offsets) -> None:
        """Read from these places on, as far back as may be."""
        newest = self.plan.newest
        more = {p: Range(max(start, newest[p].start), self.since[p]) for p, start in starts.items()}
        if more := {p: r for p, r in more.items() if r}:
            self.add(more)
            self.since |= {p: r.start for p, r in more.items()}

    def fill(self) -> None:
        """Read what tells values that were not sent."""
        self.extend(dict.fromkeys(self.whole.holes[PARTITION].unique(), 0))

    @property
    def beyond(self) -> str:
        ends = self.plan.newest
        read = " ".join(f"{p}:{start}" for p, start in sorted(self.since.items()) if start < ends[p].end)
        return (
            "beyond the changelog nothing can be told, as Kafka's records were read from "
            f"{read or 'no offset'} on only"
        )

    def lacks(self, starts: Offsets) -> bool:
        """Whether not everything from these places on was read."""
        return any(start < self.plan.newest[p].start for p, start in starts.items())


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
    """``newest``: what may be read as a whole. ``covers``: what to read, one after the other. ``mine``: each
    key's last row. ``unseen``: keys without one. ``whole``: whether everything that ever was in the topic
    lies in the first of the covers."""

    keys: Sequence[str]
    held: Ranges
    newest: Ranges
    covers: tuple[Ranges, ...]
    mine: pl.DataFrame
    unseen: frozenset[str]
    whole: bool

    def starts(self, cover: Ranges) -> dict[int, int]:
        """What is not read begins at its end."""
        return {p: cover[p].start if p in cover else r.end for p, r in self.held.items()}

    def decided(self, heard: Whole, partial: Set[str]) -> frozenset[str]:
        """``partial``: keys of which not all was read that may have come after their last rows."""
        told = heard.rows.select(KEY, *_PLACE).join(heard.holes, on=_PLACE, how="anti")
        found = self.mine.select(KEY, *_PLACE).join(told, on=[KEY, *_PLACE], how="semi")
        return frozenset(found[KEY]) - partial | (self.unseen if self.whole else frozenset())


def _plan(keys: Sequence[str], history: pl.DataFrame, changelog: Opened, topic: Topic) -> _Plan:
    held = topic.log.available([topic.stream])[topic.stream.topic]
    ends = {p: min(changelog.handle.offsets.get(p, 0), r.end) for p, r in held.items()}
    newest = {p: Range(max(r.start, ends[p] - topic.newest), ends[p]) for p, r in held.items()}
    mine = last(history.lazy().filter(pl.col(KEY).is_in(list(keys))), changelog.kind).collect()
    starts: dict[int, int] = dict(mine.group_by(PARTITION).agg(pl.col(OFFSET).min()).iter_rows())
    if unseen := frozenset(keys) - set(mine[KEY]):
        starts = dict.fromkeys(held, 0)
    cover = {p: Range(max(starts[p], r.start), r.end) for p, r in newest.items() if p in starts}
    older = [
        (partition, offset)
        for partition, offset in sorted(set(mine.select(_PLACE).iter_rows()))
        if partition in held and held[partition].start <= offset < newest[partition].start
    ]
    whole = bool(unseen) and all(r.start == 0 for r in newest.values())
    covers = ({p: r for p, r in cover.items() if r}, *_one_by_one(older))
    return _Plan(keys, held, newest, covers, mine, unseen, whole)


def _after(lasts: pl.DataFrame, held: Ranges, changelog: Opened) -> Offsets:
    """Per partition the first place that may come after the first of these rows; nothing without any."""
    if lasts.is_empty():
        return {}
    first = lasts.sort(place_of(changelog.kind)).row(0, named=True)[POSITION]
    earlier = changelog.changes().select(PARTITION, OFFSET, POSITION).filter(before(first, changelog.kind))
    ends = dict(earlier.group_by(PARTITION).agg(pl.col(OFFSET).max() + 1).collect().iter_rows())
    return {p: ends.get(p, 0) for p in held}


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


def _said(rows: pl.DataFrame, holes: pl.DataFrame) -> pl.DataFrame:
    """KEY, place, and one text of all that the row says, but for values that nobody knows."""
    if rows.is_empty():
        return pl.DataFrame(schema=pl.Schema({**_KEYED, "said": pl.String()}))
    marks = rows.select(_PLACE).join(holes, on=_PLACE, how="left", maintain_order="left")
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
