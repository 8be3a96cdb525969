"""What a lake table remembers of its own past: its commits, and the rows that each of them changed.

Invariant: a part of the past that the table has forgotten (its log was cleaned up, its files removed) is an
error or a version that is left out, never an answer with fewer rows. Who reads the past can always tell
"there was nothing" from "nobody knows any more".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

import orjson
import polars as pl

from cdc_platform.core.errors import Terminal
from cdc_platform.core.offsets import Ranges

CHANGE: Final = "_change_type"
"""Column of a change's kind, as Delta's change data feed names it."""

COMMIT: Final = "_commit_version"
"""Column of the version that made a change."""

INSERT, PREIMAGE, POSTIMAGE, DELETE = "insert", "update_preimage", "update_postimage", "delete"


REBUILT: Final = "cdc.rebuilt"
"""Key of a commit's metadata that says it exchanged all rows and columns of its table; the value: from what.
"""


class Forgotten(Terminal):
    """The table no longer has that part of its past."""


class Damaged(Terminal):
    """The table has that part of its past, and it cannot be read."""


@dataclass(frozen=True, slots=True)
class Commit:
    """One version. ``operation``: the engine's word for what was done (WRITE, MERGE, OPTIMIZE, DELETE …).

    ``ours``: it carries the platform's own remarks. ``ranges``: the offsets it says it covers. ``applied``:
    the rows that replication says it wrote, ``written``: those the engine says were added; ``lag``: the p95
    of its rows' lag in seconds; None if not said. ``rebuilt``: it exchanged all rows and columns.
    """

    version: int
    committed_at: datetime
    operation: str
    ours: bool
    ranges: Ranges
    applied: int | None
    written: int | None
    lag: float | None = None
    rebuilt: bool = False


def last_rebuilt(commits: Sequence[Commit]) -> int | None:
    """The newest version of these that exchanged all rows and columns; None without one."""
    return next((commit.version for commit in reversed(commits) if commit.rebuilt), None)


def rebuilding(info: Mapping[str, str]) -> dict[str, str]:
    """What a commit that exchanges all rows and columns carries. ``info``: may say from what."""
    return {REBUILT: "rows that were given", **info}


def not_over(version: int, uri: str) -> Forgotten:
    """What to say when changes are asked for that a rebuilt version lies among."""
    return Forgotten(
        f"the table was rebuilt in version {version}: changes do not reach over it, as all rows and columns "
        "were exchanged at once",
        where=uri,
        remedy=f"take the state of version {version}, rows(at={version}), and go on from there",
    )


def lag_of(info: Mapping[str, str]) -> float | None:
    """The p95 of the lag, by what replication keeps with a commit."""
    told = orjson.loads(info.get("cdc.lag_seconds") or "null")
    return float(told[1]) if told else None


class History(Protocol):
    """The past of one lake table. Versions are whole numbers that rise by one."""

    @property
    def uri(self) -> str: ...

    @property
    def bounded(self) -> bool:
        """Whether the table forgets its past by itself as it is written, and not by somebody's clean-up."""
        ...

    def identity(self) -> str:
        """Of this very table: one made anew at the same place has another."""
        ...

    def rows(self, version: int) -> pl.LazyFrame:
        """All rows as they were at a version, with the columns of that time.

        Raises Forgotten if the version is not there any more, or not all of its files are.
        """
        ...

    def commits(self, after: int, upto: int) -> tuple[Commit, ...]:
        """The versions past ``after`` up to ``upto`` of which there still is a record, oldest first."""
        ...

    def changes(self, after: int, upto: int, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        """The rows that these versions changed, in batches of no order, with CHANGE and COMMIT beside the
        columns that the table had at ``upto``, or those named.

        Raises Forgotten if any of it is no longer there, or the table was rebuilt in one of these versions;
        Damaged if it is there and cannot be read.
        """
        ...

    def differences(self, after: int, upto: int) -> Iterator[pl.DataFrame]:
        """KEY and CHANGE of the rows by which the two versions differ, in batches of no order. Of a row that
        changed more than once, or came and went, more may be told than that.

        Raises as ``changes``, and Forgotten where rows may have changed so that nothing of it would be told.
        """
        ...

    def damaged(self, version: int | None = None) -> tuple[str, ...]:
        """The files of a version, the newest if none is given, that cannot be read, a few words each.

        All files are read to find out.
        """
        ...
