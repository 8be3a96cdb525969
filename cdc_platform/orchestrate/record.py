"""What Dagster gets to know of the commits: materializations, thinned.

A commit a second would fill Dagster's event log (12–15 KB each): a table is recorded at its first commit,
then at intervals, when it becomes quiet, and at the end of the run. When it becomes quiet, because Dagster
takes a check for not evaluated once a materialization follows it: what is proven of a table at rest stays so.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import dagster as dg
import polars as pl

from cdc_platform.core.columns import MEANINGS
from cdc_platform.core.model import Handle, Kind, Receipt, Target
from cdc_platform.core.ports import StoredTable
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.orchestrate.keys import target_key
from cdc_platform.orchestrate.proven import proven_through
from cdc_platform.platform import crash_probe, lake_table, utc_now

QUIET = 1.5
"""Seconds past the usual pause between two commits after which a table counts as quiet."""


@dataclass(slots=True)
class _Window:
    """Receipts of one table since its last record."""

    last: Receipt | None = None
    commits: int = 0
    rows_in: int = 0
    superseded: int = 0
    applied: Counter[str] = field(default_factory=Counter)
    worst: float = 0.0
    touched: float = 0.0

    def add(self, receipt: Receipt) -> None:
        self.last = receipt
        self.touched = time.monotonic()
        self.commits += 1
        self.rows_in += receipt.rows_in
        self.superseded += receipt.superseded
        self.applied.update(receipt.applied)
        if receipt.lag:
            self.worst = max(self.worst, receipt.lag.max)


class Recorder:
    """Belongs to one run and its main thread."""

    def __init__(
        self, context: dg.AssetExecutionContext, source: Source, settings: Settings, *, staying: bool
    ) -> None:
        self._context = context
        self._staying = staying
        self._source = source
        self._settings = settings
        self._windows: dict[dg.AssetKey, _Window] = {}
        self._recorded: dict[dg.AssetKey, float] = {}
        self._probe = crash_probe()

    def take(self, receipt: Receipt) -> None:
        """Add a commit. In a staying run, record its table when its time has come."""
        self._probe(f"before_event:{receipt.kind}")
        key = target_key(self._source, receipt.target, receipt.kind)
        self._windows.setdefault(key, _Window()).add(receipt)
        if not self._staying:
            return
        recorded = self._recorded.get(key)
        if recorded is None or time.monotonic() - recorded >= self._settings.record_seconds:
            self._record(key)

    def settle(self) -> None:
        """Record the tables that have become quiet. Does nothing in a one-shot run."""
        if not self._staying:
            return
        limits, now = self._source.limits, time.monotonic()
        pause = {Kind.CHANGELOG: limits.changelog_age, Kind.CURRENT: limits.current_age}
        for key, window in list(self._windows.items()):
            if window.last and now - window.touched > pause[window.last.kind] + QUIET:
                self._record(key)

    def _record(self, key: dg.AssetKey) -> None:
        window = self._windows.pop(key)
        assert window.last is not None
        self._recorded[key] = time.monotonic()
        metadata = self._metadata(window.last.target, window.last.kind, window)
        self._context.log_event(dg.AssetMaterialization(asset_key=key, metadata=metadata))

    def results(self, targets: Mapping[Target, frozenset[Kind]]) -> Iterator[dg.MaterializeResult[None]]:
        """The final results: of a staying run for what is not yet recorded, otherwise for every table.

        ``targets``: those that were drained without a failure. What the run was not planned with (it was
        found later) is recorded as an event.
        """
        for target, kinds in targets.items():
            for kind in sorted(kinds):
                key = target_key(self._source, target, kind)
                if key not in self._context.selected_asset_keys:
                    if key in self._windows:
                        self._record(key)
                    continue
                window = self._windows.pop(key, None)
                exists = self._table(target, kind).exists()
                if exists and (window or not self._staying):
                    metadata = self._metadata(target, kind, window or _Window())
                    yield dg.MaterializeResult(asset_key=key, metadata=metadata)

    def _table(self, target: Target, kind: Kind) -> StoredTable:
        return lake_table(self._settings, self._source, target.table, kind, target.format)

    def _metadata(self, target: Target, kind: Kind, window: _Window) -> Mapping[str, dg.MetadataValue]:
        table = self._table(target, kind)
        handle, rows = table.snapshot()
        return (
            storage_metadata(table.uri, target_key(self._source, target, kind))
            | {
                "dagster/row_count": dg.MetadataValue.int(rows),
                "dagster/column_schema": dg.MetadataValue.table_schema(column_schema(handle)),
                "cdc/version": dg.MetadataValue.int(handle.version),
            }
            | (self._proven(target) if kind is Kind.CURRENT else {})
            | _work(window)
        )

    def _proven(self, target: Target) -> dict[str, dg.MetadataValue]:
        return proven_through(self._settings, self._source, target, utc_now())


def _work(window: _Window) -> dict[str, dg.MetadataValue]:
    """What the window's commits did."""
    found: dict[str, dg.MetadataValue] = {
        "cdc/commits": dg.MetadataValue.int(window.commits),
        "cdc/rows_in": dg.MetadataValue.int(window.rows_in),
        "cdc/superseded": dg.MetadataValue.int(window.superseded),
        **{f"cdc/rows_{name}": dg.MetadataValue.int(window.applied[op]) for op, name in _NAMES.items()},
    }
    if last := window.last:
        ends = {str(p): r.end for p, r in sorted(last.ranges.items())}
        found["cdc/offsets"] = dg.MetadataValue.json(ends)
        found["cdc/commit_seconds"] = dg.MetadataValue.float(last.seconds)
        if last.lag:
            found["cdc/lag_seconds"] = dg.MetadataValue.float(last.lag.p95)
            found["cdc/lag_p50_seconds"] = dg.MetadataValue.float(last.lag.p50)
            found["cdc/lag_max_seconds"] = dg.MetadataValue.float(window.worst)
    return found


_NAMES = {"c": "inserted", "u": "updated", "d": "deleted", "r": "read_by_snapshot"}


def storage_metadata(uri: str, key: dg.AssetKey) -> dict[str, dg.MetadataValue]:
    return {
        "dagster/uri": dg.MetadataValue.text(uri),
        "dagster/table_name": dg.MetadataValue.text(".".join(key.path)),
    }


def column_schema(handle: Handle) -> dg.TableSchema:
    return dg.TableSchema(
        [dg.TableColumn(name, _spelled(dtype), MEANINGS.get(name)) for name, dtype in handle.schema.items()]
    )


def _spelled(dtype: pl.DataType) -> str:
    match dtype:
        case pl.Struct():
            inner = ", ".join(f"{f.name}: {_spelled(pl.Schema({'': f.dtype})[''])}" for f in dtype.fields)
            return f"struct<{inner}>"
        case pl.List():
            return f"list<{_spelled(pl.Schema({'': dtype.inner})[''])}>"
        case pl.Datetime():
            return "timestamp"
        case _:
            return str(dtype).lower()
