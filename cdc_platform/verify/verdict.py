"""What a proof says: ``pass`` and ``fail`` are facts at a named position, all else is ``unknown``.

Invariant: a result cannot be built that passes without having compared, or that is unknown without saying
why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from cdc_platform.core.errors import Transient
from cdc_platform.core.model import Format, Target
from cdc_platform.verify.position import SourcePosition, time_of

SHOWN_KEYS: Final = 20
"""Differing keys a result names; the rest is counted."""


class Verdict(StrEnum):
    PASS = "pass"
    FAIL = "fail"
    UNKNOWN = "unknown"


class Cause(StrEnum):
    """Why a proof or another check could not be made."""

    LAGGING = "lagging"
    SOURCE_UNREACHABLE = "source unreachable"
    SNAPSHOT_EXPIRED = "snapshot history expired"
    CONNECTOR_SILENT = "connector down or behind"
    CONTENDED = "initial snapshot running"
    TABLE_UNREADABLE = "table or topic unreadable"
    NOT_THERE = "not there yet"
    FORGOTTEN = "the past is forgotten"
    FIRST_LOOK = "nothing to compare with yet"
    NOTHING_SEEN = "nothing happened"
    NO_KEY = "table without a key"


class Unprovable(Transient):
    """The proof cannot be completed; it ends with the verdict ``unknown`` and this cause."""

    def __init__(self, cause: Cause, what: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.cause = cause


class Kind(StrEnum):
    """What is wrong with a key of the lake: missing, extra or different from the source's row at the
    position.

    ``unfolded``: changed since the position, and the current table does not hold its last change.
    """

    MISSING = "missing"
    EXTRA = "extra"
    DIFFERENT = "different"
    UNFOLDED = "not the last row of its changelog"


class Stage(StrEnum):
    """The hand-over at which a key went wrong (``stages``). UNKNOWN: what would tell is not there."""

    TOPIC = "source → topic"
    CHANGELOG = "topic → changelog"
    CURRENT = "changelog → current"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class DifferingKey:
    """``partition`` and ``offset``: the key's last row in the changelog, None if it has none there.
    ``columns``: those of a table in which the row differs, where that was looked for. ``stage``: where the
    key went wrong, and ``told``, what shows that; None if nobody has looked.
    """

    key: str
    kind: Kind
    partition: int | None = None
    offset: int | None = None
    columns: tuple[str, ...] = ()
    stage: Stage | None = None
    told: str = ""

    def __str__(self) -> str:
        where = (
            "no changelog row"
            if self.offset is None
            else f"last changelog row {self.partition}:{self.offset}"
        )
        what = f"{self.kind} in {', '.join(self.columns)}" if self.columns else self.kind
        went = "" if self.stage is None else f", went wrong at {self.stage}: {self.told}"
        return f"{self.key} {what} ({where}){went}"


@dataclass(frozen=True, slots=True, order=True)
class OpenLetter:
    """A record that could not become a row, by its place in the topic, and that nobody has dealt with."""

    partition: int
    offset: int
    reason: str

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset} ({self.reason})"


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows at each stage. ``None``: not reached.

    ``source``: its rows at the position. ``changelog``: rows by operation, at the handle that was
    compared. ``folded``: keys alive at the position by the changelog alone. ``lake``: rows of the current
    table taken to the position. ``current``: rows of the current table as it stands. ``reverted``: keys
    that were taken back.
    """

    source: int | None = None
    changelog: Mapping[str, int] = field(default_factory=dict)
    folded: int | None = None
    lake: int | None = None
    current: int | None = None
    reverted: int | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """What an incremental proof read, where it is not every row.

    ``keys``: how many were compared. ``since``: position of the proof before it. ``whole``: that of the last
    one that read every row. ``through``: the source's time up to which the whole table was proven by then.
    ``unread``: rows that were not read again. ``unchanged``: whether the source itself showed that none of
    those has changed.
    """

    keys: int
    since: str
    whole: str
    through: datetime
    unread: int
    unchanged: bool

    def __str__(self) -> str:
        return (
            f"in the {self.keys:,} keys that changed since {self.since}. {self.unread:,} rows were last read "
            f"at {self.whole}; since then neither an event nor a commit of the table has changed them, and "
            "there are as many as in the source"
            + (
                ", which itself shows that none of them has changed."
                if self.unchanged
                else ". A change of them that the stream did not tell of would not have been seen."
            )
        )


