"""A proof at a position that reads only what may have changed since the last one.

Invariants
- It passes only with an exact comparison, at T, of every key that changed since then, and with as many rows
  in the lake at T as the source counts there. What it did not read, it names (``Scope``).
- It fails only with keys that differ at T and differ again with tables opened anew. Where it finds less than
  that, or cannot go on from the last proof, the table is read in full, which decides.
- The whole table counts as proven through T only if the source itself shows that no row has changed beside
  those that were compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cdc_platform.core.digest import BucketDigest
from cdc_platform.core.model import Kind as TableKind
from cdc_platform.verify.as_of import Opened, last_offsets
from cdc_platform.verify.compare import Ground, kinds
from cdc_platform.verify.notes import Proven, Reading
from cdc_platform.verify.position import time_of
from cdc_platform.verify.rows import cells
from cdc_platform.verify.since import Changed, changed_since, form
from cdc_platform.verify.stages import with_stages
from cdc_platform.verify.subject import Past, Subject
from cdc_platform.verify.truth import NotByKey
from cdc_platform.verify.verdict import (
    SHOWN_KEYS,
    Cause,
    Counts,
    DifferingKey,
    Kind,
    Result,
    Scope,
    Verdict,
)


@dataclass(frozen=True, slots=True)
class Seen:
    """The current table that a proof compared: its version, and its rows at that."""

    version: int
    rows: int


@dataclass(frozen=True, slots=True)
class _Look:
    """What differs, and what was compared. ``there``: key → digest of the source's rows that were read."""

    changed: Changed
    changelog: Opened
    current: Opened
    there: Mapping[str, int]
    seen: Seen
    wrong: Mapping[str, Kind]
    source: BucketDigest
    lake: BucketDigest


def prove_since(subject: Subject, past: Past, note: Proven, ground: Ground) -> tuple[Result, Seen] | str:
    """The verdict on what changed since the note, or why the table has to be read in full.

    The lake has reached the ground's barrier. Raises Unprovable.
    """
    told, unchanged = frozenset[str](), False
    if past.prefilter:
        found = None if note.ground is None else subject.truth.changed(ground.at, note.ground)
        if found is None:
            return "the source cannot tell what has changed since the last proof"
        told, unchanged = found, True
    count = subject.truth.rows(ground.at)
    look: _Look | str = ""
    for _ in range(2):
        look = _look(subject, past, note, ground, told)
        if isinstance(look, str):
            return look
        if not look.wrong:
            break
    assert isinstance(look, _Look)
    if not look.wrong and look.changed.count != count:
        return (
            f"the source has {count:,} rows, the lake {look.changed.count:,}, and what changed since the "
            "last proof is equal"
        )
    scope = Scope(
        keys=len(look.changed.keys),
        since=note.last.at,
        whole=note.whole.at,
        through=note.through.source_time,
        unread=max(0, look.changed.count - look.lake.rows),
        unchanged=unchanged,
    )
    return _verdict(subject, ground, look, count, scope), look.seen


def remember(
    subject: Subject, past: Past, ground: Ground, seen: Seen, before: Proven | None, marked: str | None
) -> None:
    """Keep what a proof compared that passed. ``before``: what it went on from; None: it read every row.
    ``marked``: what the source needs to tell what has changed since; None if it was not asked this time."""
    mine = Reading(at=ground.at.title, source_time=time_of(ground.at), taken_at=past.now())
    note = Proven(
        identity=past.history.identity(),
        version=seen.version,
        rows=seen.rows,
        stream=subject.stream.identity,
        since=dict(ground.since),
        shape=form(ground.shape),
        last=mine,
        whole=before.whole if before else mine,
        through=before.through if before and marked is None else mine,
        ground=before.ground if before and marked is None else marked,
    )
    past.notes.keep(TableKind.CURRENT, note)


