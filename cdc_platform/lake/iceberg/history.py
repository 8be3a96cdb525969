"""The past of an Iceberg table: its snapshots, and the rows that each of them changed.

Invariants
- A version is a snapshot's sequence number; only ancestors of the newest snapshot count. One that was expired
  is left out of the commits, and changes that reach over it are forgotten.
- What a snapshot changed is what differs between the files that it took out and those that it put in. A row
  is known by its key, its place in Kafka and the time it was written: rows that stand on both sides were only
  moved from file to file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.manifest import DataFile, ManifestEntryStatus
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot, ancestors_of

from cdc_platform.core.columns import INGESTED, KEY, OFFSET, PARTITION
from cdc_platform.core.errors import Transient
from cdc_platform.core.history import (
    CHANGE,
    COMMIT,
    DELETE,
    INSERT,
    POSTIMAGE,
    PREIMAGE,
    REBUILT,
    Commit,
    Damaged,
    Forgotten,
    lag_of,
    last_rebuilt,
    not_over,
)
from cdc_platform.core.offsets import RANGES, parse
from cdc_platform.lake.iceberg.arrow import from_file
from cdc_platform.lake.iceberg.failures import answering
from cdc_platform.lake.store import unanswered

_ROW: Final = [KEY, PARTITION, OFFSET, INGESTED]


class IcebergHistory:
    """Of one table of a catalog. Keeps no state."""

    def __init__(self, catalog: Callable[[], Catalog], identifier: tuple[str, ...]) -> None:
        self._catalog = catalog
        self._identifier = identifier

    @property
    def uri(self) -> str:
        return f"iceberg:{'.'.join(self._identifier)}"

    @property
    def bounded(self) -> bool:
        return True

    def identity(self) -> str:
        return str(self._table().metadata.table_uuid)

    def rows(self, version: int) -> pl.LazyFrame:
        table = self._table()
        found = next((each for each in _snapshots(table) if _number(each) == version), None)
        if found is None and version:
            raise Forgotten(
                f"the snapshot of version {version} is not there",
                where=self.uri,
                remedy="read a later version; older ones stay retention.files_hours",
            )
        schema = table.schemas().get(found.schema_id or 0, table.schema()) if found else table.schema()
        columns = pl.Schema(schema_to_pyarrow(schema))
        if found is None:  # the table as it was made
            return pl.LazyFrame(schema=columns)
        return pl.scan_iceberg(table, snapshot_id=found.snapshot_id).select(*columns)

    def commits(self, after: int, upto: int) -> tuple[Commit, ...]:
        table = self._table()
        known = _snapshots(table)
        found = [_commit(each) for each in known if after < _number(each) <= upto]
        if after < 0 and (not known or _number(known[0]) == 1):
            return _creation(table), *found
        return tuple(found)

    def changes(self, after: int, upto: int, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        table = self._table()
        known = {_number(each): each for each in _snapshots(table)}
        if rebuilt := last_rebuilt([_commit(each) for n, each in known.items() if after < n <= upto]):
            raise not_over(rebuilt, self.uri)
        schema = _schema_at(table, known.get(upto))
        for version in range(max(after, 0) + 1, upto + 1):
            if version not in known:
                raise Forgotten(
                    f"the snapshot of version {version} is not there any more",
                    where=self.uri,
                    remedy="check more often than old snapshots expire (retention.files_hours)",
                )
            yield self._changed(table, schema, known[version], columns)

    def damaged(self, version: int | None = None) -> tuple[str, ...]:
        table = self._table()
        found = [each for each in _snapshots(table) if version is None or _number(each) <= version]
        if not found:
            return ()
        files = [task.file for task in table.scan(snapshot_id=found[-1].snapshot_id).plan_files()]
        return tuple(what for file in files if (what := _damage(table, file)))

    def _changed(
        self, table: Table, schema: Schema, snapshot: Snapshot, columns: Sequence[str] | None
    ) -> pl.DataFrame:
        version = _number(snapshot)
        try:
            removed, added = _files(table, snapshot)
            narrow = schema.select(*_ROW)
            gone = pl.concat([_read(table, file, narrow) for file in removed] or [_nothing(narrow)])
            come = pl.concat([_read(table, file, narrow) for file in added] or [_nothing(narrow)])
            before, after = _without(gone, come), _without(come, gone)
            wanted = list(columns or (field.name for field in schema.fields))
            whole = schema.select(*dict.fromkeys([*wanted, *_ROW]))
            return pl.concat(
                [
                    _images(table, whole, removed, before, after, (PREIMAGE, DELETE)),
                    _images(table, whole, added, after, before, (POSTIMAGE, INSERT)),
                ]
            ).select(*wanted, CHANGE, pl.lit(version, dtype=pl.Int64).alias(COMMIT))
        except FileNotFoundError as error:
            raise Forgotten(
                f"the files of version {version} are not there any more: {error}",
                where=self.uri,
                remedy="check more often than old files are removed (retention.files_hours)",
            ) from error
        except (pa.ArrowException, OSError) as error:
            if unanswered(error):
                raise _unreadable(error, self.uri) from error
            raise Damaged(f"version {version} cannot be read: {_short(error)}", where=self.uri) from error

    def _table(self) -> Table:
        with answering("could not be loaded", self.uri, "check the catalog and the store"):
            return self._catalog().load_table(self._identifier)


def _images(
    table: Table,
    schema: Schema,
    files: Sequence[DataFile],
    rows: pl.DataFrame,
    others: pl.DataFrame,
    kinds: tuple[str, str],
) -> pl.DataFrame:
    """The rows, with the columns of the schema. ``kinds``: what a row is whose key is among the others, and
    what any other is."""
    paired = pl.col(KEY).is_in(others[KEY].implode())
    marked = rows.with_columns(
        pl.when(paired).then(pl.lit(kinds[0])).otherwise(pl.lit(kinds[1])).alias(CHANGE)
    )
    read = (_read(table, file, schema) for file in files if marked.height)
    found = [rows.join(marked, on=_ROW, nulls_equal=True) for rows in read]
    return pl.concat([_nothing(schema).with_columns(pl.lit("").alias(CHANGE)), *found])


def _read(table: Table, file: DataFile, schema: Schema) -> pl.DataFrame:
    with table.io.new_input(file.file_path).open() as source:
        return _frame(from_file(pq.read_table(source), schema))


def _without(rows: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
    """Also of rows that have no key: truncations, and those of tables without one."""
    return rows.join(others, on=_ROW, how="anti", nulls_equal=True)


def _snapshots(table: Table) -> list[Snapshot]:
    """The newest one and its ancestors, oldest first; and before them those that rebuilt the table, which
    stay when their neighbours are forgotten (``past``)."""
    known = sorted(ancestors_of(table.current_snapshot(), table.metadata), key=_number)
    older = [each for each in table.metadata.snapshots if known and _number(each) < _number(known[0])]
    return sorted((each for each in older if REBUILT in _info(each)), key=_number) + known


def _number(snapshot: Snapshot) -> int:
    return snapshot.sequence_number or 0


def _info(snapshot: Snapshot) -> Mapping[str, str]:
    return snapshot.summary.additional_properties if snapshot.summary else {}


def _commit(snapshot: Snapshot) -> Commit:
    info = _info(snapshot)
    applied = orjson.loads(info.get("cdc.rows", "{}")).get("applied")
    written = info.get("added-records")
    return Commit(
        _number(snapshot),
        datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC),
        snapshot.summary.operation.value if snapshot.summary else "unknown",
        any(name.startswith("cdc.") for name in info),
        parse(info.get(RANGES, "")),
        None if applied is None else sum(applied.values()),
        None if written is None else int(written),
        lag_of(info),
        REBUILT in info,
    )


def _creation(table: Table) -> Commit:
    """Of a table without rows; it leaves no snapshot. Known as long as nothing older than it is forgotten."""
    first = min((each.timestamp_ms for each in table.metadata.snapshots), default=0)
    at = datetime.fromtimestamp((first or table.metadata.last_updated_ms) / 1000, UTC)
    return Commit(0, at, "CREATE TABLE", ours=True, ranges={}, applied=None, written=None)


def _files(table: Table, snapshot: Snapshot) -> tuple[list[DataFile], list[DataFile]]:
    """Those that the snapshot took out, and those that it put in."""
    entries = [
        entry
        for manifest in snapshot.manifests(table.io)
        if manifest.added_snapshot_id == snapshot.snapshot_id
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=False)
        if entry.snapshot_id == snapshot.snapshot_id
    ]
    removed = [each.data_file for each in entries if each.status == ManifestEntryStatus.DELETED]
    return removed, [each.data_file for each in entries if each.status == ManifestEntryStatus.ADDED]


def _damage(table: Table, file: DataFile) -> str | None:
    name = file.file_path.rpartition("/")[2]
    try:
        with table.io.new_input(file.file_path).open() as source:
            pq.read_table(source)
    except FileNotFoundError:
        return f"data file {name} is missing"
    except (pa.ArrowException, OSError) as error:
        if unanswered(error):
            raise _unreadable(error, file.file_path) from error
        return f"data file {name} cannot be read ({_short(error)})"
    return None


def _unreadable(error: Exception, where: str) -> Transient:
    return Transient(
        f"the store does not answer: {_short(error)}", where=where, remedy="check the store and the network"
    )


def _nothing(schema: Schema) -> pl.DataFrame:
    return _frame(schema_to_pyarrow(schema).empty_table())


def _schema_at(table: Table, snapshot: Snapshot | None) -> Schema:
    """Of the table as a snapshot left it; the newest one's are the table's own."""
    newest = table.current_snapshot()
    if snapshot is None or newest is None or snapshot.snapshot_id == newest.snapshot_id:
        return table.schema()
    return table.schemas().get(snapshot.schema_id or 0, table.schema())


def _frame(rows: pa.Table) -> pl.DataFrame:
    return pl.DataFrame(rows)


def _short(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]
