"""What an Iceberg table says of itself in its properties and its snapshots' summaries.

Invariants
- A table without ``commit.retry.num-retries`` 0 is not written to: pyiceberg puts a commit that it tries
  again on top of whatever is newest, without looking at the offsets there.
- A table whose newest snapshot tells of other offsets than its properties was moved back by somebody: rows
  are missing, and the offsets say that they are there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import orjson
import polars as pl
from pyiceberg.table import Table

from cdc_platform.core.errors import MovedBack, Terminal
from cdc_platform.core.model import Contents, Kind
from cdc_platform.core.offsets import RANGES, Stream, parse
from cdc_platform.lake.identity import replaced, stream_of

RETRIES: Final = "commit.retry.num-retries"
BEGUN: Final = "cdc.begun"
STREAM: Final = "cdc.stream"
PARTITIONS: Final = "cdc.partitions"
OFFSETS: Final = "cdc.offsets"
POSITIONS: Final = "cdc.positions"

_PROPERTIES: Final = {
    RETRIES: "0",
    "format-version": "2",
    "write.target-file-size-bytes": str(128 * 2**20),
    "commit.manifest-merge.enabled": "true",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}


def made_for(stream: Stream) -> dict[str, str]:
    """The properties of a table that is made for this stream."""
    return {**_PROPERTIES, STREAM: stream.identity, PARTITIONS: str(stream.partitions)}


def numbers(table: Table, name: str) -> dict[int, int]:
    """A number per partition: OFFSETS or POSITIONS."""
    return {
        int(partition): number for partition, number in orjson.loads(table.properties.get(name, "{}")).items()
    }


def text(by_partition: Mapping[int, int]) -> str:
    """The same as it is stored."""
    return orjson.dumps({str(p): number for p, number in sorted(by_partition.items())}).decode()


def commits_of(table: Table) -> pl.DataFrame:
    """When each offset range was committed, as far back as there are snapshots."""
    rows = [
        (snapshot.timestamp_ms, partition, covered.start, covered.end)
        for snapshot in table.metadata.snapshots
        if snapshot.summary
        for partition, covered in parse(snapshot.summary.additional_properties.get(RANGES, "")).items()
    ]
    columns = {"ms": pl.Int64, "partition": pl.Int32, "start": pl.Int64, "end": pl.Int64}
    committed_at = pl.from_epoch("ms", time_unit="ms").dt.cast_time_unit("us").dt.replace_time_zone("UTC")
    found = pl.DataFrame(rows, schema=columns, orient="row")
    return found.with_columns(committed_at.alias("committed_at")).drop("ms")


def filled_from(stream: Stream) -> dict[str, str]:
    """What a table says that this stream fills."""
    return {STREAM: stream.identity, PARTITIONS: str(stream.partitions)}


def is_filled_from(table: Table, stream: Stream) -> bool:
    return table.properties.get(STREAM) == stream.identity


def require_filled_from(table: Table, stream: Stream, *, where: str) -> None:
    """Raise StreamReplaced for a table that another topic fills."""
    if not is_filled_from(table, stream):
        known = table.properties.get(STREAM)
        filled = stream_of(known, stream.partitions) if known else None
        raise replaced(filled, stream, numbers(table, OFFSETS), where=where)


def require_ours(table: Table, partition_by: Sequence[str], *, where: str) -> None:
    """Raise Terminal for a table that cannot be written to safely."""
    retries = table.properties.get(RETRIES)
    if retries != "0":
        raise Terminal(
            f"{RETRIES} is {retries or 'not set'}: commits could be put on top of others",
            where=where,
            remedy=f"set the table's property {RETRIES} to 0, and keep other writers away",
        )
    if (found := _partitioned_by(table)) != list(partition_by):
        raise Terminal(
            f"the table is partitioned by {', '.join(found) or 'nothing'}, declared is "
            f"{', '.join(partition_by) or 'nothing'}",
            where=where,
            remedy="a table keeps its partitioning: declare the table's own (partition_by or "
            "partition_collections_by of the source), or take a new snapshot into a new table",
        )


def require_own_offsets(table: Table, kind: Contents, *, where: str) -> None:
    """The newest snapshot is the one that moved the offsets last, or one that keeps what is in it. Raises
    MovedBack if it is not."""
    snapshot = table.current_snapshot()
    told = snapshot and snapshot.summary and snapshot.summary.additional_properties.get(OFFSETS)
    if told and told != (committed := table.properties.get(OFFSETS)):
        raise MovedBack(
            f"the table was moved back: its rows are those of offsets {told}, committed are {committed}",
            where=where,
            remedy="move it to its newest snapshot again, or make it anew: cdc rebuild TABLE"
            + (" --from kafka" if kind is Kind.CHANGELOG else ""),
        )


def _partitioned_by(table: Table) -> list[str]:
    return [table.schema().find_column_name(field.source_id) or "" for field in table.spec().fields]
