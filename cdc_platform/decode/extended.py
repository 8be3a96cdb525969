"""MongoDB's extended JSON, as Debezium prints it, turned into columns of plain types, at every level.

Debezium prints documents with the Java driver's ``JsonMode.STRICT``: a 32-bit integer as 1, a double as 1.0,
and everything else that JSON does not have as a small object, a *wrapper*:

    {"$numberLong": "1"}         → Int64 (in the text, ``plain_longs``: fields mix both widths all the time)
    {"$oid": "5f…"}              → String
    {"$date": ms}                → Datetime in UTC, microseconds
    {"$numberDecimal": "1.50"}   → String, exactly the digits that came
    any other ($binary and $type, $timestamp, $regex and $options, $minKey …)  → the struct it is

Invariants
- A field is a wrapper in all its values or in none. One that mixes them is refused, or some would be null.
- What is null throughout a batch is left out, so a batch looks the same whatever was seen before it. A null
  field equals a missing one in a column store. An empty list or object stays, its type unknown (List(Null),
  Struct({})).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from cdc_platform.core.schema import Path, path_text

_LONG: Final = r'\{\s*"\$numberLong"\s*:\s*"(-?\d+)"\s*\}'
_WRAPPED: Final = {"$oid": pa.string(), "$date": pa.int64(), "$numberDecimal": pa.string()}
_MAX_MILLIS: Final = (2**63 - 1) // 1000


def plain_longs(texts: pl.Series) -> pl.Series:
    """``{"$numberLong": "123"}`` as ``123``.

    On the text, as that is safe: inside a JSON string every quote is escaped, so nothing there matches.
    """
    if not texts.str.contains('"$numberLong"', literal=True).any():
        return texts
    return texts.str.replace_all(_LONG, "${1}")


def present(array: pa.Array) -> pa.Array:
    """The array without fields that are null in all rows, nested ones too; of null type if all of it is."""
    if array.null_count == len(array):
        return pa.nulls(len(array))
    if pa.types.is_struct(array.type):
        children = ((each.name, present(child)) for each, child in _children(array))
        return _struct(array, {name: child for name, child in children if not pa.types.is_null(child.type)})
    if pa.types.is_list(array.type):
        return _list(array, present(array.values))
    return array


def misfit(path: Path, array: pa.Array) -> str | None:
    """What is wrong with the first wrapper that cannot be unwrapped, if any. ``array``: as of ``present``."""
    return next(_misfits(path, array), None)


def unwrapped(array: pa.Array) -> pa.Array:
    """The array with every wrapper replaced by its value. ``array``: without a ``misfit``."""
    if pa.types.is_struct(array.type):
        if (wrapper := _wrapper(array.type)) is None:
            return _struct(array, {each.name: unwrapped(child) for each, child in _children(array)})
        value = array.flatten()[0]
        if wrapper != "$date":
            return value
        return pc.multiply(value, 1000).cast(pa.timestamp("us", "UTC"))
    if pa.types.is_list(array.type):
        return _list(array, unwrapped(array.values))
    return array


def _misfits(path: Path, array: pa.Array) -> Iterator[str]:
    if pa.types.is_list(array.type):
        yield from _misfits((*path, None), array.values)
    if not pa.types.is_struct(array.type):
        return
    names = [each.name for each in array.type]
    if len(names) > 1 and not _WRAPPED.keys().isdisjoint(names):
        yield f"field {path_text(path)} mixes values of different types: {', '.join(names)}"
    elif wrapper := _wrapper(array.type):
        yield from _bad_values(path, wrapper, array)
    else:
        for each, child in _children(array):
            yield from _misfits((*path, each.name), child)


def _bad_values(path: Path, wrapper: str, array: pa.StructArray) -> Iterator[str]:
    value = array.flatten()[0]
    if value.null_count > array.null_count:
        yield f"field {path_text(path)} has both {wrapper} values and objects without a {wrapper}"
    if wrapper == "$date" and not pc.all(_in_microseconds(value)).as_py():
        yield f"field {path_text(path)} has a date that microseconds in 64 bits cannot hold"


def _in_microseconds(millis: pa.Array) -> pa.Array:
    return pc.and_(pc.greater_equal(millis, -_MAX_MILLIS), pc.less_equal(millis, _MAX_MILLIS))


def _wrapper(dtype: pa.StructType) -> str | None:
    if dtype.num_fields != 1 or _WRAPPED.get(dtype[0].name) != dtype[0].type:
        return None
    return str(dtype[0].name)


def _children(array: pa.StructArray) -> Iterator[tuple[pa.Field, pa.Array]]:
    # flatten, not field(i): a child is null where its parent is.
    return zip(array.type, array.flatten(), strict=True)


def _struct(array: pa.StructArray, children: dict[str, pa.Array]) -> pa.Array:
    if not children:
        return array.cast(pa.struct([])) if array.type.num_fields == 0 else _hollow(array)
    return pa.StructArray.from_arrays(list(children.values()), list(children), mask=array.is_null())


def _hollow(array: pa.StructArray) -> pa.Array:
    """A struct without fields, null where ``array`` is."""
    validity = pa.StructArray.from_arrays([pa.nulls(len(array))], ["_"], mask=array.is_null()).buffers()[0]
    return pa.Array.from_buffers(pa.struct([]), len(array), [validity])


def _list(array: pa.ListArray, items: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(array.offsets, items, mask=array.is_null())