@dataclass(frozen=True, slots=True)
class Result:
    """Outcome of one proof of one table. ``position``: where in the source's history both sides were
    compared.

    ``differing``: at most SHOWN_KEYS keys; ``differing_count``: how many were found, a lower bound when
    ``buckets_unlisted`` buckets were not looked into. Digests are hex over all buckets. ``letters``: all that
    are open; with one, the table fails, whatever else was found. ``beyond``: columns of the lake that the
    source does not have any more, which are not compared. ``cause``: why nothing could be compared.
    ``seconds``: duration. ``scope``: of an incremental proof; None: every row was read.
    """

    table: str
    verdict: Verdict
    reason: str
    seconds: float
    position: SourcePosition | None = None
    counts: Counts = Counts()
    source_digest: str | None = None
    lake_digest: str | None = None
    differing: tuple[DifferingKey, ...] = ()
    differing_count: int = 0
    buckets_unlisted: int = 0
    cause: Cause | None = None
    letters: tuple[OpenLetter, ...] = ()
    format: Format = Format.DELTA
    beyond: tuple[str, ...] = ()
    scope: Scope | None = None

    @property
    def checked_through(self) -> datetime | None:
        """The source's time up to which all changes that are known of are proven; None unless it passed."""
        if self.verdict is not Verdict.PASS or self.position is None:
            return None
        return time_of(self.position)

    @property
    def valid_through(self) -> datetime | None:
        """The source's time up to which the whole table is proven; None unless it passed."""
        partial = self.scope is not None and not self.scope.unchanged
        return self.scope.through if partial and self.scope and self.checked_through else self.checked_through

    @property
    def target(self) -> Target:
        return Target(self.table, self.format)

    def __post_init__(self) -> None:
        compared = self.source_digest is not None and self.lake_digest is not None
        match self.verdict:
            case Verdict.PASS:
                sound = compared and self.source_digest == self.lake_digest
                sound = sound and not self.differing and not self.letters
            case Verdict.FAIL:
                sound = (compared or bool(self.letters)) and bool(self.reason)
            case Verdict.UNKNOWN:
                sound = self.cause is not None and bool(self.reason)
        if not sound:
            raise ValueError(f"a result that says {self.verdict} without grounds: {self}")

    @property
    def text(self) -> str:
        """One paragraph for a person."""
        at = f" at {self.position.title}" if self.position else ""
        match self.verdict:
            case Verdict.PASS if self.scope:
                return (
                    f"{self.target}: the lake equals the source{at} {self.scope} "
                    f"{self.counts.source:,} rows, {self.seconds:.1f} s.{self._beyond()}"
                )
            case Verdict.PASS:
                return (
                    f"{self.target}: the lake equals the source{at}. {self.counts.source:,} rows, digest "
                    f"{self.source_digest}, {self.counts.reverted} keys taken back to then, "
                    f"{self.seconds:.1f} s.{self._reasoned()}{self._beyond()}"
                )
            case Verdict.FAIL if self.letters:
                return f"{self.target}: {self._letters()} {self.reason}{self._keys()}"
            case Verdict.FAIL:
                found = f"{self.reason}{self._keys()}{self._beyond()}"
                return f"{self.target}: the lake differs from the source{at}. {found}"
            case Verdict.UNKNOWN:
                return f"{self.target}: not proven{at} ({self.cause}). {self.reason}{self._keys()}"

    def _reasoned(self) -> str:
        return f" {self.reason}" if self.reason else ""

    def _beyond(self) -> str:
        if not self.beyond:
            return ""
        return f" Not compared, as the source does not have them any more: {', '.join(self.beyond)}."

    def _letters(self) -> str:
        shown = "; ".join(str(letter) for letter in sorted(self.letters)[:SHOWN_KEYS])
        return f"{len(self.letters)} dead letters are open: {shown}."

    def _keys(self) -> str:
        if not self.differing:
            return ""
        count = f"{'at least ' if self.buckets_unlisted else ''}{self.differing_count}"
        return f" Differing keys ({count}): {'; '.join(str(key) for key in self.differing)}."
