"""The two tables at the source's position, judged: equal, or the keys that differ, each with its hand-over.

Invariants
- A difference counts only if it is still there, at the same position, with tables opened anew.
- A table that was moved back is judged by the rows that it has, against what its offsets say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cdc_platform.core.model import Handle
from cdc_platform.core.offsets import Offsets, reached
from cdc_platform.core.ports import LakeTable
from cdc_platform.verify.as_of import Opened
from cdc_platform.verify.compare import Comparison, Ground, compare, differing_keys
from cdc_platform.verify.incremental import Seen
from cdc_platform.verify.stages import with_stages
from cdc_platform.verify.subject import Subject
from cdc_platform.verify.verdict import Cause, Result, Verdict


def judge(subject: Subject, ground: Ground) -> tuple[Result, Seen]:
    """Compare; what differs is compared again, at the same T, with the tables as they are by then.

    The table as of T is the same whatever its version, as long as that holds B. So a difference that is gone
    with newer versions came from reading, not from the lake; one that stays is the lake's.
    """
    found = compared(subject, ground)
    if not found.equal:
        found = compared(subject, ground)
    seen = Seen(found.current.handle.version, found.counts.current or 0)
    return _judged(subject, found), seen


def _judged(subject: Subject, found: Comparison) -> Result:
    if found.equal:
        return _result(subject, found, Verdict.PASS, "")
    if found.state.contended:
        advice = "An initial snapshot was running, its rows may be newer than the position: prove again."
        return _result(subject, found, Verdict.UNKNOWN, f"{found.difference} {advice}", Cause.CONTENDED)
    return _named(subject, found)


def _named(subject: Subject, found: Comparison) -> Result:
    """Failed, with the keys that differ."""
    named = differing_keys(subject.truth, found)
    return replace(
        _result(subject, found, Verdict.FAIL, found.difference),
        differing=with_stages(
            subject, named.shown, found.changelog, found.current, found.ground, named.source
        ),
        differing_count=named.found,
        buckets_unlisted=named.buckets_unlisted,
    )


def stands_at(subject: Subject, barrier: Offsets) -> bool:
    """Whether the offsets of both tables say that they hold everything below the barrier, true or not."""
    tables = (subject.changelog, subject.current)
    return all(reached(_as_it_is(subject, each).offsets, barrier) for each in tables)


def judge_moved_back(subject: Subject, ground: Ground, why: str) -> Result | None:
    """Failed, with the keys that differ; None if none does. ``why``: sentences."""
    found = compared(subject, ground, _as_it_is)
    if found.equal:
        return None
    judged = _named(subject, found)
    return replace(judged, reason=f"{why} {judged.reason}")


def _opened(subject: Subject, table: LakeTable) -> Handle:
    return table.open(subject.stream)


def _as_it_is(subject: Subject, table: LakeTable) -> Handle:
    """Also of a table that was moved back."""
    return table.adopt(subject.stream)


def compared(
    subject: Subject, ground: Ground, handle: Callable[[Subject, LakeTable], Handle] = _opened
) -> Comparison:
    """The tables as they are now, taken to the ground's position, against the source there."""
    # The current table first: it is made from the changelog, which therefore stands at or beyond it.
    current = Opened(subject.current, handle(subject, subject.current))
    changelog = Opened(subject.changelog, handle(subject, subject.changelog))
    return compare(ground, changelog, current)


def _result(
    subject: Subject, found: Comparison, verdict: Verdict, reason: str, cause: Cause | None = None
) -> Result:
    return Result(
        table=subject.table,
        verdict=verdict,
        reason=reason,
        seconds=0.0,
        position=found.ground.at,
        counts=found.counts,
        source_digest=found.ground.source.hexdigest(),
        lake_digest=found.lake.hexdigest(),
        cause=cause,
        format=subject.format,
        beyond=tuple(found.beyond),
    )
