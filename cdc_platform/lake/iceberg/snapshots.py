"""Snapshots of an Iceberg table: what the newest one tells and holds, and how a new one is made of rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import polars as pl
import pyarrow as pa
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.manifest import DataFile
from pyiceberg.table import FileScanTask, Table, Transaction
from pyiceberg.table.metadata import TableMetadataV1

from cdc_platform.lake.iceberg.bounds import without_bounds
from cdc_platform.lake.iceberg.files import kept, written


def new_files(transaction: Transaction, base: Table, rows: pa.Table) -> Iterator[DataFile]:
    """Files with the rows, in the columns that the table has within the transaction."""
    if told := without_bounds(rows, transaction.table_metadata.properties):
        transaction.set_properties(told)
    yield from written(transaction.table_metadata, base.io, rows)


def write(
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
    with update.overwrite() if hit else update.merge_append() as snapshot:
        for task in hit:
            assert keys is not None
            snapshot.delete_data_file(task.file)
            for file in written(metadata, base.io, kept(base, metadata, task.file, keys)):
                snapshot.append_data_file(file)
        for file in written(metadata, base.io, rows):
            snapshot.append_data_file(file)


def rows_of(table: Table) -> pl.LazyFrame:
    """All rows of the newest snapshot."""
    columns = pl.Schema(schema_to_pyarrow(table.schema()))
    if (snapshot := table.current_snapshot()) is None:
        return pl.LazyFrame(schema=columns)
    return pl.scan_iceberg(table, snapshot_id=snapshot.snapshot_id).select(*columns)


def told_by(table: Table) -> Mapping[str, str]:
    """What the newest commit carries."""
    newest = table.current_snapshot()
    return newest.summary.additional_properties if newest and newest.summary else {}


def version_of(table: Table) -> int:
    """Rises by one with each snapshot."""
    assert not isinstance(table.metadata, TableMetadataV1)
    return table.metadata.last_sequence_number
