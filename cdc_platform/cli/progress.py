"""What a run has done so far, and how it is told: a line a commit, a moving summary, a closing report."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from signal import Signals
from typing import Final

from rich.table import Table

from cdc_platform.cli.failures import Exit, Message, explain
from cdc_platform.cli.output import grid, number, offsets
from cdc_platform.core.errors import CdcError, Terminal, Transient
from cdc_platform.core.model import Format, Kind, Receipt
from cdc_platform.core.offsets import describe, ends_of
from cdc_platform.replicate import Failure, Until

OPERATIONS: Final = {"c": "INSERTED", "u": "UPDATED", "d": "DELETED", "r": "SNAPSHOT"}


@dataclass(slots=True)
class Tally:
    """What a run did to one lake table. ``lag_p95`` (seconds) is the last commit's, ``lag_max`` the run's."""

    table: str
    format: Format
    kind: Kind
    commits: int = 0
    rows_in: int = 0
    applied: Counter[str] = field(default_factory=Counter)
    superseded: int = 0
    dead: int = 0
    version: int = 0
    offsets: dict[int, int] = field(default_factory=dict)
    lag_p95: float | None = None
    lag_max: float | None = None

    def add(self, receipt: Receipt) -> None:
        self.commits += 1
        self.rows_in += receipt.rows_in
        self.applied.update(receipt.applied)
        self.superseded += receipt.superseded
        self.dead += receipt.dead
        self.version = receipt.version
        self.offsets |= ends_of(receipt.ranges)
        if receipt.lag:
            self.lag_p95 = round(receipt.lag.p95, 3)
            self.lag_max = max(self.lag_max or 0.0, round(receipt.lag.max, 3))


@dataclass(slots=True)
class Progress:
    """A run so far. ``began``: seconds of a monotonic clock. ``signal``: the one that asked it to end."""

    source: str
    until: Until
    began: float
    tallies: dict[tuple[str, Format, Kind], Tally] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    signal: Signals | None = None

    def note(self, received: Signals) -> None:
        """It ended the run."""
        self.signal = received

    def add(self, receipt: Receipt) -> None:
        key = (receipt.table, receipt.format, receipt.kind)
        self.tallies.setdefault(key, Tally(*key)).add(receipt)

    def totals(self) -> dict[str, int]:
        """``rows_in``: changes read; each lands in two lake tables of each format."""
        read: dict[str, int] = {}
        for tally in self.tallies.values():
            if tally.kind is Kind.CHANGELOG:
                read[tally.table] = max(tally.rows_in, read.get(tally.table, 0))
        return {
            "rows_in": sum(read.values()),
            "commits": sum(tally.commits for tally in self.tallies.values()),
            "failed": len(self.failures),
        }

    def summary(self, now: float) -> str:
        changelogs = [tally for tally in self.tallies.values() if tally.kind is Kind.CHANGELOG]
        totals = self.totals()
        changes, commits = totals["rows_in"], totals["commits"]
        lags = [tally.lag_p95 for tally in changelogs if tally.lag_p95 is not None]
        seconds = now - self.began
        return (
            f"{self.source}: {changes:,} changes in {commits:,} commits, {seconds:.1f} s"
            f" ({changes / max(seconds, 0.001):,.0f}/s)"
            + (f", lag p95 {max(lags):.2f} s" if lags else "")
            + (f", {len(self.failures)} failed" if self.failures else "")
        )

    def ended(self, now: float) -> str:
        """Why the run ended."""
        if self.signal is not None:
            return f"interrupted by {self.signal.name}"
        if self.until.caught_up:
            return "failed" if self.failures else "caught up"
        if now - self.began >= self.until.seconds:
            return "out of time"
        return "failed" if self.until.idle == float("inf") else "idle"

    def error(self) -> Message | None:
        """All failures in one message, naming each table; None without any."""
        if not self.failures:
            return None
        [first, *others] = [_named(failure) for failure in self.failures]
        if not others:
            return Message(first.what, first.where, first.remedy, self.exit_code())
        what = "\n".join(str(each) for each in (first, *others))
        return Message(f"{len(others) + 1} lake tables stopped\n{what}", "", "", self.exit_code())

    def exit_code(self) -> int:
        """Of the worst that happened: a table that needs somebody comes before one that may go on later."""
        if self.failures:
            passing = all(isinstance(failure.error, Transient) for failure in self.failures)
            return Exit.UNREACHABLE if passing else Exit.STOPPED
        # Ended early, a run without an end of its own did what it was for; `--once` did not.
        return 128 + self.signal if self.signal is not None and self.until.caught_up else 0

    def document(self, now: float) -> dict[str, object]:
        """For JSON. ``error`` is there only if a table failed."""
        error = self.error()
        return {
            "source": self.source,
            "seconds": round(now - self.began, 3),
            "ended": self.ended(now),
            "tables": [tally for _, tally in sorted(self.tallies.items())],
            "failed": [
                {
                    "table": each.table,
                    "format": each.format,
                    "kind": each.kind,
                    "error": explain(each.error).fields,
                }
                for each in self.failures
            ],
            **({"error": error.fields} if error else {}),
        }

    def table(self) -> Table:
        what = ("TABLE", "FORMAT", "KIND")
        headings = (*what, "COMMITS", "ROWS", *OPERATIONS.values(), "SUPERSEDED", "DEAD", "OFFSETS")
        rows = [_row(tally) for _, tally in sorted(self.tallies.items())]
        return grid(headings, rows, right=" ".join(headings[3:-1]))


def commit_line(receipt: Receipt) -> str:
    """``12:04:31 orders (delta) changelog v7: 120 in, 100 c 20 u, 0:[17,42), lag p95 0.81 s, took 0.1 s``."""
    applied = " ".join(f"{count:,} {operation}" for operation, count in sorted(receipt.applied.items()))
    parts = [
        f"{receipt.rows_in:,} in",
        *([applied] if applied else []),
        *([f"{receipt.superseded:,} superseded"] if receipt.superseded else []),
        *([f"{receipt.dead:,} DEAD LETTERS"] if receipt.dead else []),
        describe(receipt.ranges),
        *([f"lag p95 {receipt.lag.p95:.2f} s"] if receipt.lag else []),
        f"took {receipt.seconds:.2f} s",
        *([f"new columns {', '.join(receipt.added)}"] if receipt.added else []),
    ]
    stamp = receipt.committed_at.astimezone().strftime("%H:%M:%S")
    return f"{stamp} {receipt.target} {receipt.kind} v{receipt.version}: {', '.join(parts)}"


def _named(failure: Failure) -> CdcError:
    error = failure.error
    what = f"table {failure.target} {failure.kind} stopped: {error.what}"
    return Terminal(what, where=error.where, remedy=error.remedy)


def _row(tally: Tally) -> tuple[str, ...]:
    return (
        tally.table,
        tally.format,
        tally.kind,
        number(tally.commits),
        number(tally.rows_in),
        *(number(tally.applied[operation]) for operation in OPERATIONS),
        number(tally.superseded),
        number(tally.dead),
        offsets(tally.offsets),
    )
