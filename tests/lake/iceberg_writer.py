"""A program that writes offsets 0 to the end into two tables, as a run does, and may die while it commits.

Run as ``python -m tests.lake.iceberg_writer CATALOG UPTO [FATE]``. CATALOG is a folder, of a catalog on
SQLite, or the URL of a REST catalog. FATE says what happens at its fourth commit: ``before`` or ``after`` it
reaches the catalog the program is killed, ``asleep`` it stops before and goes on with what it had when woken.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Final

from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import CommitTableResponse, Table
from pyiceberg.table.update import TableRequirement, TableUpdate

from cdc_platform.core.columns import UPDATE
from cdc_platform.core.errors import Conflict
from cdc_platform.core.model import Kind
from cdc_platform.core.offsets import Range
from cdc_platform.lake.iceberg.catalog import on_sqlite
from cdc_platform.lake.iceberg.rest import BoundedRestCatalog
from cdc_platform.lake.iceberg.table import IcebergLakeTable
from tests.lake.rows import STREAM, fitted, row

NAMES: Final = {kind: ("shop", f"orders_{kind.value}") for kind in Kind}
KEYS: Final = 5
BATCH: Final = 3


class _Fated:
    """Between what calls a catalog's commit and the catalog."""

    fate = ""
    commits = 0

    def commit_table(
        self, table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]
    ) -> CommitTableResponse:
        _Fated.commits += 1
        due = _Fated.fate if _Fated.commits >= 4 else ""  # one that is refused is no end: the next one is
        if due in {"before", "asleep"}:
            _Fated.fate = ""
            os.kill(os.getpid(), signal.SIGKILL if due == "before" else signal.SIGSTOP)
        answer: CommitTableResponse = super().commit_table(table, requirements, updates)  # type: ignore[misc]
        if due == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return answer


class Sql(_Fated, SqlCatalog):
    """On SQLite."""


class Rest(_Fated, BoundedRestCatalog):
    """Of a server."""


def catalog(where: str) -> SqlCatalog | RestCatalog:
    if where.startswith("http"):
        return Rest("rest", uri=where)
    made = on_sqlite("lake", Path(where) / "catalog.db", f"file://{where}")
    fated = Sql("lake", **made.properties)
    fated.engine.dispose()
    fated.engine = made.engine  # as the platform opens it
    return fated


def tables(where: str) -> dict[Kind, IcebergLakeTable]:
    opened = catalog(where)
    return {kind: IcebergLakeTable(lambda: opened, name, kind) for kind, name in NAMES.items()}


def step(table: IcebergLakeTable, kind: Kind, upto: int) -> bool:
    """Commit the next offsets; false if there are none."""
    handle = table.open(STREAM)
    at = handle.offsets.get(0, 0)
    ranges = range(at, min(at + BATCH, upto))
    if not ranges:
        return False
    newest = {offset % KEYS: offset for offset in ranges} if kind is Kind.CURRENT else dict.fromkeys(ranges)
    offsets = sorted(newest.values()) if kind is Kind.CURRENT else list(ranges)
    rows = fitted(handle, [row(0, each, f"k{each % KEYS}", UPDATE, by=os.getpid()) for each in offsets])
    change = table.merge if kind is Kind.CURRENT else table.append
    change(handle, rows, {0: Range(at, ranges[-1] + 1)}, {})
    return True


def main(where: str, upto: int, fate: str = "") -> None:
    _Fated.fate = fate
    made = tables(where)
    conflicts = 0
    left = set(made)
    while left:
        for kind in sorted(left):
            try:
                if not step(made[kind], kind, upto):
                    left.discard(kind)
            except Conflict:
                conflicts += 1
    print(conflicts)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