def doubt(past: Past) -> None:
    """After a full proof that failed: the next one has to be full, too."""
    note = past.notes.read(TableKind.CURRENT, Proven)
    if note is not None:
        past.notes.keep(TableKind.CURRENT, note.model_copy(update={"doubted": True}))


def _look(subject: Subject, past: Past, note: Proven, ground: Ground, told: frozenset[str]) -> _Look | str:
    current = Opened(subject.current, subject.current.open(subject.stream))
    changelog = Opened(subject.changelog, subject.changelog.open(subject.stream))
    changed = changed_since(
        note, past.history, changelog, current, ground.at, ground.since, ground.shape, told
    )
    if isinstance(changed, str):
        return changed
    try:
        found = subject.truth.of_keys(ground.at, changed.keys) if changed.keys else ()
        there = {key: digest for key, digest in found if key in changed.keys}
    except NotByKey as error:
        return error.what
    here = list(changed.state.digests())
    source, lake = BucketDigest(), BucketDigest()
    source.add(there.items())
    lake.add(here)
    wrong = dict.fromkeys(changed.state.unfolded, Kind.UNFOLDED) | kinds(there, here)
    seen = Seen(current.handle.version, changed.current)
    return _Look(changed, changelog, current, there, seen, wrong, source, lake)


def _verdict(subject: Subject, ground: Ground, look: _Look, count: int, scope: Scope) -> Result:
    changed = look.changed
    result = Result(
        table=subject.table,
        verdict=Verdict.UNKNOWN,
        reason="nothing was judged",
        seconds=0.0,
        position=ground.at,
        counts=Counts(
            source=count, lake=changed.count, current=changed.current, reverted=changed.state.reverted
        ),
        source_digest=look.source.hexdigest(),
        lake_digest=look.lake.hexdigest(),
        cause=Cause.CONTENDED,
        format=subject.format,
        beyond=tuple(ground.shape.beyond(subject.current.open(subject.stream).schema)),
        scope=scope,
    )
    if not look.wrong:
        return replace(result, verdict=Verdict.PASS, reason="", cause=None)
    reason = _reason(ground, look, scope)
    if changed.state.contended:
        advice = "An initial snapshot was running, its rows may be newer than the position: prove again."
        return replace(result, reason=f"{reason} {advice}")
    return replace(
        result,
        verdict=Verdict.FAIL,
        reason=reason,
        cause=None,
        differing=_named(subject, ground, look),
        differing_count=len(look.wrong),
    )


def _reason(ground: Ground, look: _Look, scope: Scope) -> str:
    unheard = len(look.changed.unheard & look.wrong.keys())
    strange = (
        f" No event has changed {unheard:,} of these: a commit of the table did, or the source without an "
        "event."
        if unheard
        else ""
    )
    remarks = "".join(f" {remark}" for remark in ground.shape.remarks)
    return (
        f"Of {scope.keys:,} keys that changed since {scope.since}, {len(look.wrong):,} differ; "
        f"{scope.unread:,} other rows were last read at {scope.whole}.{strange}{remarks}"
    )


def _named(subject: Subject, ground: Ground, look: _Look) -> tuple[DifferingKey, ...]:
    shown = sorted(look.wrong)[:SHOWN_KEYS]
    offsets = last_offsets(look.changelog, frozenset(shown))
    different = frozenset(key for key in shown if look.wrong[key] is Kind.DIFFERENT)
    columns: dict[str, tuple[str, ...]] = {}
    if different and ground.shape.columns is not None:
        lake = cells(look.changed.state.rows, ground.shape, different)
        columns = {
            key: tuple(name for name, text in there.items() if text != lake.get(key, {}).get(name, "{}"))
            for key, there in subject.truth.cells(ground.at, different).items()
        }
    named = [DifferingKey(key, look.wrong[key], *offsets.get(key, (None, None))) for key in shown]
    told = [replace(each, columns=columns.get(each.key, ())) for each in named]
    read = {key: look.there.get(key) for key in shown if key in look.changed.keys}
    return with_stages(subject, told, look.changelog, look.current, ground, read)
