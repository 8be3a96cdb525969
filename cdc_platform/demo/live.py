"""What a person watches while the writers run: every table, second by second."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from cdc_platform.core.model import Kind, Target
from cdc_platform.demo.lake import DemoLake
from cdc_platform.demo.writers import Writers

BARS = " ▁▂▃▄▅▆▇█"
FULL = 4.0
"""Seconds of lag that fill a bar."""


class LiveView:
    """Reads nothing but the tables' logs: what it shows is in the lake."""

    def __init__(self, parts: Sequence[tuple[DemoLake, Writers]], before: int) -> None:
        """``parts``: one a source. ``before``: rows of the changelogs before the first change."""
        self._parts = parts
        self._before = before

    def table(self) -> Table:
        arrived = max(0, sum(lake.rows(Kind.CHANGELOG) for lake, _ in self._parts) - self._before)
        made = sum(writers.made for _, writers in self._parts)
        passed = max(writers.passed for _, writers in self._parts)
        table = Table(
            title=f"{made:,} changes made, {arrived:,} in the changelogs, {made - arrived:,} on their way",
            caption=f"{arrived / max(passed, 1):,.0f} changes/s reach the lake; lag p95 of the "
            f"last commits, in seconds, a bar a commit (full: {FULL:.0f} s)",
            box=SIMPLE_HEAD,
        )
        for heading in ("table", "changelog", "current", "lag p95", "commits"):
            table.add_column(heading, justify="left" if heading in ("table", "commits") else "right")
        for lake, _ in self._parts:
            table.add_row(f"[bold]{lake.source.name}[/] ({lake.source.engine.called})")
            for target in lake.source.targets:
                table.add_row(*_row(lake, target))
        return table


def _row(lake: DemoLake, target: Target) -> tuple[str, ...]:
    changes, state = (lake.table(target, kind).snapshot()[1] for kind in Kind)
    lags = lake.lags(target)
    newest = f"{lags[-1]:.2f}" if lags else "-"
    return f"  {target.path}", f"{changes:,}", f"{state:,}", newest, _bars(lags)


def _bars(lags: Sequence[float]) -> str:
    steps = len(BARS) - 1
    return "".join(BARS[max(1, min(steps, round(lag / FULL * steps)))] for lag in lags)
