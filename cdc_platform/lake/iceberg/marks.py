"""Marks of logical types in an Iceberg table's schema: written with the columns, read back here.

Invariant: a mark is in the documentation of the field it is about, or, for the items of a list, of the list's
field, as Iceberg keeps nothing else of a field that is its writer's to say.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl
import pyarrow as pa
from pyiceberg.schema import Schema
from pyiceberg.types import ListType, NestedField, StructType

from cdc_platform.core.logical import MARK, Path, marked

_DOC = b"doc"


def documented(schema: pa.Schema) -> pa.Schema:
    """The columns as they are stored, with their marks as documentation."""
    return pa.schema([_documented(field) for field in schema])


def logical(table: Schema, schema: pl.Schema) -> pl.Schema:
    """The columns by their logical types. ``schema``: the columns as stored."""
    marks = dict(mark for field in table.fields for mark in _marks((), field))
    return pl.Schema({name: marked(dtype, marks, (name,)) for name, dtype in schema.items()})


def _documented(field: pa.Field) -> pa.Field:
    told = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    doc = " ".join(f"{key}={value}" for key, value in sorted(told.items()) if key.startswith(MARK))
    return field.with_type(_inner(field.type)).with_metadata({_DOC: doc} if doc else None)


def _inner(dtype: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(dtype):
        return pa.struct([_documented(each) for each in dtype])
    if pa.types.is_list(dtype):
        return pa.list_(dtype.value_field.with_type(_inner(dtype.value_type)))
    return dtype


def _marks(path: Path, field: NestedField) -> Iterator[tuple[Path, str]]:
    here: Path = (*path, field.name)
    told = dict(part.split("=", 1) for part in (field.doc or "").split() if part.startswith(MARK))
    dtype, suffix = field.field_type, ""
    while isinstance(dtype, ListType):
        dtype, suffix, here = dtype.element_type, f"{suffix}[]", (*here, None)
    if mark := told.get(MARK + suffix):
        yield here, mark
    for each in dtype.fields if isinstance(dtype, StructType) else ():
        yield from _marks(here, each)
