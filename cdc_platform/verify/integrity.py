"""The check ``cdf_integrity``: three looks at a table, without its source.

    the current table's feed   leads from the state that the last check verified to the state that is there
    the changelog's feed       has nothing but appended rows, each within the offsets its commit names
    the fold                   of the changelog is the current table

The feeds show what happened *between* two checks: a compaction that lost rows, a version that went missing, a
feed whose follower would build another table. The fold shows that what happened is what should have.

Invariants
- A look that finds a fault leaves the last verified state as the next check's beginning: the fault stays.
- Where the past is forgotten, nothing is concluded from what is left of it: unknown, and a new beginning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from cdc_platform.core.digest import BucketDigest
from cdc_platform.core.model import Kind
from cdc_platform.core.offsets import Stream
from cdc_platform.verify.appended import Sums, extent, only_appended
from cdc_platform.verify.as_of import Opened
from cdc_platform.verify.feed import feed_leads_here
from cdc_platform.verify.finding import (
    Check,
    Fact,
    Finding,
    Part,
    combined,
    failed,
    part,
    passed,
    stages_of,
    unknown,
)
from cdc_platform.verify.fold import PASS_ROWS, Folding, fold_against
from cdc_platform.verify.notes import Anchor, Extent, Notes
from cdc_platform.verify.stages import traced
from cdc_platform.verify.stretch import Place
from cdc_platform.verify.topic import Topic
from cdc_platform.verify.verdict import Cause, Verdict


def cdf_integrity(
    table: str,
    changelog: Place,
    current: Place,
    stream: Stream,
    notes: Notes,
    now: datetime,
    pass_rows: int = PASS_ROWS,
    *,
    anew: bool = False,
    topic: Callable[[], Topic] | None = None,
) -> Finding:
    """``now``: UTC, kept with what is verified. ``pass_rows``: changelog rows folded at once. ``anew``: look
    at the fold alone, and let the next check begin here. ``topic``: how to read it again, to find where a
    key went wrong that is not as its changelog says.

    Raises CdcError if a table cannot be opened.
    """
    begin = _not_followed if anew else _followed
    # The notes first, then the current table, then its changelog: each may only be ahead of the one before.
    anchor, before = notes.read(Kind.CURRENT, Anchor), notes.read(Kind.CHANGELOG, Extent)
    opened = Opened(current.table, current.table.open(stream))
    changes = Opened(changelog.table, changelog.table.open(stream))
    folding = fold_against(changes, opened, pass_rows)
    if topic is not None:
        folding = replace(folding, shown=traced(folding.shown, changes, opened, topic))
    there = extent(changes)
    looks = [
        begin(lambda: feed_leads_here(opened, folding.current, current.history, anchor)),
        begin(lambda: only_appended(changes, there, changelog.history, before)),
        _fold_part(folding, opened),
    ]
    feed, appended, fold = looks
    if Verdict.FAIL not in (feed.verdict, fold.verdict):
        notes.keep(Kind.CURRENT, _anchor(current, opened.handle.version, folding.current, now))
    if appended.verdict is not Verdict.FAIL:
        notes.keep(Kind.CHANGELOG, _extent(changelog, changes.handle.version, there, now))
    return combined(table, Check.CDF_INTEGRITY, looks)


def _followed(look: Callable[[], Part]) -> Part:
    found = part(look)
    if found.verdict is not Verdict.FAIL:
        return found
    # What has happened cannot be mended, only accepted.
    return replace(found, text=f"{found.text} To accept the past as it is: cdc verify --begin-anew.")


def _not_followed(look: Callable[[], Part]) -> Part:
    del look
    return unknown(Cause.FIRST_LOOK, "The past was not looked at: the next check begins here.")


def _fold_part(folding: Folding, current: Opened) -> Part:
    at = " ".join(f"{p}:{offset}" for p, offset in sorted(current.handle.offsets.items())) or "no offset"
    facts = (
        Fact("folded_rows", folding.folded_rows),
        Fact("current_rows", folding.current.rows),
        Fact("differing", tuple(str(key) for key in folding.shown)),
        stages_of(folding.shown),
    )
    if folding.equal:
        return passed(f"The current table is the fold of its changelog at {at}.", *facts)
    keys = "; ".join(str(key) for key in folding.shown) or "the changelog holds rows twice"
    least = "at least " if folding.unlisted else ""
    return failed(
        f"The current table is not the fold of its changelog at {at}: it has {folding.current.rows} rows, "
        f"the fold {folding.folded_rows}. Differing keys ({least}{folding.found}): {keys}.",
        *facts,
    )


def _anchor(current: Place, version: int, state: BucketDigest, now: datetime) -> Anchor:
    return Anchor(
        identity=current.history.identity(),
        version=version,
        taken_at=now,
        counts=tuple(state.counts),
        sums=tuple(state.sums),
    )


def _extent(changelog: Place, version: int, there: Sums, now: datetime) -> Extent:
    return Extent(identity=changelog.history.identity(), version=version, taken_at=now, partitions=there)
