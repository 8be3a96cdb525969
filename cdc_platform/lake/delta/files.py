"""The data files of one version of a Delta table, by its log, and the rows in them.

Invariants
- The log says which files there are and what each holds; no folder is listed and no file opened to find out.
- A column the table is partitioned by is not in the files: its value stands in the log, once for each file,
  and is put back from there. The folders' names repeat it, but escaped, and say nothing about a null.
- A file whose statistics say nothing about offsets may hold any: it is read. Skipping it would lose rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from cdc_platform.core.columns import METADATA, OFFSET, PARTITION
from cdc_platform.core.offsets import Ranges
from cdc_platform.lake.store import Place, at_once, footer, scan_options

_FILE: Final = "\0file"
"""Column that names a row's file while it is read. No field of a document can have this name."""

_WIDTHS: Final = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 8}
"""Bytes of a value of Parquet's fixed types."""

_READ_OLD_FILES: Final = pl.ScanCastOptions(missing_struct_fields="insert")


@dataclass(frozen=True, slots=True)
class Files:
    """``schema``: the table's. ``partitioned_by``: those of its columns that are not in the files.

    ``actions``: a row for each file, with ``path``, ``num_records``, ``size_bytes``, ``partition.<column>``,
    and ``min.<column>`` and ``max.<column>`` for what has statistics or is partitioned by.
    """

    place: Place
    schema: pl.Schema
    partitioned_by: tuple[str, ...]
    actions: pl.DataFrame

    @property
    def rows(self) -> int:
        return int(self.actions["num_records"].sum())

    def row_bytes(self) -> int:
        """Bytes of a row in memory, by the file whose rows are the largest; 0 without rows.

        From the files' footers. What a file has on disk says little: rows of one repeated text, or of long
        lists of equal items, are thousands of times larger in memory.
        """
        held = [each for each in self._footers() if each.num_rows]
        return max((-(-in_memory(each) // each.num_rows) for each in held), default=0)

    def overlapping(self, ranges: Ranges) -> Files:
        """Those that may hold rows of the ranges, by their statistics; without statistics, they may."""
        names = {f"{side}.{column}" for side in ("min", "max") for column in (PARTITION, OFFSET)}
        if not names <= set(self.actions.columns):
            return self
        wanted = pl.any_horizontal(
            [pl.lit(False), *(_may_hold(p, r.start, r.end) for p, r in ranges.items())]
        )
        return Files(self.place, self.schema, self.partitioned_by, self.actions.filter(wanted))

    def scan(self) -> pl.LazyFrame:
        """Their rows, by the files' names.

        ``pl.scan_delta`` does not find a folder whose name has a space, nor reads a partitioned table below
        a folder whose name has a ``=`` (polars 2.1).
        """
        if self.actions.is_empty():
            return pl.LazyFrame(schema=self.schema)
        paths = self._paths()
        stored = {name: kind for name, kind in self.schema.items() if name not in self.partitioned_by}
        found = pl.scan_parquet(
            paths,
            schema=pl.Schema(stored),
            glob=False,
            missing_columns="insert",
            cast_options=_READ_OLD_FILES,
            include_file_paths=_FILE if self.partitioned_by else None,
            **scan_options(self.place),
        )
        if not self.partitioned_by:
            return found
        # One scan and a join: a scan for each value would take minutes for some thousand values.
        values = self.actions.select(
            pl.Series(_FILE, paths),
            *(
                pl.col(f"partition.{name}").cast(self.schema[name]).alias(name)
                for name in self.partitioned_by
            ),
        )
        return found.join(values.lazy(), on=_FILE, how="left", maintain_order="left").select(*self.schema)

    def memory_bytes(self) -> int:
        """Bytes of all their rows in memory."""
        return sum(map(in_memory, self._footers()))

    def _footers(self) -> list[pq.FileMetaData]:
        return at_once(footer, [self.place / unquote(path) for path in self.actions["path"]])

    def _paths(self) -> list[str]:
        return [f"{self.place}/{unquote(path)}" for path in self.actions["path"]]


def in_memory(footer: pq.FileMetaData) -> int:
    """Bytes of a file's values once they are read. Texts have a fixed part each, and their bytes."""
    groups = (footer.row_group(n) for n in range(footer.num_row_groups))
    columns = (group.column(n) for group in groups for n in range(footer.num_columns))
    return sum(
        column.num_values * _WIDTHS.get(column.physical_type, 16)
        + (0 if column.physical_type in _WIDTHS else column.total_uncompressed_size)
        for column in columns
    )


def files_of(table: DeltaTable, place: Place) -> Files:
    """The files of the version that ``table`` stands at. ``place``: its folder."""
    partitioned_by = tuple(table.metadata().partition_columns)
    actions = pl.DataFrame(pa.table(table.get_add_actions(flatten=True)))
    bounds = {f"{side}.{name}": f"partition.{name}" for name in partitioned_by for side in ("min", "max")}
    known = actions.with_columns(pl.col(value).alias(bound) for bound, value in bounds.items())
    return Files(place, schema_of(table), partitioned_by, known)


def schema_of(table: DeltaTable) -> pl.Schema:
    """The table's columns, the metadata first: deltalake moves the columns a table is partitioned by behind
    the others when it adds one.
    """
    found = pl.scan_delta(table).collect_schema()
    return pl.Schema({name: found[name] for name in [*(n for n in METADATA if n in found), *found]})


def _may_hold(partition: int, start: int, end: int) -> pl.Expr:
    apart = (
        (pl.col(f"min.{PARTITION}") > partition)
        | (pl.col(f"max.{PARTITION}") < partition)
        | (pl.col(f"min.{OFFSET}") >= end)
        | (pl.col(f"max.{OFFSET}") < start)
    )
    return apart.fill_null(value=False).not_()
