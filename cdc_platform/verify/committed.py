"""Are the rows still there that a changelog's commits say they wrote?

Needs no Kafka, so it also speaks of what Kafka has long removed. Delta's ``restore`` brings back old files
and leaves the offsets where they are: nothing would ever read the rows in between again.

Invariants
- The newest LAST_COMMITS versions are looked at, further back only as far as the log goes without a gap.
- A partition's last range ends where its offset stands.
- Of a table that was rebuilt the commits since then count: what was there before is no longer promised.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

from cdc_platform.core.columns import OFFSET, PARTITION
from cdc_platform.core.history import Commit, History, last_rebuilt
from cdc_platform.core.offsets import Range
from cdc_platform.verify.as_of import Opened
from cdc_platform.verify.finding import Fact, Part, failed, passed, unknown
from cdc_platform.verify.stretch import gapless
from cdc_platform.verify.verdict import SHOWN_KEYS, Cause

LAST_COMMITS: Final = 10_000


def commits_are_whole(changelog: Opened, history: History) -> Part:
    version, committed = changelog.handle.version, changelog.handle.offsets
    newest = _newest(history, version)
    rebuilt = last_rebuilt(newest) or 0
    commits = [each for each in newest if each.version > rebuilt and each.ranges and each.applied is not None]
    if not commits:
        if rebuilt:
            return passed(f"No commit has moved an offset since version {rebuilt}, which rebuilt the table.")
        if not committed:
            return passed("No commit has moved an offset yet.")
        return unknown(Cause.FORGOTTEN, "The log no longer has any commit of this changelog's rows.")
    ends: dict[int, int] = {}
    for commit in commits:
        ends |= {p: max(r.end, ends.get(p, 0)) for p, r in commit.ranges.items()}
    facts = (Fact("commits_checked", len(commits)),)
    if moved := [p for p, end in sorted(ends.items()) if committed.get(p) != end]:
        found = ", ".join(f"partition {p} at {committed.get(p)} instead of {ends[p]}" for p in moved)
        return failed(f"The table's offsets are not where its commits ended: {found}.", *facts)
    if short := _short(changelog, commits):
        shown = "; ".join(short[:SHOWN_KEYS])
        return failed(f"Rows that were committed are not there: {shown}.", *facts)
    return passed(
        f"Of the last {len(commits):,} commits, from version {commits[0].version}, all rows are there.",
        *facts,
    )


def _newest(history: History, version: int) -> Sequence[Commit]:
    """The newest commits of which none is missing in between, oldest first."""
    return gapless(history.commits(max(-1, version - LAST_COMMITS), version))


def _short(changelog: Opened, commits: Sequence[Commit]) -> list[str]:
    """Commits of which fewer rows are there than they wrote, in words."""
    ranges = _ranges(commits)
    spans = {
        partition: Range(start, end)
        for partition, start, end in ranges.group_by(PARTITION)
        .agg(pl.col("start").min(), pl.col("end").max())
        .iter_rows()
    }
    rows = changelog.table.read(changelog.handle, spans).select(PARTITION, OFFSET)
    placed = rows.sort(OFFSET).join_asof(
        ranges.lazy().sort("start"),
        left_on=OFFSET,
        right_on="start",
        by=PARTITION,
        check_sortedness=False,
    )
    there = dict(
        placed.filter(pl.col(OFFSET) < pl.col("end")).group_by("version").len().collect().iter_rows()
    )
    return [
        f"version {commit.version} wrote {commit.applied}, and {found} of them are there"
        for commit in commits
        if (found := there.get(commit.version, 0)) < (commit.applied or 0)
    ]


def _ranges(commits: Sequence[Commit]) -> pl.DataFrame:
    rows = [
        (commit.version, partition, covered.start, covered.end)
        for commit in commits
        for partition, covered in commit.ranges.items()
    ]
    schema = pl.Schema({"version": pl.Int64(), PARTITION: pl.Int32(), "start": pl.Int64(), "end": pl.Int64()})
    return pl.DataFrame(rows, schema=schema, orient="row")
