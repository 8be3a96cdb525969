"""A column rebuilt in a wider type of the same shape.

Invariant: only nulls are added and only integers become doubles; which pairs of types may come here, and
whether the integers are small enough, is for ``core.schema`` to say. Polars' own cast cannot be used: it
refuses structs that gain a field, and with ``strict=False`` it takes fields by their place, not their name.
"""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from cdc_platform.core import lists


def widen(frame: pl.DataFrame, name: str, dtype: pl.DataType) -> pl.Series:
    """Column ``name`` of ``frame`` as ``dtype``, all null if the frame does not have it."""
    if name not in frame.columns:
        return pl.repeat(None, len(frame), dtype=dtype, eager=True).alias(name)
    column = frame[name]
    if column.dtype == dtype:
        return column
    newest = pl.CompatLevel.newest()
    target = pl.Series(dtype=dtype).to_arrow(compat_level=newest).type
    return pl.Series(name, pl.from_arrow(_rebuilt(column.to_arrow(compat_level=newest), target)), dtype=dtype)


def _rebuilt(array: pa.Array, target: pa.DataType) -> pa.Array:
    if array.type == target:
        return array
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), target)
    if pa.types.is_struct(target):
        return _struct(array, target)
    if pa.types.is_large_list(target):
        return _list(array, target)
    return array.cast(target)


def _struct(array: pa.StructArray, target: pa.StructType) -> pa.Array:
    have = dict(zip((each.name for each in array.type), array.flatten(), strict=True))
    children = [
        _rebuilt(have[each.name], each.type) if each.name in have else pa.nulls(len(array), each.type)
        for each in target
    ]
    return pa.StructArray.from_arrays(children, fields=list(target), mask=array.is_null())


def _list(array: pa.LargeListArray, target: pa.LargeListType) -> pa.Array:
    offsets, items = lists.parts(array)
    rebuilt = _rebuilt(items, target.value_type)
    return pa.LargeListArray.from_arrays(offsets, rebuilt, type=target, mask=array.is_null())
