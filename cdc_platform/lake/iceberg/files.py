"""The data files of an Iceberg table: which to look into, and those that a commit adds or exchanges.

Invariants
- A merge exchanges whole files, and only those that hold one of its keys. It looks into the files whose range
  of keys its own fall into, at the keys alone.
- A file with deletes of its own (another engine's merge-on-read) is refused: its rows are not what it holds.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from functools import reduce
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.expressions import (
    AlwaysFalse,
    And,
    BooleanExpression,
    EqualTo,
    GreaterThanOrEqual,
    LessThanOrEqual,
    Or,
)
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import ParquetFormatWriter, _determine_partitions
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.partitioning import PartitionKey
from pyiceberg.schema import sanitize_column_names
from pyiceberg.table import FileScanTask, Table, TableProperties
from pyiceberg.table.locations import load_location_provider
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.typedef import Record

from cdc_platform.core.columns import KEY, OFFSET, PARTITION
from cdc_platform.core.errors import Terminal
from cdc_platform.core.offsets import Ranges
from cdc_platform.lake.delta.files import in_memory
from cdc_platform.lake.iceberg.arrow import from_file, to_file
from cdc_platform.lake.iceberg.order import in_order

# Pydantic models, which take positional arguments that their types do not tell.
_all: Final[Callable[..., BooleanExpression]] = And
_either: Final[Callable[..., BooleanExpression]] = Or
_equal: Final[Callable[..., BooleanExpression]] = EqualTo
_at_least: Final[Callable[..., BooleanExpression]] = GreaterThanOrEqual
_at_most: Final[Callable[..., BooleanExpression]] = LessThanOrEqual

_FIRST_MICROS: Final = -62_135_596_800_000_000
_LAST_MICROS: Final = 253_402_300_799_999_999
"""The year 1 and the year 9999, in microseconds as every timestamp of the lake is."""

_BYTES: Final = b"cdc.bytes"
"""Key in a file's footer: bytes of its rows in memory. A repeated text is in a file once, in its
dictionary.
"""


def holding(table: Table, keys: pl.Series) -> Iterator[FileScanTask]:
    """The files that hold one of the keys."""
    near = _all(_at_least(KEY, keys.min()), _at_most(KEY, keys.max()))
    wanted = keys.unique().implode()
    for task in table.scan(row_filter=near).plan_files():
        if task.delete_files:
            raise Terminal(
                f"{task.file.file_path} has deletes beside it, which another engine has written",
                where=".".join(table.name()),
                remedy="set write.delete.mode, write.update.mode and write.merge.mode to copy-on-write "
                "there, and rewrite the table's files",
            )
        if _keys(table, task.file).is_in(wanted).any():
            yield task


def kept(table: Table, metadata: TableMetadata, file: DataFile, keys: pl.Series | None = None) -> pa.Table:
    """The rows of a file but those of the keys, with the columns of ``metadata``."""
    with table.io.new_input(file.file_path).open() as source:
        rows = pq.read_table(source)
    if keys is None:
        return from_file(rows, metadata.schema())
    gone = pl.Series(KEY, from_file(rows, table.schema().select(KEY))[KEY]).is_in(keys.implode())
    return from_file(rows.filter((~gone).to_arrow()), metadata.schema())


def written(metadata: TableMetadata, io: FileIO, rows: pa.Table) -> Iterator[DataFile]:
    """New files with the rows, which have the columns' names."""
    if not rows.num_rows:
        return
    if metadata.spec().is_unpartitioned():
        yield _written(metadata, io, rows, None)
        return
    for part in _determine_partitions(metadata.spec(), metadata.schema(), rows):
        yield _written(metadata, io, part.arrow_table_partition, part.partition_key)


def row_bytes(table: Table, ranges: Ranges) -> int:
    """Bytes in memory of a row, by the file whose rows are the largest among those of the ranges."""
    tasks = table.scan(row_filter=_of(ranges)).plan_files()
    files = [task.file for task in tasks if task.file.record_count]
    return max((-(-memory_bytes(table, file) // file.record_count) for file in files), default=0)


def memory_bytes(table: Table, file: DataFile) -> int:
    """Bytes of a file's rows in memory, as their writer noted; of another engine's file, by its footer."""
    with table.io.new_input(file.file_path).open() as source:
        footer = pq.read_metadata(source)
    noted = (footer.metadata or {}).get(_BYTES)
    return int(noted) if noted else in_memory(footer)


def _written(metadata: TableMetadata, io: FileIO, rows: pa.Table, partition: PartitionKey | None) -> DataFile:
    schema = sanitize_column_names(metadata.schema())
    place = load_location_provider(metadata.location, metadata.properties)
    path = place.new_data_location(f"{uuid.uuid4()}.parquet", partition)
    output = io.new_output(path)
    rows, order = in_order(metadata, rows)
    columns = to_file(rows, metadata.schema(), schema)
    properties = {**metadata.properties, **_without_bounds(columns)}
    with ParquetFormatWriter(output, schema, properties) as writer:
        writer.write(columns.replace_schema_metadata({_BYTES: str(columns.nbytes)}))
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=partition.partition if partition else Record(),
        file_size_in_bytes=len(output),
        sort_order_id=order,
        spec_id=metadata.default_spec_id,
        equality_ids=None,
        key_metadata=None,
        **writer.result().to_serialized_dict(),
    )


def _without_bounds(columns: pa.Table) -> dict[str, str]:
    """pyiceberg takes the bounds of a column through Python's own dates, which end with the year 9999 and
    begin with 1: a column that goes beyond has no bounds in this file."""
    return {
        f"{TableProperties.METRICS_MODE_COLUMN_CONF_PREFIX}.{name}": "counts"
        for name, column in zip(columns.column_names, columns.columns, strict=True)
        if pa.types.is_timestamp(column.type) and not _in_python(column)
    }


def _in_python(column: pa.ChunkedArray) -> bool:
    bounds = pc.min_max(column.cast(pa.int64()))
    first, last = bounds["min"].as_py(), bounds["max"].as_py()
    return first is None or (first >= _FIRST_MICROS and last <= _LAST_MICROS)


def _keys(table: Table, file: DataFile) -> pl.Series:
    with table.io.new_input(file.file_path).open() as source:
        rows = pq.ParquetFile(source)
        at = rows.schema_arrow.get_field_index(KEY)
        return pl.Series(KEY, rows.read([rows.schema_arrow.names[at]])[0])


def _of(ranges: Ranges) -> BooleanExpression:
    inside = [
        _all(_equal(PARTITION, p), _at_least(OFFSET, r.start), _at_most(OFFSET, r.end - 1))
        for p, r in ranges.items()
        if r
    ]
    nothing: BooleanExpression = AlwaysFalse()
    return reduce(_either, inside, nothing)
