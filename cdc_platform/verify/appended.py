"""Was a changelog only ever appended to, and does its change data feed account for every row?

Invariants
- Every change in the feed is an inserted row, and lies within the offsets that its commit names.
- Rows and sum of offsets, per partition: what was known + what was inserted = what is there. Narrow columns
  and whole numbers alone, so that a changelog of any size can be looked at.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from cdc_platform.core.columns import OFFSET, PARTITION
from cdc_platform.core.history import CHANGE, COMMIT, INSERT, History, last_rebuilt
from cdc_platform.verify.as_of import Opened
from cdc_platform.verify.feed import windows
from cdc_platform.verify.finding import Fact, Part, failed, passed
from cdc_platform.verify.notes import Extent
from cdc_platform.verify.stretch import Stretch, stretch
from cdc_platform.verify.verdict import SHOWN_KEYS, Unprovable

WRAP: Final = 1 << 64

Sums = dict[int, tuple[int, int]]
"""Partition → rows, and the sum of their offsets modulo 2**64."""


@dataclass(slots=True)
class _Feed:
    """``others``: changes that are no appended rows, by version and kind. ``outside``: rows beyond the
    offsets that their commit names, in words.
    """

    sums: Sums
    rows: int = 0
    others: Counter[tuple[int, str]] = field(default_factory=Counter)
    outside: list[str] = field(default_factory=list)


def extent(changelog: Opened) -> Sums:
    """What is there now."""
    return _sums(changelog.rows().select(PARTITION, OFFSET))


def only_appended(changelog: Opened, now: Sums, history: History, note: Extent | None) -> Part:
    """Raises Unprovable and Forgotten where the past is not known."""
    try:
        way = stretch(changelog, history, note)
    except Unprovable as error:
        if note is None or note.identity != history.identity() or not history.bounded:
            raise
        return _still_there(changelog, now, *_newest_known(history, note, changelog.handle.version), error)
    if isinstance(way, Part):
        return way
    feed = _Feed(_begun(history, way))
    for window in windows(way.commits, way.after):
        for batch in history.changes(*window, columns=[PARTITION, OFFSET]):
            _follow(feed, batch, way)
    facts = (Fact("changelog_version", way.upto), Fact("appended", feed.rows))
    if feed.others:
        found = ", ".join(f"{n} × {kind} in version {v}" for (v, kind), n in sorted(feed.others.items())[:20])
        return failed(f"The changelog was not only appended to: {found}.{way.remark}", *facts)
    if feed.outside:
        return failed(
            f"Rows outside of the offsets that their commit names: {'; '.join(feed.outside)}.", *facts
        )
    if wrong := sorted(p for p in {*feed.sums, *now} if feed.sums.get(p, (0, 0)) != now.get(p, (0, 0))):
        return failed(
            f"The changelog's feed {way}: {_difference(feed.sums, now, wrong)}.{way.remark}", *facts
        )
    return passed(
        f"The changelog was only appended to {way}: {feed.rows:,} rows, each within the offsets its commit "
        f"names.{way.remark}",
        *facts,
    )


def _begun(history: History, way: Stretch) -> Sums:
    """What there was where a stretch begins."""
    return dict(way.note.partitions) if isinstance(way.note, Extent) else _sums_at(history, way.after)


def _sums_at(history: History, version: int) -> Sums:
    return _sums(history.rows(version).select(PARTITION, OFFSET))


def _newest_known(history: History, note: Extent, upto: int) -> tuple[Sums, str]:
    """What the note tells, or what a rebuild since then left; and whose words these are."""
    if (rebuilt := last_rebuilt(history.commits(note.version, upto))) is not None:
        return _sums_at(history, rebuilt), f"that version {rebuilt} rebuilt it with"
    return note.partitions, f"that were verified on {note.taken_at:%Y-%m-%d %H:%M:%S} UTC"


def _still_there(changelog: Opened, now: Sums, then: Sums, said: str, unknown: Unprovable) -> Part:
    """Of a changelog that forgets its past: are the rows there that were there ``then``?

    Offsets only grow, so they are those with the smallest offsets. Rows that a replay has put in among them
    cannot be told from others: then nothing is concluded, and ``unknown`` is raised.
    """
    for partition, (rows, total) in then.items():
        offsets = changelog.rows().filter(pl.col(PARTITION) == partition).select(OFFSET)
        first = offsets.sort(OFFSET).head(rows).select(rows=pl.len(), sum=pl.col(OFFSET).sum()).collect()
        found, summed = first.row(0)
        if (found, summed % WRAP) != (rows, total):
            raise unknown
    before = sum(rows for rows, _ in then.values())
    appended = sum(rows for rows, _ in now.values()) - before
    return passed(
        f"The {before:,} rows of the changelog {said} are there, and {appended:,} came after them; which "
        "commits brought those it does not remember.",
        Fact("changelog_version", changelog.handle.version),
        Fact("appended", appended),
    )


def _follow(feed: _Feed, batch: pl.DataFrame, way: Stretch) -> None:
    others = batch.filter(pl.col(CHANGE) != INSERT).group_by(COMMIT, CHANGE).len()
    feed.others.update({(version, kind): count for version, kind, count in others.iter_rows()})
    inserted = batch.filter(pl.col(CHANGE) == INSERT)
    feed.rows += inserted.height
    for partition, (rows, total) in _sums(inserted.lazy()).items():
        before = feed.sums.get(partition, (0, 0))
        feed.sums[partition] = (before[0] + rows, (before[1] + total) % WRAP)
    ranges = _ranges(way, batch)
    strayed = (
        inserted.join(ranges, on=[COMMIT, PARTITION], how="left")
        .filter(pl.col(COMMIT).is_in(ranges[COMMIT].implode()))
        .filter(~pl.col(OFFSET).is_between("start", "end", closed="left").fill_null(value=False))
        .sort(COMMIT, PARTITION, OFFSET)
        .head(SHOWN_KEYS - len(feed.outside))
    )
    places = strayed.select(PARTITION, OFFSET, COMMIT).iter_rows()
    feed.outside += [f"{partition}:{offset} in version {version}" for partition, offset, version in places]


def _ranges(way: Stretch, batch: pl.DataFrame) -> pl.DataFrame:
    """The ranges that the batch's commits name; a commit that names none is not judged by them."""
    wanted = set(batch[COMMIT].unique())
    rows = [
        (commit.version, partition, covered.start, covered.end)
        for commit in way.commits
        if commit.version in wanted
        for partition, covered in commit.ranges.items()
    ]
    columns = {COMMIT: batch.schema[COMMIT], PARTITION: pl.Int32(), "start": pl.Int64(), "end": pl.Int64()}
    return pl.DataFrame(rows, schema=pl.Schema(columns), orient="row")


def _sums(rows: pl.LazyFrame) -> Sums:
    found = rows.group_by(PARTITION).agg(pl.len().alias("rows"), pl.col(OFFSET).sum().alias("sum")).collect()
    return {partition: (count, total % WRAP) for partition, count, total in found.iter_rows()}


def _difference(fed: Sums, now: Sums, partitions: list[int]) -> str:
    parts = []
    for partition in partitions:
        (rows, total), (there, sum_there) = fed.get(partition, (0, 0)), now.get(partition, (0, 0))
        parts.append(
            f"in partition {partition} it leads to {rows} rows with offsets that sum up to {total}, and "
            f"there are {there} that sum up to {sum_there}"
        )
    return "; ".join(parts)
