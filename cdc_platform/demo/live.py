"""What a person watches while the writers run: every table, second by second."""

from __future__ import annotations

import json
from collections.abc import Sequence

from deltalake import DeltaTable
from rich.box import SIMPLE_HEAD
from rich.table import Table

from cdc_platform.core.model import Kind
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.demo.writers import Writers
from cdc_platform.platform import lake_table

BARS = " ▁▂▃▄▅▆▇█"
SHOWN = 24
"""Commits whose lag is drawn."""
FULL = 4.0
"""Seconds of lag that fill a bar."""


class LiveView:
    """Reads nothing but the tables' logs: what it shows is in the lake."""

    def __init__(self, settings: Settings, source: Source, writers: Writers, before: int) -> None:
        """``before``: rows of the changelogs before the first change."""
        self._settings = settings
        self._source = source
        self._writers = writers
        self._before = before

    def table(self) -> Table:
        rows = [self._row(name) for name in self._source.collections]
        arrived = max(0, sum(changes for changes, _ in rows) - self._before)
        made = self._writers.made
        table = Table(
            title=f"{made:,} changes made, {arrived:,} in the changelogs, {made - arrived:,} on their way",
            caption=f"{arrived / max(self._writers.passed, 1):,.0f} changes/s reach the lake; lag p95 of the "
            f"last commits, in seconds, a bar a commit (full: {FULL:.0f} s)",
            box=SIMPLE_HEAD,
        )
        for heading in ("table", "changelog", "current", "lag p95", "commits"):
            table.add_column(heading, justify="left" if heading in ("table", "commits") else "right")
        for _, cells in rows:
            table.add_row(*cells)
        return table

    def _row(self, name: str) -> tuple[int, tuple[str, ...]]:
        changelog, current = (lake_table(self._settings, self._source, name, kind) for kind in Kind)
        changes, state = changelog.snapshot()[1], current.snapshot()[1]
        lags = _lags(changelog.uri)
        newest = f"{lags[-1]:.2f}" if lags else "-"
        return changes, (name, f"{changes:,}", f"{state:,}", newest, _bars(lags))


def _lags(uri: str) -> list[float]:
    """p95 of the newest commits' lag, the oldest first."""
    entries = DeltaTable(uri).history(SHOWN)
    told = (json.loads(entry.get("cdc.lag_seconds") or "null") for entry in reversed(entries))
    return [float(lag[1]) for lag in told if lag]


def _bars(lags: Sequence[float]) -> str:
    steps = len(BARS) - 1
    return "".join(BARS[max(1, min(steps, round(lag / FULL * steps)))] for lag in lags)
