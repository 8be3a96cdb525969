"""A lake table in Iceberg.

Invariants (measured on pyiceberg 0.12; the contract suite pins them)
- ``commit.retry.num-retries`` is 0, and looked at whenever the table is loaded: pyiceberg puts a commit that
  it tries again on top of whatever is newest, without looking at the offsets there.
- Offsets and positions are a table property, set with each commit and only together with a snapshot: a
  compaction keeps it, an expiry of snapshots too, and only a snapshot is refused when another one came first.
  The snapshot's summary repeats them: where the two differ, somebody has moved the table back.
- The columns, the rows and the offsets of a commit are one commit of the catalog.
- Any error but a refusal leaves the outcome unknown: the next one to load the table sees what became of it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final, Literal

import orjson
import polars as pl
import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.table import FileScanTask, Table, Transaction
from pyiceberg.table.metadata import TableMetadataV1
from sqlalchemy.exc import IntegrityError

from cdc_platform.core.columns import DEAD_LETTERS, DELETE, KEY, METADATA, OPERATION
from cdc_platform.core.errors import Conflict, StreamReplaced, Terminal, Transient
from cdc_platform.core.logical import stored
from cdc_platform.core.model import Handle, Kind
from cdc_platform.core.offsets import NOWHERE, Positions, Ranges, Stream, describe, ends_of
from cdc_platform.lake.iceberg.failures import OVERTAKEN, UNREACHABLE
from cdc_platform.lake.iceberg.files import holding, kept, row_bytes, written
from cdc_platform.lake.iceberg.marks import documented, logical
from cdc_platform.lake.selection import within

RETRIES: Final = "commit.retry.num-retries"
STREAM: Final = "cdc.stream"
PARTITIONS: Final = "cdc.partitions"
OFFSETS: Final = "cdc.offsets"
POSITIONS: Final = "cdc.positions"

_PROPERTIES: Final = {
    RETRIES: "0",
    "format-version": "2",
    "write.target-file-size-bytes": str(128 * 2**20),
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}


class IcebergLakeTable:
    """One table of a catalog. Keeps no state: threads may share it, but not a handle."""

    def __init__(
        self,
        catalog: Catalog,
        identifier: tuple[str, ...],
        kind: Kind | Literal["dead_letters"],
        partition_by: Sequence[str] = (),
    ) -> None:
        """``partition_by``: columns of METADATA to partition a table by that is made; one that is there must
        be partitioned so already."""
        self._catalog = catalog
        self._identifier = identifier
        self._kind = kind
        self._partition_by = list(partition_by)

    @property
    def uri(self) -> str:
        return f"{self._catalog.name}:{'.'.join(self._identifier)}"

    def exists(self) -> bool:
        return self._catalog.table_exists(self._identifier)

    def open(self, stream: Stream) -> Handle:
        with self._answering("could not be loaded"):
            try:
                table = self._catalog.load_table(self._identifier)
            except NoSuchTableError:
                table = self._create(stream)
        self._require_ours(table, stream)
        self._require_own_offsets(table)
        return self._handle(table, stream)

    def append(
        self,
        handle: Handle,
        rows: pl.DataFrame,
        advance: Ranges,
        info: Mapping[str, str],
        positions: Positions = NOWHERE,
    ) -> Handle:
        opened = self._opened(handle)
        with self._committing(handle, rows, advance, info, positions) as (transaction, arrow, summary):
            _write(transaction, opened.base, arrow, summary)
        return self._handle(opened.table, opened.stream)

    def merge(self, handle: Handle, rows: pl.DataFrame, advance: Ranges, info: Mapping[str, str]) -> Handle:
        opened = self._opened(handle)
        with self._committing(handle, rows, advance, info, NOWHERE) as (transaction, arrow, summary):
            keys = rows[KEY]
            live = arrow.filter((rows[OPERATION] != DELETE).to_arrow()).sort_by(KEY)
            hit = list(holding(opened.base, keys)) if len(keys) else []
            _write(transaction, opened.base, live, summary, hit, keys)
        return self._handle(opened.table, opened.stream)

    def row_bytes(self, handle: Handle, ranges: Ranges) -> int:
        return row_bytes(self._opened(handle).base, ranges)

    def read(self, handle: Handle, ranges: Ranges | None = None) -> pl.LazyFrame:
        base = self._opened(handle).base
        if (snapshot := base.current_snapshot()) is None:
            return pl.LazyFrame(schema=handle.schema)
        rows = pl.scan_iceberg(base, snapshot_id=snapshot.snapshot_id).select(*handle.schema)
        return rows if ranges is None else rows.filter(within(ranges))

    def newest_info(self) -> Mapping[str, str]:
        """What the newest commit carried."""
        snapshot = self._catalog.load_table(self._identifier).current_snapshot()
        return snapshot.summary.additional_properties if snapshot and snapshot.summary else {}

    def _create(self, stream: Stream) -> Table:
        columns = DEAD_LETTERS if self._kind == "dead_letters" else METADATA
        schema = documented(stored(pl.DataFrame(schema=columns)).schema)
        properties = {**_PROPERTIES, STREAM: stream.identity, PARTITIONS: str(stream.partitions)}
        # Of two creators at once one is refused: by the catalog, or by the database below it.
        with suppress(NamespaceAlreadyExistsError, IntegrityError):
            self._catalog.create_namespace_if_not_exists(self._identifier[:-1])
        with (
            suppress(TableAlreadyExistsError, CommitFailedException, IntegrityError),
            self._catalog.create_table_transaction(
                self._identifier, schema, properties=properties
            ) as transaction,
            transaction.update_spec() as spec,
        ):
            for name in self._partition_by:
                spec.add_identity(name)
        return self._catalog.load_table(self._identifier)

    def _handle(self, table: Table, stream: Stream) -> Handle:
        columns = pl.Schema(schema_to_pyarrow(table.schema()))
        known = int(table.properties[PARTITIONS])
        return Handle(
            _version(table),
            columns,
            _numbers(table.properties, OFFSETS),
            logical(table.schema(), columns),
            known,
            _numbers(table.properties, POSITIONS),
            _Opened(table, copy.copy(table), stream),
        )

    def _opened(self, handle: Handle) -> _Opened:
        opened = handle.token
        assert isinstance(opened, _Opened)
        return opened

    @contextmanager
    def _committing(
        self,
        handle: Handle,
        rows: pl.DataFrame,
        advance: Ranges,
        info: Mapping[str, str],
        positions: Positions,
    ) -> Iterator[tuple[Transaction, pa.Table, dict[str, str]]]:
        """A transaction with the columns that the rows need, what to write, and the snapshot's summary."""
        opened = self._opened(handle)
        if opened.used:
            raise Conflict("this handle has made its commit already", where=self.uri)
        moved = {
            OFFSETS: _text({**handle.offsets, **ends_of(advance)}),
            POSITIONS: _text({**handle.positions, **positions}),
        }
        arrow = stored(rows)
        with (
            self._answering(f"did not confirm the commit of {describe(advance)}"),
            opened.table.transaction() as transaction,
        ):
            if rows.schema != handle.logical:
                with transaction.update_schema() as columns:
                    columns.union_by_name(documented(arrow.schema))
            yield transaction, arrow, {**info, **moved}
            transaction.set_properties(moved)

    @contextmanager
    def _answering(self, what: str) -> Iterator[None]:
        try:
            yield
        except OVERTAKEN as error:
            raise Conflict(f"another writer committed first ({error})", where=self.uri) from error
        except UNREACHABLE as error:
            raise Transient(
                f"the Iceberg table {what}: {type(error).__name__}: {error}",
                where=self.uri,
                remedy="check the catalog and the store; nothing is lost, the table's own offsets say "
                "where to go on",
            ) from error

    def _require_ours(self, table: Table, stream: Stream) -> None:
        retries, owner = table.properties.get(RETRIES), table.properties.get(STREAM)
        if retries != "0":
            raise Terminal(
                f"{RETRIES} is {retries or 'not set'}: commits could be put on top of others",
                where=self.uri,
                remedy=f"set the table's property {RETRIES} to 0, and keep other writers away",
            )
        if owner != stream.identity:
            raise StreamReplaced(
                f"the table was filled from '{owner}', not from '{stream.identity}'",
                where=self.uri,
                remedy="the topic or the cluster was re-created, or the table is of something else: take "
                "a new snapshot into a new table",
            )
        if (found := _partitioned_by(table)) != self._partition_by:
            raise Terminal(
                f"the table is partitioned by {', '.join(found) or 'nothing'}, declared is "
                f"{', '.join(self._partition_by) or 'nothing'}",
                where=self.uri,
                remedy="a table keeps its partitioning: declare the table's own (partition_by or "
                "partition_collections_by of the source), or take a new snapshot into a new table",
            )

    def _require_own_offsets(self, table: Table) -> None:
        """The newest snapshot is the one that moved the offsets last, or one that keeps what is in it."""
        snapshot = table.current_snapshot()
        told = snapshot and snapshot.summary and snapshot.summary.additional_properties.get(OFFSETS)
        if told and told != table.properties.get(OFFSETS):
            raise Terminal(
                f"its offsets are {table.properties.get(OFFSETS)}, its newest snapshot is of {told}: "
                "it was moved back",
                where=self.uri,
                remedy="move it to its newest snapshot again, or take a new snapshot into a new table",
            )


