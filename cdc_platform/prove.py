"""Proves that a table's lake equals its live source at a position T, while both move.

    ends before T → T → marker, marker → B = ends → lake reaches B → source at T == current table as of T

Invariants
- ``pass`` needs an exact comparison at T: counts and order-free digests of 256 key buckets on both sides,
  and as many keys alive by the changelog alone. ``fail`` needs a difference that is still there, at the
  same T, with tables opened anew. Everything else is ``unknown`` and says why.
- B lies above every event that had happened at T. See ``barrier_of`` for why that holds.
- A table that somebody moved back fails: its rows are older than its offsets say. It is compared as it is,
  so that the keys are named, if its offsets say that it could be.
- A table with open dead letters fails and names them, whatever else is found: their changes are missing.
- Where the last proof's result may be gone on from, only what has changed since is read
  (``verify.incremental``); such a verdict names its scope.
- Nothing waits longer than the deadline, apart from reading the two tables.

What a violated invariant breaks: with B too low the lake would be compared before T's last events arrived,
and a healthy table would fail.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from cdc_platform.core.errors import CdcError, MovedBack
from cdc_platform.core.model import Format
from cdc_platform.core.offsets import Offsets, reached
from cdc_platform.verify.barrier import barrier_of, ends_of_topic
from cdc_platform.verify.compare import Ground
from cdc_platform.verify.finding import said
from cdc_platform.verify.incremental import Seen, doubt, prove_since, remember
from cdc_platform.verify.judging import judge, judge_moved_back, stands_at
from cdc_platform.verify.notes import Proven
from cdc_platform.verify.patience import POLL, Patience
from cdc_platform.verify.since import basis
from cdc_platform.verify.subject import Subject
from cdc_platform.verify.truth import Truth
from cdc_platform.verify.verdict import Cause, Result, Unprovable, Verdict


def prove(
    subject: Subject,
    *,
    marker: str,
    deadline: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    drain: Callable[[], None] | None = None,
) -> Result:
    """One proof, which always ends in a verdict.

    ``marker``: an id that was never used before, a prefix of the markers' ids. ``deadline``: seconds to
    wait for the stream and the lake. ``drain``: brings the lake forward when nobody else does; may raise
    CdcError.
    """
    drains = {} if drain is None else {subject.format: drain}
    [result] = prove_alike(
        [subject], marker=marker, deadline=deadline, clock=clock, sleep=sleep, drains=drains
    )
    return result


def prove_alike(
    subjects: Sequence[Subject],
    *,
    marker: str,
    deadline: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    drains: Mapping[Format, Callable[[], None]] = MappingProxyType({}),
) -> list[Result]:
    """One table in several formats, each against the source at one and the same T, which is read once: those
    that pass equal each other, too.

    As ``prove``. Each format has the deadline for itself: what one waits for is not taken from another.
    """
    started = clock()
    first = subjects[0]
    ground: Ground | None = None
    try:
        patience = Patience(clock, sleep, started + deadline)
        ground = stand(first, patience)
        source = _Source(first.truth, ground)
        bases = [_basis(each, ground) for each in subjects]
        barrier = barrier_of(first, marker, patience)
        if any(isinstance(each, str) for each in bases):
            source.read()
    except CdcError as error:
        unknown = [_unknown(each, ground, error) for each in subjects]
        return [_told(each, one, clock() - started) for each, one in zip(subjects, unknown, strict=True)]
    found = []
    for subject, basis_of_it in zip(subjects, bases, strict=True):
        patience = Patience(clock, sleep, clock() + deadline)
        drain, seen = drains.get(subject.format), None
        try:
            await_lake(subject, barrier, patience, drain)
            result, seen = _proven(subject, source, basis_of_it)
        except MovedBack as error:
            result = _moved_back(subject, source, barrier, error)
        except CdcError as error:
            result = _unknown(subject, ground, error)
        result = _told(subject, result, clock() - started)
        before = basis_of_it if isinstance(basis_of_it, Proven) and result.scope else None
        found.append(_kept(subject, source, result, seen, before))
    return found


@dataclass(slots=True)
class _Source:
    """The source at the ground's position, read once for all formats, if at all. ``marked``: what it needs to
    tell later what has changed since."""

    truth: Truth
    ground: Ground
    marked: str | None = field(init=False)
    _done: bool = False

    def __post_init__(self) -> None:
        self.marked = self.truth.ground()

    def read(self) -> None:
        if not self._done:
            self.ground.source.add(self.truth.digests(self.ground.at))
            self._done = True


def _basis(subject: Subject, ground: Ground) -> Proven | str:
    """An empty text: nothing is said about it."""
    past = subject.past
    return "" if past is None or past.every is None else basis(past, subject.stream, ground.shape)


def _proven(subject: Subject, source: _Source, since: Proven | str) -> tuple[Result, Seen]:
    """``since``: what to go on from, or why there is nothing."""
    if isinstance(since, Proven) and subject.past is not None:
        found = prove_since(subject, subject.past, since, source.ground)
        if not isinstance(found, str):
            return found
        since = found
    source.read()
    result, seen = judge(subject, source.ground)
    if since and not result.reason:
        result = replace(result, reason=f"It was read in full: {since}.")
    return result, seen


def _moved_back(subject: Subject, source: _Source, barrier: Offsets, error: MovedBack) -> Result:
    """Failed, with the keys that differ, if it could be compared and is not equal by chance."""
    try:
        if stands_at(subject, barrier):
            source.read()
            if found := judge_moved_back(subject, source.ground, said(error)):
                return found
    except CdcError:
        pass  # what it says of itself is told all the same
    return _unknown(subject, source.ground, error)


def _kept(
    subject: Subject, source: _Source, result: Result, seen: Seen | None, before: Proven | None
) -> Result:
    """The result, left for the next proof if it passed; if it failed, that one reads every row as well."""
    if subject.past is None or seen is None or result.verdict is Verdict.UNKNOWN:
        return result
    try:
        if result.verdict is Verdict.FAIL:
            if result.scope is None:
                doubt(subject.past)
            return result
        whole = result.scope is None or result.scope.unchanged
        remember(subject, subject.past, source.ground, seen, before, source.marked if whole else None)
    except CdcError as error:
        reason = f"{result.reason} The next proof cannot go on from it: {error.what}.".strip()
        return replace(result, reason=reason)
    return result


def _told(subject: Subject, result: Result, seconds: float) -> Result:
    return replace(_with_letters(subject, result), seconds=seconds)


def _with_letters(subject: Subject, result: Result) -> Result:
    """Looked for last, so that a letter that this proof's own draining made is there."""
    try:
        letters = tuple(subject.open_letters())
    except CdcError as error:
        return result if result.verdict is Verdict.FAIL else _unknown(subject, None, error)
    if not letters:
        return result
    reason = result.reason or "Apart from them the lake equals the source."
    return replace(result, verdict=Verdict.FAIL, reason=reason, letters=letters)


