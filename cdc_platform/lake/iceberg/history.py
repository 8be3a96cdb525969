"""The past of an Iceberg table: its snapshots, and the rows that each of them changed.

Invariants
- A version is a snapshot's sequence number; only ancestors of the newest snapshot count. One that was expired
  is left out of the commits, and changes that reach over it are forgotten.
- What a snapshot changed is what differs between the files that it took out and those that it put in, and
  what two versions differ by is what their files differ by: see ``exchanged``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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

from cdc_platform.core.columns import KEY
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
from cdc_platform.lake.iceberg.exchanged import ROW, apart, nothing, read
from cdc_platform.lake.iceberg.failures import answering
from cdc_platform.lake.store import unanswered

_NTH: Final = "_cdc_nth"


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

    def differences(self, after: int, upto: int) -> Iterator[pl.DataFrame]:
        table = self._table()
        known = {_number(each): each for each in _snapshots(table)}
        between = [_commit(each) for n, each in known.items() if after < n <= upto]
        if rebuilt := last_rebuilt(between):
            raise not_over(rebuilt, self.uri)
        if other := next((each for each in between if not each.ours), None):
            raise Forgotten(
                f"version {other.version} was written by another program, which may have changed a row and "
                "left its place in Kafka",
                where=self.uri,
            )
        then, now = (self._files_at(table, known, version) for version in (after, upto))
        removed = [file for path, file in then.items() if path not in now]
        added = [file for path, file in now.items() if path not in then]
        with self._reading(upto):
            gone, come = apart(table, _schema_at(table, known.get(upto)), removed, added)
        for rows, change in ((gone, DELETE), (come, INSERT)):
            yield rows.select(KEY, pl.lit(change).alias(CHANGE))

    def _files_at(self, table: Table, known: Mapping[int, Snapshot], version: int) -> dict[str, DataFile]:
        if not version:  # the table as it was made
            return {}
        if version not in known:
            raise Forgotten(f"the snapshot of version {version} is not there any more", where=self.uri)
        found = {}
        for task in table.scan(snapshot_id=known[version].snapshot_id).plan_files():
            if task.delete_files:
                raise Damaged(f"{task.file.file_path} has deletes beside it", where=self.uri)
            found[task.file.file_path] = task.file
        return found

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
        with self._reading(version):
            removed, added = _files(table, snapshot)
            before, after = apart(table, schema, removed, added)
            wanted = list(columns or (field.name for field in schema.fields))
            whole = schema.select(*dict.fromkeys([*wanted, *ROW]))
            return pl.concat(
                [
                    _images(table, whole, removed, before, after, (PREIMAGE, DELETE)),
                    _images(table, whole, added, after, before, (POSTIMAGE, INSERT)),
                ]
            ).select(*wanted, CHANGE, pl.lit(version, dtype=pl.Int64).alias(COMMIT))

    @contextmanager
    def _reading(self, version: int) -> Iterator[None]:
        try:
            yield
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
    if set(schema.column_names) <= set(ROW):
        return marked
    files = files if marked.height else ()
    found = [read(table, file, schema).join(marked, on=ROW, how="semi", nulls_equal=True) for file in files]
    nth = pl.int_range(pl.len()).over(ROW).alias(_NTH)  # of the same row
    among = pl.concat([nothing(schema), *found]).with_columns(nth)
    return among.join(marked.with_columns(nth), on=[*ROW, _NTH], nulls_equal=True).drop(_NTH)


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


def _schema_at(table: Table, snapshot: Snapshot | None) -> Schema:
    """Of the table as a snapshot left it; the newest one's are the table's own."""
    newest = table.current_snapshot()
    if snapshot is None or newest is None or snapshot.snapshot_id == newest.snapshot_id:
        return table.schema()
    return table.schemas().get(snapshot.schema_id or 0, table.schema())


def _short(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]
