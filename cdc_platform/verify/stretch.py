"""The part of a table's past that a check has to explain: from a state that was known to the state now.

Invariants
- It begins at what an earlier check verified of this very table, or at its creation; and no version lies in
  between that nobody knows. Where there is no such beginning, nothing is concluded.
- It begins no earlier than the newest version that rebuilt the table: what a rebuild exchanged is no change,
  and whether it brought the right rows is not for the past to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cdc_platform.core.history import Commit, History, last_rebuilt
from cdc_platform.core.ports import LakeTable
from cdc_platform.verify.as_of import Opened
from cdc_platform.verify.finding import Part, failed
from cdc_platform.verify.notes import Anchor, Extent
from cdc_platform.verify.verdict import Cause, Unprovable

FIRST_ROWS: Final = 2_000_000
"""Changes that a first look replays from a table's creation; of a longer past it only takes the end."""

FIRST_VERSIONS: Final = 50_000

HARMLESS: Final = frozenset({"CREATE TABLE", "OPTIMIZE", "VACUUM START", "VACUUM END"})
"""Operations that change no row."""


_MADE: Final = "when it was made"
_REBUILT: Final = "which rebuilt it"
_REMEMBERED: Final = "from which on all are remembered"


@dataclass(frozen=True, slots=True)
class Place:
    """A lake table and its past."""

    table: LakeTable
    history: History


@dataclass(frozen=True, slots=True)
class Stretch:
    """``commits``: all past version ``after``. ``note``: what was known then; without one, what is to be
    known is read from the version itself."""

    after: int
    upto: int
    commits: tuple[Commit, ...]
    note: Anchor | Extent | None
    begun: str

    def __str__(self) -> str:
        note = self.note
        begun = f"verified on {note.taken_at:%Y-%m-%d %H:%M:%S} UTC" if note else self.begun
        return f"from version {self.after}, {begun}, to version {self.upto}"

    @property
    def strangers(self) -> tuple[str, ...]:
        """Commits that neither replication nor upkeep made, in words."""
        return tuple(
            f"version {commit.version} ({commit.operation})"
            for commit in self.commits
            if not commit.ours and commit.operation not in HARMLESS and not _widening(commit)
        )

    @property
    def remark(self) -> str:
        """A sentence about the strangers, or nothing."""
        return f" Not made by this platform: {', '.join(self.strangers)}." if self.strangers else ""


def _widening(commit: Commit) -> bool:
    """An append that says nothing is how replication adds columns before a merge; it has no rows."""
    return commit.operation == "WRITE" and commit.written == 0


def stretch(opened: Opened, history: History, note: Anchor | Extent | None) -> Stretch | Part:
    """What has to be explained, or the fault that stands in the way. Raises Unprovable without a beginning.

    ``note`` must have been read before the table was opened, or another check's newer one could be taken for
    a table that was moved back.
    """
    upto = opened.handle.version
    known = note if note is not None and note.identity == history.identity() else None
    if known is None:
        _require_short_past(opened, history, replaced=note is not None)
    elif known.version > upto:
        return failed(
            f"{history.uri} stands at version {upto}, and the last check saw version {known.version}: "
            "its log was cut back."
        )
    after = known.version if known else 0
    commits = history.commits(after, upto)
    rebuilt = last_rebuilt(commits)
    if rebuilt is not None:
        known, after = None, rebuilt
        commits = tuple(each for each in commits if each.version > rebuilt)
    missing = missing_versions(commits, after, upto)
    if missing and commits and missing[-1] > commits[0].version and not history.bounded:
        return failed(
            f"Version {', '.join(map(str, missing))} is missing in the log of {history.uri}: what it changed "
            "cannot be known."
        )
    if missing:
        raise Unprovable(
            Cause.FORGOTTEN,
            f"the log no longer has versions {missing[0]} to {missing[-1]}, which the last check has not "
            f"seen; the next check begins at version {upto}",
            where=history.uri,
            remedy="check more often than the log is cleaned up",
        )
    begun = _REBUILT if rebuilt is not None else _MADE
    if known is None and sum(commit.applied or 0 for commit in commits) > FIRST_ROWS:
        raise _first(history, upto, "the changes since it was made are too many for a first look")
    return Stretch(after, upto, commits, known, begun)


def remembered(opened: Opened, history: History, unknown: Unprovable) -> Stretch:
    """What a table that forgets by itself still knows of its past, from the oldest version that it remembers.

    Raises ``unknown`` if that is no gapless past, either.
    """
    upto = opened.handle.version
    commits = gapless(history.commits(0, upto)) if history.bounded else ()
    if not commits or commits[-1].version != upto:
        raise unknown
    rebuilt = last_rebuilt(commits)
    after, begun = (commits[0].version, _REMEMBERED) if rebuilt is None else (rebuilt, _REBUILT)
    return Stretch(after, upto, tuple(each for each in commits if each.version > after), None, begun)


def gapless(commits: Sequence[Commit]) -> tuple[Commit, ...]:
    """The newest of them among which no version is missing."""
    first = next(
        (n for n in range(len(commits) - 1, 0, -1) if commits[n].version != commits[n - 1].version + 1), 0
    )
    return tuple(commits[first:])


def missing_versions(commits: Sequence[Commit], after: int, upto: int) -> tuple[int, ...]:
    """Versions of which there is no record."""
    return tuple(sorted(set(range(after + 1, upto + 1)) - {commit.version for commit in commits}))


def _require_short_past(opened: Opened, history: History, *, replaced: bool) -> None:
    """An unknown table can be followed from its creation, empty, if that is not too long ago."""
    upto = opened.handle.version
    created = history.commits(-1, 0)
    if not created or created[0].operation != "CREATE TABLE":
        seen = "it is another table than the last check saw" if replaced else "no check has seen it"
        raise _first(history, upto, f"{seen}, and its log no longer has its creation")
    if upto > FIRST_VERSIONS:
        raise _first(history, upto, f"no check has seen it, and it has {upto:,} versions")


def _first(history: History, upto: int, what: str) -> Unprovable:
    return Unprovable(
        Cause.FIRST_LOOK,
        f"there is no state to begin from: {what}; the next check begins at version {upto}",
        where=history.uri,
    )