def stand(subject: Subject, patience: Patience) -> Ground:
    """Ends first, then T: whatever Kafka already holds had happened at T."""
    since = ends_of_topic(subject.log, subject.stream, patience)
    at, shape = subject.truth.position(), subject.truth.shape()
    if not shape.keyed:
        raise Unprovable(
            Cause.NO_KEY,
            "the source's table has no key: its changelog tells every change, but not which row it changed",
            where=f"table {subject.table}",
            remedy="give the table a primary key, if its rows are to be proven",
        )
    return Ground(at, since, shape)


def await_lake(
    subject: Subject, barrier: Offsets, patience: Patience, drain: Callable[[], None] | None
) -> None:
    """Until both tables have committed everything below the barrier."""
    while True:
        began = patience.clock()
        behind = _behind(subject, barrier)
        if not behind:
            return
        looking = patience.clock() - began
        if not patience.left():
            raise Unprovable(
                Cause.LAGGING,
                f"the lake did not reach the source's position in time: {'; '.join(behind)}",
                where=f"topic {subject.stream.topic}",
                remedy="look at the table's replication; prove again once it has caught up",
            )
        if drain is not None:
            patience.again(drain)
        patience.sleep(max(POLL, 2 * looking))  # most of the time is the writers'


def _behind(subject: Subject, barrier: Offsets) -> list[str]:
    """What is missing, in words, per table that stands before the barrier.

    A table that holds every record below the barrier but stands before a transaction's end marker counts as
    there only when it has moved over it, which replication does with a commit of offsets alone.
    """
    missing = []
    for table in (subject.changelog, subject.current):
        if not table.exists():
            missing.append(f"{table.uri} does not exist")
        elif not reached(committed := table.open(subject.stream).offsets, barrier):
            missing.append(f"{table.uri} stands at {dict(committed)} of {dict(barrier)}")
    return missing


def _unknown(subject: Subject, ground: Ground | None, error: CdcError) -> Result:
    cause = error.cause if isinstance(error, Unprovable) else Cause.TABLE_UNREADABLE
    return Result(
        table=subject.table,
        verdict=Verdict.UNKNOWN,
        reason=str(error),
        seconds=0.0,
        position=None if ground is None else ground.at,
        cause=cause,
        format=subject.format,
    )
