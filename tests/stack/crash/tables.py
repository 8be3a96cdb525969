"""Lake tables as they lie on disk, read by their formats' own means.

Invariant: nothing here is the platform's, so a mistake of the platform is not made twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import orjson
import polars as pl
from deltalake import DeltaTable
from pyiceberg.table import StaticTable


class TableFiles(Protocol):
    def rows(self) -> pl.LazyFrame:
        """Of the newest version."""
        ...

    def moves(self) -> Iterator[dict[str, int]]:
        """Of each commit, in their order, the offsets that it set, by partition."""
        ...

    def data_files(self) -> set[str]:
        """Names of the data files that lie in the table's folder, whoever wrote them."""
        ...

    def committed_files(self) -> set[str]:
        """Names of the data files that any commit of the table ever added."""
        ...

    def read_files(self) -> set[str]:
        """Names of the data files that a reader of the newest version opens."""
        ...


@dataclass(frozen=True, slots=True)
class DeltaFiles:
    folder: Path

    def rows(self) -> pl.LazyFrame:
        return pl.scan_delta(str(self.folder))

    def moves(self) -> Iterator[dict[str, int]]:
        for actions in self._log():
            yield {each["txn"]["appId"]: each["txn"]["version"] for each in actions if "txn" in each}

    def data_files(self) -> set[str]:
        return {path.name for path in self.folder.glob("*.parquet")}

    def committed_files(self) -> set[str]:
        return {action["add"]["path"] for actions in self._log() for action in actions if "add" in action}

    def read_files(self) -> set[str]:
        return {Path(uri).name for uri in DeltaTable(str(self.folder)).file_uris()}

    def _log(self) -> list[list[dict[str, Any]]]:
        commits = sorted((self.folder / "_delta_log").glob("*.json"))
        return [[orjson.loads(line) for line in commit.read_bytes().splitlines()] for commit in commits]


@dataclass(frozen=True, slots=True)
class IcebergFiles:
    """Known to the catalog in an SQLite database; the table's folder lies beside that."""

    database: Path
    namespace: str
    name: str

    def rows(self) -> pl.LazyFrame:
        return pl.scan_iceberg(self._table())

    def moves(self) -> Iterator[dict[str, int]]:
        for snapshot in sorted(self._table().metadata.snapshots, key=lambda each: each.sequence_number or 0):
            assert snapshot.summary
            yield orjson.loads(snapshot.summary.additional_properties.get("cdc.offsets", "{}"))

    def data_files(self) -> set[str]:
        return {path.name for path in (self.database.parent / self.namespace / self.name).rglob("*.parquet")}

    def committed_files(self) -> set[str]:
        table = self._table()
        return {
            Path(entry.data_file.file_path).name
            for snapshot in table.metadata.snapshots
            for manifest in snapshot.manifests(table.io)
            for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=False)
        }

    def read_files(self) -> set[str]:
        return {Path(task.file.file_path).name for task in self._table().scan().plan_files()}

    def _table(self) -> StaticTable:
        query = "SELECT metadata_location FROM iceberg_tables WHERE table_namespace = ? AND table_name = ?"
        with closing(sqlite3.connect(self.database, timeout=30)) as catalog:
            [(location,)] = catalog.execute(query, (self.namespace, self.name))
        return StaticTable.from_metadata(location)
