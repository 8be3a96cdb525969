"""The order of rows in a table's files, as the table declares it.

Invariant: a file that names the table's sort order is in it. Rows of the current state are found by their
key and those of a changelog by their place in Kafka, so files, and parts of files, that hold none are passed
over, by every engine.
"""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER_ID
from pyiceberg.transforms import IdentityTransform

from cdc_platform.core.columns import KEY, OFFSET, PARTITION
from cdc_platform.core.model import Contents, Kind


def declared(kind: Contents) -> tuple[str, ...]:
    """The columns that a table of this kind is sorted by."""
    return (KEY,) if kind is Kind.CURRENT else (PARTITION, OFFSET)


def sorted_by(metadata: TableMetadata) -> tuple[str, ...]:
    """The columns that the table says it is sorted by; none for one of another order, or made without."""
    order = metadata.sort_order_by_id(metadata.default_sort_order_id)
    if order is None or any(not isinstance(each.transform, IdentityTransform) for each in order.fields):
        return ()
    return tuple(metadata.schema().find_column_name(each.source_id) or "" for each in order.fields)


def in_order(metadata: TableMetadata, rows: pa.Table) -> tuple[pa.Table, int]:
    """The rows as the table wants them, and the order's number for their file."""
    columns = sorted_by(metadata)
    if not columns:
        return rows, UNSORTED_SORT_ORDER_ID
    places = pc.sort_indices(rows, sort_keys=[(name, "ascending") for name in columns])
    # Most come in order, and to move rows of megabytes for nothing is dear.
    as_they_are = pl.Series(places).is_sorted()
    return rows if as_they_are else rows.take(places), metadata.default_sort_order_id