@dataclass(frozen=True, slots=True)
class _Opened:
    """``base``: the table as it was opened. ``table``: the same, which moves with the handle's one commit."""

    base: Table
    table: Table
    stream: Stream

    @property
    def used(self) -> bool:
        return self.table.metadata is not self.base.metadata


def _write(
    transaction: Transaction,
    base: Table,
    rows: pa.Table,
    summary: dict[str, str],
    hit: Sequence[FileScanTask] = (),
    keys: pl.Series | None = None,
) -> None:
    """One snapshot: the rows in new files, and each file that was hit exchanged for one without the keys."""
    metadata = transaction.table_metadata
    update = transaction.update_snapshot(snapshot_properties=summary)
    with update.overwrite() if hit else update.fast_append() as snapshot:
        for task in hit:
            assert keys is not None
            snapshot.delete_data_file(task.file)
            for file in written(metadata, base.io, kept(base, metadata, task.file, keys)):
                snapshot.append_data_file(file)
        for file in written(metadata, base.io, rows):
            snapshot.append_data_file(file)


def _version(table: Table) -> int:
    """Rises by one with each snapshot."""
    assert not isinstance(table.metadata, TableMetadataV1)
    return table.metadata.last_sequence_number


def _partitioned_by(table: Table) -> list[str]:
    return [table.schema().find_column_name(field.source_id) or "" for field in table.spec().fields]


def _numbers(properties: Mapping[str, str], name: str) -> dict[int, int]:
    return {int(partition): number for partition, number in orjson.loads(properties.get(name, "{}")).items()}


def _text(numbers: Mapping[int, int]) -> str:
    return orjson.dumps({str(p): number for p, number in sorted(numbers.items())}).decode()
