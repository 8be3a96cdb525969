"""A lake table in the hands of somebody who is not the platform."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import EqualTo
from pyiceberg.manifest import DataFile, ManifestEntryStatus
from pyiceberg.table import Table

from cdc_platform.core.columns import KEY

Change = Callable[[pl.DataFrame], pl.DataFrame]


class Outsider(Protocol):
    """One table of either format. ``signed``: the commit says of itself what the platform's newest one
    says, as a bug of the platform's own would."""

    @property
    def feeds(self) -> bool:
        """Whether the table keeps files of its change feed, beside those of its rows."""
        ...

    def rows(self, back: int = 0) -> pl.DataFrame:
        """Of the newest version, or of one so many versions before it."""
        ...

    def append(self, rows: pl.DataFrame, *, signed: bool = False) -> None: ...

    def remove(self, key: str) -> None:
        """All rows of a key, by the library's own delete."""
        ...

    def replace(self, key: str, rows: pl.DataFrame) -> None:
        """All rows of a key, by the library's own overwrite."""
        ...

    def overwrite(self, rows: pl.DataFrame, *, signed: bool = False) -> None:
        """Everything, and the columns with it."""
        ...

    def move_back(self, back: int) -> None:
        """To so many versions before the newest, by the library's own means."""
        ...

    def point_back(self, back: int) -> None:
        """The list of files names those of so many versions before, without saying so."""
        ...

    def files(self) -> list[Path]:
        """Of the newest version's rows."""
        ...

    def images(self, back: int) -> list[Path]:
        """From which the rows are read that were replaced or deleted by the version that came after the one
        so many versions before the newest."""
        ...

    def rewrite(self, path: Path, change: Change) -> None:
        """Another content in the same file, and its size where it is noted."""
        ...


@dataclass(frozen=True, slots=True)
class DeltaOutsider:
    """``uri``: of a folder."""

    uri: str

    @property
    def feeds(self) -> bool:
        return True

    def rows(self, back: int = 0) -> pl.DataFrame:
        version = self._table().version() - back
        return pl.read_delta(self.uri, version=version)

    def append(self, rows: pl.DataFrame, *, signed: bool = False) -> None:
        properties = self._signature() if signed else None
        write_deltalake(self._table(), rows.to_arrow(), mode="append", commit_properties=properties)

    def remove(self, key: str) -> None:
        self._unlocked().delete(f"{KEY} = '{key}'")

    def replace(self, key: str, rows: pl.DataFrame) -> None:
        where = f"{KEY} = '{key}'"
        write_deltalake(self._unlocked(), rows.to_arrow(), mode="overwrite", predicate=where)

    def overwrite(self, rows: pl.DataFrame, *, signed: bool = False) -> None:
        table, properties = self._unlocked(), self._signature() if signed else None
        other = self.rows().schema != rows.schema
        write_deltalake(
            table,
            rows.to_arrow(),
            mode="overwrite",
            schema_mode="overwrite" if other else None,
            commit_properties=properties,
        )

    def move_back(self, back: int) -> None:
        table = self._table()
        table.restore(table.version() - back)

    def point_back(self, back: int) -> None:
        version = self._table().version()
        now, then = ({each["path"]: each for each in self._files_at(at)} for at in (version, version - back))
        gone = [{"path": path, "dataChange": False, "deletionTimestamp": 0} for path in now.keys() - then]
        back_again = [{**each, "dataChange": False} for path, each in then.items() if path not in now]
        said = [
            {"commitInfo": {"timestamp": 0, "operation": "OPTIMIZE"}},
            *({"remove": each} for each in gone),
            *({"add": each} for each in back_again),
        ]
        log = Path(self.uri, "_delta_log", f"{version + 1:020}.json")
        log.write_bytes(b"\n".join(map(orjson.dumps, said)))

    def files(self) -> list[Path]:
        return [Path(uri.removeprefix("file://")) for uri in self._table().file_uris()]

    def images(self, back: int) -> list[Path]:
        version = self._table().version() - back + 1
        return [Path(self.uri, each["path"]) for each in self._actions(version, "cdc")]

    def rewrite(self, path: Path, change: Change) -> None:
        before = path.stat().st_size
        change(pl.read_parquet(path, glob=False)).write_parquet(path)
        for log in Path(self.uri, "_delta_log").glob("*.json"):
            sized = f'"size":{before}', f'"size":{path.stat().st_size}'
            lines = log.read_text().splitlines()
            log.write_text("\n".join(line.replace(*sized) if path.name in line else line for line in lines))

    def _table(self) -> DeltaTable:
        return DeltaTable(self.uri)

    def _unlocked(self) -> DeltaTable:
        """A changelog refuses everything but appends, until somebody switches that off."""
        table = self._table()
        if table.metadata().configuration.get("delta.appendOnly") == "true":
            table.alter.set_table_properties({"delta.appendOnly": "false"})
        return self._table()

    def _signature(self) -> CommitProperties:
        at = max(version for version in range(self._table().version() + 1) if self._actions(version, "txn"))
        (info,) = self._actions(at, "commitInfo")
        said = {name: str(value) for name, value in info.items() if name.startswith("cdc.")}
        moved = [Transaction(each["appId"], each["version"]) for each in self._actions(at, "txn")]
        return CommitProperties(custom_metadata=said, app_transactions=moved)

    def _actions(self, version: int, kind: str) -> list[dict[str, Any]]:
        log = Path(self.uri, "_delta_log", f"{version:020}.json")
        return [action[kind] for action in map(orjson.loads, log.read_bytes().splitlines()) if kind in action]

    def _files_at(self, version: int) -> list[dict[str, Any]]:
        there: dict[str, dict[str, Any]] = {}
        for at in range(version + 1):
            there |= {each["path"]: each for each in self._actions(at, "add")}
            for each in self._actions(at, "remove"):
                there.pop(each["path"], None)
        return list(there.values())


