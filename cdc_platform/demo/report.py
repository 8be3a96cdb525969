"""What the demo found out, as a table for people and as JSON for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
from rich.box import SIMPLE_HEAD
from rich.table import Table

from cdc_platform.core.model import Lag

PASS = "pass"
STYLES = {"pass": "bold green", "fail": "bold red", "unknown": "bold yellow"}


@dataclass(frozen=True, slots=True)
class TableReport:
    """One source table in one format. ``position``: of the source, that it was proven at.
    ``changelog_rows``: by operation. Lags in seconds, None if unmeasured.
    """

    source: str
    table: str
    format: str
    position: str
    source_rows: int
    changelog_rows: dict[str, int]
    current_rows: int
    source_digest: str
    lake_digest: str
    lag_p50_s: float | None
    lag_p95_s: float | None
    lag_max_s: float | None
    verdict: str
    reason: str

    @property
    def name(self) -> str:
        """As keys of the report have it."""
        return f"{self.source}/{self.table}"

    @property
    def path(self) -> str:
        return f"{self.format}/{self.name}"


@dataclass(frozen=True, slots=True)
class SourceReport:
    """``changes``: made while the writers ran, by operation; rolled back ones are none. ``lag_p95_s``: of
    its slowest table.
    """

    source: str
    engine: str
    changes: dict[str, int]
    changes_per_second: float
    lag_p95_s: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """``while_writing``: verdicts of the proof that ran while the writers did, by a table's path."""

    sources: tuple[SourceReport, ...]
    tables: tuple[TableReport, ...]
    while_writing: dict[str, str]
    changes: int
    changes_per_second: float
    seconds: float

    @property
    def passed(self) -> bool:
        verdicts = [*(table.verdict for table in self.tables), *self.while_writing.values()]
        return bool(verdicts) and all(verdict == PASS for verdict in verdicts) and all(self.alike.values())

    @property
    def alike(self) -> dict[str, bool]:
        """Per table whether its formats hold the same at one position of the source."""
        found: dict[str, set[tuple[str, str]]] = {}
        for each in self.tables:
            found.setdefault(each.name, set()).add((each.position, each.lake_digest))
        return {table: len(states) == 1 for table, states in found.items()}

    @property
    def closing(self) -> str:
        """A sentence on whether the formats equal each other; nothing where there is one format."""
        formats = sorted({each.format for each in self.tables})
        if len(formats) < 2:
            return ""
        unlike = [table for table, alike in self.alike.items() if not alike]
        both = " and ".join(formats)
        return f"{both} differ: {', '.join(unlike)}" if unlike else f"{both} equal each other, table by table"

    def write(self, path: Path) -> None:
        path.write_bytes(orjson.dumps(asdict(self) | {"alike": self.alike}, option=orjson.OPT_INDENT_2))

    def render(self) -> Table:
        table = Table(
            title="The lake against its sources, each at a position of its own",
            caption="lag: seconds from the source's commit to the changelog's, p95"
            + (f"\n{self.closing}" if self.closing else ""),
            box=SIMPLE_HEAD,
            padding=(0, 1),
            collapse_padding=True,
            pad_edge=False,
            show_edge=False,
        )
        table.add_column("\nlake table", no_wrap=True)
        for heading in ("source\nrows", "current\nrows", "\nchanges"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("\ndigest", no_wrap=True)
        table.add_column("\nlag", justify="right", no_wrap=True)
        table.add_column("while\nwriting", no_wrap=True)
        table.add_column("at\nrest", no_wrap=True)
        for source in self.sources:
            table.add_row(f"[bold]{source.source}[/] ({source.engine})")
            for row in self.tables:
                if row.source == source.source:
                    table.add_row(*self._cells(row))
        return table

    def _cells(self, row: TableReport) -> tuple[str, ...]:
        return (
            f"{row.format}/{row.table}",
            f"{row.source_rows:,}",
            f"{row.current_rows:,}",
            f"{sum(row.changelog_rows.values()):,}",
            _digests(row),
            _seconds(row.lag_p95_s),
            _styled(self.while_writing.get(row.path, "")),
            _styled(row.verdict),
        )


def lag_fields(lag: Lag | None) -> tuple[float | None, float | None, float | None]:
    return (lag.p50, lag.p95, lag.max) if lag else (None, None, None)


def _styled(verdict: str) -> str:
    return f"[{STYLES[verdict]}]{verdict}[/]" if verdict else ""


def _digests(row: TableReport) -> str:
    if row.source_digest == row.lake_digest:
        return f"= {row.lake_digest[:6]}"
    return f"  {row.source_digest[:6]}\n≠ {row.lake_digest[:6]}"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
