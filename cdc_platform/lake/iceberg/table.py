"""A lake table in Iceberg.

Invariants (measured on pyiceberg 0.12; the contract suite pins them)
- ``commit.retry.num-retries`` is 0, and looked at whenever the table is loaded: pyiceberg puts a commit that
  it tries again on top of whatever is newest, without looking at the offsets there.
- Offsets and positions are a table property, set with each commit and only together with a snapshot: a
  compaction keeps it, an expiry of snapshots too, and only a snapshot is refused when another one came first.
  The snapshot's summary repeats them: where the two differ, somebody has moved the table back.
- The columns, the rows and the offsets of a commit are one commit of the catalog. What the table remembers of
  its past is bounded with it (``past``).
- Any error but a refusal leaves the outcome unknown: the next one to load the table sees what became of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import polars as pl
import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import (
    NoSuchTableError,
)
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata

from cdc_platform.core.columns import DELETE, KEY, OPERATION
from cdc_platform.core.errors import Conflict, Terminal
from cdc_platform.core.history import rebuilding
from cdc_platform.core.logical import stored
from cdc_platform.core.model import Contents, Handle
from cdc_platform.core.offsets import NOWHERE, Offsets, Positions, Ranges, Stream, describe, ends_of
from cdc_platform.core.position import Engine
from cdc_platform.core.reservation import reservation_of
from cdc_platform.lake.iceberg.bounds import without_bounds
from cdc_platform.lake.iceberg.failures import answering
from cdc_platform.lake.iceberg.files import holding, row_bytes
from cdc_platform.lake.iceberg.marks import documented, logical
from cdc_platform.lake.iceberg.opening import found_or_made
from cdc_platform.lake.iceberg.past import REMEMBERED, forgetting, without_past
from cdc_platform.lake.iceberg.properties import (
    BEGUN,
    OFFSETS,
    PARTITIONS,
    POSITIONS,
    STREAM,
    commits_of,
    filled_from,
    is_filled_from,
    numbers,
    require_filled_from,
    require_ours,
    require_own_offsets,
    text,
)
from cdc_platform.lake.iceberg.replacing import exchange_columns
from cdc_platform.lake.iceberg.snapshots import new_files, rows_of, told_by, version_of, write
from cdc_platform.lake.identity import stream_of
from cdc_platform.lake.selection import within


class IcebergLakeTable:
    """One table of a catalog. Keeps no state: threads may share it, but not a handle."""

    def __init__(
        self,
        catalog: Callable[[], Catalog],
        identifier: tuple[str, ...],
        kind: Contents,
        partition_by: Sequence[str] = (),
        engine: Engine = Engine.MONGODB,
        remembered: int = 0,
    ) -> None:
        """``catalog``: opens it, or gives it if it is open. ``partition_by``: columns of METADATA to
        partition a table by that is made; one that is there must be partitioned so already. ``engine``:
        whose rows a table that is made will hold. ``remembered``: snapshots that stay, at least; 0 for what
        suits the kind."""
        self._catalog = catalog
        self._identifier = identifier
        self._kind = kind
        self._partition_by = list(partition_by)
        self._engine = engine
        self._remembered = remembered or REMEMBERED[kind]

    @property
    def uri(self) -> str:
        return f"iceberg:{'.'.join(self._identifier)}"

    def exists(self) -> bool:
        with self._answering("could not be looked for"):
            return self._catalog().table_exists(self._identifier)

    def open(self, stream: Stream) -> Handle:
        table = self._found(stream)
        require_filled_from(table, stream, where=self.uri)
        require_own_offsets(table, self._kind, where=self.uri)
        return self._handle(table, stream)

    def adopt(self, stream: Stream) -> Handle:
        handle = self._handle(self._found(stream), stream)
        if not is_filled_from(self._opened(handle).table, stream):
            return dataclasses.replace(
                handle, offsets={}, positions={}, begun={}, partitions=stream.partitions
            )
        return handle

    def _found(self, stream: Stream) -> Table:
        """The table, made if it is not there."""
        with self._answering("could not be loaded"):
            table = found_or_made(
                self._catalog(), self._identifier, self._kind, self._partition_by, self._engine, stream
            )
        require_ours(table, self._partition_by, where=self.uri)
        return table

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
            write(transaction, opened.base, arrow, summary)
        return self._handle(opened.table, opened.stream)

    def merge(self, handle: Handle, rows: pl.DataFrame, advance: Ranges, info: Mapping[str, str]) -> Handle:
        opened = self._opened(handle)
        with self._committing(handle, rows, advance, info, NOWHERE) as (transaction, arrow, summary):
            keys = rows[KEY]
            live = arrow.filter((rows[OPERATION] != DELETE).to_arrow())
            hit = list(holding(opened.base, keys)) if len(keys) else []
            write(transaction, opened.base, live, summary, hit, keys)
        return self._handle(opened.table, opened.stream)

    def replace(
        self,
        handle: Handle,
        rows: Iterable[pl.DataFrame],
        columns: pl.Schema,
        offsets: Offsets,
        info: Mapping[str, str],
        positions: Positions = NOWHERE,
        begun: Offsets = NOWHERE,
    ) -> Handle:
        opened = self._opened(handle)
        now = {OFFSETS: text(offsets), POSITIONS: text(positions)}
        owner = {} if is_filled_from(opened.table, opened.stream) else filled_from(opened.stream)
        with self._transaction(handle, "the exchange of all rows") as transaction:
            exchange_columns(transaction, handle.logical, columns)
            made = [file for frame in rows for file in new_files(transaction, opened.base, stored(frame))]
            update = transaction.update_snapshot(snapshot_properties={**rebuilding(info), **now})
            with update.overwrite() as snapshot:
                for task in opened.base.scan().plan_files():
                    snapshot.delete_data_file(task.file)
                for file in made:
                    snapshot.append_data_file(file)
            transaction.set_properties({**now, **owner, BEGUN: text(begun)})
        return self._handle(opened.table, opened.stream)

    def row_bytes(self, handle: Handle, ranges: Ranges) -> int:
        return row_bytes(self._opened(handle).base, ranges)

    def read(self, handle: Handle, ranges: Ranges | None = None) -> pl.LazyFrame:
        rows = rows_of(self._opened(handle).base)
        return rows if ranges is None else rows.filter(within(ranges))

    def snapshot(self) -> tuple[Handle, int]:
        with self._answering("could not be loaded"):
            try:
                table = self._catalog().load_table(self._identifier)
            except NoSuchTableError as error:
                raise Terminal("there is no such Iceberg table", where=self.uri) from error
        filled = stream_of(table.properties.get(STREAM, ""), int(table.properties.get(PARTITIONS, 0)))
        return self._handle(table, filled), int(told_by(table).get("total-records", 0))

    def rows(self) -> pl.LazyFrame:
        with self._answering("could not be loaded"):
            return rows_of(self._catalog().load_table(self._identifier))

    def commits(self) -> pl.DataFrame:
        with self._answering("could not be loaded"):
            return commits_of(self._catalog().load_table(self._identifier))

    def newest_info(self) -> Mapping[str, str]:
        """What the newest commit carried."""
        with self._answering("could not be loaded"):
            return told_by(self._catalog().load_table(self._identifier))

    def _handle(self, table: Table, stream: Stream) -> Handle:
        columns, moving = pl.Schema(schema_to_pyarrow(table.schema())), without_past(table)
        return Handle(
            version_of(table),
            columns,
            numbers(table, OFFSETS),
            logical(table.schema(), columns),
            int(table.properties.get(PARTITIONS, stream.partitions)),
            numbers(table, POSITIONS),
            _Opened(table, moving, stream, moving.metadata),
            stream.identity,
            numbers(table, BEGUN),
            reservation_of(told_by(table)),
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
        moved = {
            OFFSETS: text({**handle.offsets, **ends_of(advance)}),
            POSITIONS: text({**handle.positions, **positions}),
        }
        arrow = stored(rows)
        with self._transaction(handle, f"the commit of {describe(advance)}") as transaction:
            if rows.schema != handle.logical:
                with transaction.update_schema() as columns:
                    columns.union_by_name(documented(arrow.schema))
            if told := without_bounds(arrow, transaction.table_metadata.properties):
                transaction.set_properties(told)
            yield transaction, arrow, {**info, **moved}
            transaction.set_properties(moved)

    @contextmanager
    def _transaction(self, handle: Handle, what: str) -> Iterator[Transaction]:
        """The one commit of a handle."""
        opened = self._opened(handle)
        if opened.used:
            raise Conflict("this handle has made its commit already", where=self.uri)
        with (
            self._answering(f"did not confirm {what}"),
            forgetting(opened.table, opened.base.metadata, self._remembered),
            opened.table.transaction() as transaction,
        ):
            yield transaction

    def _answering(self, failed: str) -> AbstractContextManager[None]:
        return answering(
            failed,
            self.uri,
            "check the catalog and the store; nothing is lost, the table's own offsets say where to go on",
        )


@dataclass(frozen=True, slots=True)
class _Opened:
    """``base``: the table as it was opened. ``table``: the same without its past, which moves with the
    handle's one commit. ``opened_at``: the metadata that it had before."""

    base: Table
    table: Table
    stream: Stream
    opened_at: TableMetadata

    @property
    def used(self) -> bool:
        return self.table.metadata is not self.opened_at