@dataclass(frozen=True, slots=True)
class IcebergOutsider:
    """``catalog``: opened by whoever it is."""

    catalog: Catalog
    identifier: tuple[str, ...]

    @property
    def feeds(self) -> bool:
        return False

    def rows(self, back: int = 0) -> pl.DataFrame:
        table = self._table()
        snapshot = self._snapshots(table)[-1 - back]
        return pl.DataFrame(table.scan(snapshot_id=snapshot).to_arrow())

    def append(self, rows: pl.DataFrame, *, signed: bool = False) -> None:
        table = self._table()
        table.append(_stored(rows, table), snapshot_properties=self._signature(table) if signed else {})

    def remove(self, key: str) -> None:
        self._table().delete(EqualTo(KEY, key))

    def replace(self, key: str, rows: pl.DataFrame) -> None:
        table = self._table()
        table.overwrite(_stored(rows, table), overwrite_filter=EqualTo(KEY, key))

    def overwrite(self, rows: pl.DataFrame, *, signed: bool = False) -> None:
        table = self._table()
        said = self._signature(table) if signed else {}
        gone = [name for name in table.schema().as_arrow().names if name not in rows.columns]
        other = [
            name
            for name, dtype in pl.Schema(table.schema().as_arrow()).items()
            if name in rows.columns and rows.schema[name] != dtype
        ]
        with table.transaction() as change:
            if gone or other:
                with change.update_schema(allow_incompatible_changes=True) as columns:
                    for name in (*gone, *other):
                        columns.delete_column(name)
                with change.update_schema(allow_incompatible_changes=True) as columns:
                    columns.union_by_name(rows.select(other).to_arrow().schema if other else pa.schema([]))
            change.overwrite(
                rows.select(change.table_metadata.schema().as_arrow().names)
                .to_arrow()
                .cast(change.table_metadata.schema().as_arrow()),
                snapshot_properties=said,
            )

    def move_back(self, back: int) -> None:
        table = self._table()
        with table.manage_snapshots() as snapshots:
            snapshots.rollback_to_snapshot(self._snapshots(table)[-1 - back])

    def point_back(self, back: int) -> None:
        table = self._table()
        then = self._snapshots(table)[-1 - back]
        old = [task.file for task in table.scan(snapshot_id=then).plan_files()]
        with table.transaction() as change, change.update_snapshot().overwrite() as snapshot:
            for task in table.scan().plan_files():
                snapshot.delete_data_file(task.file)
            for file in old:
                snapshot.append_data_file(file)

    def files(self) -> list[Path]:
        return [_path(task.file) for task in self._table().scan().plan_files()]

    def images(self, back: int) -> list[Path]:
        table = self._table()
        changing = table.snapshot_by_id(self._snapshots(table)[-back])
        assert changing is not None
        entries = [
            entry
            for manifest in changing.manifests(table.io)
            for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=False)
            if entry.snapshot_id == changing.snapshot_id and entry.status == ManifestEntryStatus.DELETED
        ]
        return [_path(each.data_file) for each in entries]

    def rewrite(self, path: Path, change: Change) -> None:
        rows = change(pl.read_parquet(path, glob=False))
        pq.write_table(rows.to_arrow().cast(pq.read_schema(path)), path)

    def _table(self) -> Table:
        return self.catalog.load_table(self.identifier)

    @staticmethod
    def _snapshots(table: Table) -> list[int]:
        return [entry.snapshot_id for entry in table.history()]

    @staticmethod
    def _signature(table: Table) -> Mapping[str, str]:
        newest = table.current_snapshot()
        assert newest is not None
        assert newest.summary is not None
        said = newest.summary.additional_properties
        return {name: value for name, value in said.items() if name.startswith("cdc.")}


def flip(path: Path) -> None:
    """Bits near the end of a file, as a disk does it."""
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF
    path.write_bytes(content)


def _stored(rows: pl.DataFrame, table: Table) -> pa.Table:
    schema = table.schema().as_arrow()
    return rows.select(schema.names).to_arrow().cast(schema)


def _path(file: DataFile) -> Path:
    return Path(file.file_path.removeprefix("file://"))
