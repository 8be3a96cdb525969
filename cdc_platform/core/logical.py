"""Types a column store does not have, told apart from the text they are stored as.

A source's ObjectId, UUID and decimal of any length are stored as text. Without more, the text "65f0…" and
the ObjectId 65f0… of one field would be one value in the lake. So they have a type of their own until they
are stored, a struct with one field whose name says what the text is: ``{"$oid": text}``. A lake table
remembers it as a mark on its column, and gives it back with ``marked``.

Invariant: ``unstored`` undoes ``stored``, given the types that ``marked`` reads from the marks; a value is
never changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import polars as pl
import pyarrow as pa
from polars.datatypes import DataTypeClass

from cdc_platform.core import lists

Path = tuple[str | None, ...]
"""Steps from a column inwards: a field's name, or None for the items of a list."""

MARK: Final = "cdc.type"
"""Key of the mark in a stored field's metadata; ``cdc.type[]`` marks the items of a list, and so on."""

TEXTS: Final[Mapping[str, str]] = {"$oid": "objectId", "$uuid": "uuid", "$numberDecimal": "decimal"}
"""Name of the wrapper's field → the mark."""

WRAPPERS: Final = {mark: pl.Struct({name: pl.String}) for name, mark in TEXTS.items()}
"""The mark → the wrapper."""


def is_wrapper(dtype: pl.DataType) -> bool:
    """True for a type whose values are texts that are something else."""
    if not isinstance(dtype, pl.Struct) or len(dtype.fields) != 1:
        return False
    (only,) = dtype.fields
    return only.name in TEXTS and only.dtype == pl.String


def named(dtype: pl.DataType) -> str:
    """What to call a type in a message."""
    if is_wrapper(dtype):
        assert isinstance(dtype, pl.Struct)
        return TEXTS[dtype.fields[0].name]
    return str(dtype)


def stored(frame: pl.DataFrame) -> pa.Table:
    """The rows as they are stored: wrappers as their texts, with marks in the fields' metadata."""
    table, logical = frame.to_arrow(), frame.schema  # once: asked for each column, it costs their square
    columns = [_plain(column.combine_chunks()) for column in table.columns]
    fields = [
        pa.field(each.name, column.type, metadata=_marks(logical[each.name]))
        for each, column in zip(table.schema, columns, strict=True)
    ]
    types = [_marked_fields(each.type, logical[each.name]) for each in fields]
    schema = pa.schema([each.with_type(dtype) for each, dtype in zip(fields, types, strict=True)])
    return pa.table([c.cast(f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)


def unstored(frame: pl.DataFrame, logical: pl.Schema) -> pl.DataFrame:
    """Rows as they were before ``stored``. ``logical``: the types that the table remembers."""
    found = frame.schema
    wanted = {name: dtype for name, dtype in logical.items() if name in found}
    if all(found[name] == dtype for name, dtype in wanted.items()):
        return frame
    table = frame.to_arrow()
    columns = [
        pl.Series(name, pl.from_arrow(_wrapped(table[name].combine_chunks(), logical.get(name))))
        for name in frame.columns
    ]
    return pl.DataFrame(columns)


def marked(dtype: pl.DataType, marks: Mapping[Path, str], path: Path = ()) -> pl.DataType:
    """A stored type with the wrappers that a table's marks tell of, each by its path in that type."""
    match dtype:
        case pl.List():
            return pl.List(marked(instance(dtype.inner), marks, (*path, None)))
        case pl.Struct():
            inner = {each.name: instance(each.dtype) for each in dtype.fields}
            return pl.Struct({name: marked(each, marks, (*path, name)) for name, each in inner.items()})
    return WRAPPERS.get(marks.get(path, ""), dtype)


def instance(dtype: pl.DataType | DataTypeClass) -> pl.DataType:
    """Polars gives a type's class where the type has no parameters."""
    return dtype() if isinstance(dtype, DataTypeClass) else dtype


def _marks(dtype: pl.DataType, suffix: str = "") -> dict[str, str]:
    if isinstance(dtype, pl.List):
        return _marks(instance(dtype.inner), f"{suffix}[]")
    if is_wrapper(dtype):
        assert isinstance(dtype, pl.Struct)
        return {MARK + suffix: TEXTS[dtype.fields[0].name]}
    return {}


def _marked_fields(dtype: pa.DataType, logical: pl.DataType) -> pa.DataType:
    if isinstance(logical, pl.List):
        return pa.list_(
            dtype.value_field.with_type(_marked_fields(dtype.value_type, instance(logical.inner)))
        )
    if not isinstance(logical, pl.Struct) or is_wrapper(logical):
        return dtype
    inner = {each.name: instance(each.dtype) for each in logical.fields}
    return pa.struct(
        [
            each.with_type(_marked_fields(each.type, inner[each.name])).with_metadata(
                _marks(inner[each.name])
            )
            for each in dtype
        ]
    )


def _plain(array: pa.Array) -> pa.Array:
    if pa.types.is_large_list(array.type):
        # Plain lists: with large ones neither compaction nor the change feed can be read once the documents
        # in a list have gained a field (deltalake 1.6).
        offsets, items = lists.parts(array)
        return pa.ListArray.from_arrays(offsets.cast(pa.int32()), _plain(items), mask=array.is_null())
    if not pa.types.is_struct(array.type):
        return array
    names = [each.name for each in array.type]
    children = array.flatten()  # not field(i): a child is null where its parent is
    if len(names) == 1 and names[0] in TEXTS and _is_text(children[0].type):
        return children[0]
    if not names:
        return array
    return pa.StructArray.from_arrays(list(map(_plain, children)), names, mask=array.is_null())


def _wrapped(array: pa.Array, logical: pl.DataType | None) -> pa.Array:
    if isinstance(logical, pl.List):
        offsets, items = lists.parts(array)
        wrapped = _wrapped(items, instance(logical.inner))
        return pa.LargeListArray.from_arrays(offsets.cast(pa.int64()), wrapped, mask=array.is_null())
    if not isinstance(logical, pl.Struct) or not logical.fields:
        return array
    if is_wrapper(logical):
        return pa.StructArray.from_arrays([array], [logical.fields[0].name], mask=array.is_null())
    inner = {each.name: instance(each.dtype) for each in logical.fields}
    children = {each.name: child for each, child in zip(array.type, array.flatten(), strict=True)}
    return pa.StructArray.from_arrays(
        [_wrapped(child, inner.get(name)) for name, child in children.items()],
        list(children),
        mask=array.is_null(),
    )


def _is_text(dtype: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(dtype) or pa.types.is_large_string(dtype) or pa.types.is_string_view(dtype)
    )
