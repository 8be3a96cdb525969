"""Arrow rows in the columns of an Iceberg schema, in both directions, nulls kept.

Invariant: a list that is null stays null. pyiceberg 0.12 makes an empty list of it, reading and writing,
where the items are documents; so its own conversion is not used for either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import Schema
from pyiceberg.types import IcebergType, ListType, NestedField, StructType

_ID: Final = b"PARQUET:field_id"

Finds = Callable[[pa.DataType, NestedField], int]
"""Which field of an Arrow struct is a field of the schema; -1 for none."""


def to_file(rows: pa.Table, table: Schema, file: Schema) -> pa.Table:
    """Rows by the table's names as a file has them. ``file``: the same schema with names for files."""
    return _table(
        rows, file, lambda dtype, field: dtype.get_field_index(table.find_field(field.field_id).name)
    )


def from_file(rows: pa.Table, table: Schema) -> pa.Table:
    """A file's rows by the table's names: fields are found by their ids; those that came later are null."""
    return _table(rows, table, _by_id)


def _by_id(dtype: pa.DataType, field: NestedField) -> int:
    wanted = str(field.field_id).encode()
    return next((n for n, each in enumerate(dtype) if (each.metadata or {}).get(_ID) == wanted), -1)


def _table(rows: pa.Table, schema: Schema, finds: Finds) -> pa.Table:
    kind = pa.struct(list(rows.schema))
    columns, fields = [], []
    for field in schema.fields:
        at = finds(kind, field)
        column = rows.column(at).combine_chunks() if at >= 0 else None
        columns.append(_array(column, field.field_type, finds, rows.num_rows))
        fields.append(_field(field, columns[-1].type))
    return pa.table(columns, schema=pa.schema(fields))


def _field(field: NestedField, dtype: pa.DataType) -> pa.Field:
    return pa.field(field.name, dtype, field.optional, {_ID: str(field.field_id).encode()})


def _array(array: pa.Array | None, wanted: IcebergType, finds: Finds, length: int) -> pa.Array:
    if isinstance(wanted, StructType):
        return _struct(array, wanted, finds, length)
    if isinstance(wanted, ListType):
        return _list(array, wanted, finds, length)
    dtype = schema_to_pyarrow(wanted)
    return pa.nulls(length, dtype) if array is None else array.cast(dtype)


def _struct(array: pa.Array | None, wanted: StructType, finds: Finds, length: int) -> pa.Array:
    children = [] if array is None else array.flatten()  # not field(i): a child is null where its parent is
    made, fields = [], []
    for field in wanted.fields:
        at = -1 if array is None else finds(array.type, field)
        made.append(_array(children[at] if at >= 0 else None, field.field_type, finds, length))
        fields.append(_field(field, made[-1].type))
    mask = pa.repeat(pa.scalar(value=True), length) if array is None else array.is_null()
    return pa.StructArray.from_arrays(made, fields=fields, mask=mask)


def _list(array: pa.Array | None, wanted: ListType, finds: Finds, length: int) -> pa.Array:
    element = wanted.element_field
    if array is None:
        items = _array(None, element.field_type, finds, 0)
        return pa.nulls(length, pa.list_(_field(element, items.type)))
    # Offsets are counted from zero again: Arrow takes no null mask beside the offsets of a slice.
    first, last = array.offsets[0], array.offsets[-1]
    values = array.values[first.as_py() : last.as_py()]
    items = _array(values, element.field_type, finds, len(values))
    offsets = pc.subtract(array.offsets, first).cast(pa.int32())
    dtype = pa.list_(_field(element, items.type))
    return pa.ListArray.from_arrays(offsets, items, type=dtype, mask=array.is_null())
