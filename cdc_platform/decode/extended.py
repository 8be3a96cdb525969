"""MongoDB's extended JSON, as Debezium prints it, turned into columns of plain types, at every level.

Debezium prints documents with the Java driver's ``JsonMode.STRICT``: a 32-bit integer as 1, a double as 1.0,
and everything else that JSON does not have as a small object, a *wrapper*. ``TYPES`` says what each becomes.

Invariants
- A field is a wrapper in all its values or in none. One that mixes them is a clash, or some would be null.
- What is null throughout a batch is left out, so a batch looks the same whatever was seen before it. A null
  field equals a missing one in a column store. An empty list or object stays, its type unknown (List(Null),
  Struct({})).
- An ObjectId, a UUID and a decimal keep a type of their own (``core.logical``) until they are stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from cdc_platform.core.logical import TEXTS, Path
from cdc_platform.core.schema import path_text
from cdc_platform.decode.depth import COLUMN_LEVELS

_LONG: Final = r'\{\s*"\$numberLong"\s*:\s*"(-?\d+)"\s*\}'
_BINARY: Final = r'\{{\s*"\$binary"\s*:\s*"({base64})"\s*,\s*"\$type"\s*:\s*"{subtype}"\s*\}}'
_UUID: Final = _BINARY.format(base64="[A-Za-z0-9+/]{22}==", subtype="04")
_BYTES: Final = _BINARY.format(base64="[A-Za-z0-9+/=]*", subtype="00")
_DATE, _PLAIN_BYTES, _OWN_UUID = "$date", "$bytes", "$uuid"
OWN_WRAPPERS: Final = frozenset({_PLAIN_BYTES, _OWN_UUID})
"""Wrappers made here, of binary data. A field of such a name cannot come from Debezium's own printing of a
value, so a document that has one has it from its writer."""
_WRAPPED: Final = {**dict.fromkeys([*TEXTS, _PLAIN_BYTES], pa.string()), _DATE: pa.int64()}
_MAX_MILLIS: Final = (2**63 - 1) // 1000


@dataclass(frozen=True, slots=True)
class Clash:
    """A field whose values cannot share a column, and why."""

    path: Path
    reason: str


def plainer(texts: pl.Series) -> pl.Series:
    """``{"$numberLong": "123"}`` as ``123``, plain binary data and UUIDs as wrappers with one field.

    On the text, as that is safe: inside a JSON string every quote is escaped, so nothing there matches.
    """
    if texts.str.contains('"$numberLong"', literal=True).any():
        texts = texts.str.replace_all(_LONG, "${1}")
    if texts.str.contains('"$binary"', literal=True).any():
        texts = texts.str.replace_all(_UUID, f'{{"${_OWN_UUID}":"${{1}}"}}')
        texts = texts.str.replace_all(_BYTES, f'{{"${_PLAIN_BYTES}":"${{1}}"}}')
    return texts


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


def first_clash(path: Path, array: pa.Array) -> Clash | None:
    """The first wrapper that cannot be unwrapped, if any. ``array``: as of ``present``."""
    return next(_clashes(path, array), None)


def unwrapped(array: pa.Array) -> pa.Array:
    """The array with plain types where there are such, at every level. ``array``: without a clash."""
    if pa.types.is_struct(array.type):
        wrapper = _wrapper(array.type)
        if wrapper is None:
            return _struct(array, {each.name: unwrapped(child) for each, child in _children(array)})
        return _value(wrapper, array)
    if pa.types.is_list(array.type):
        return _list(array, unwrapped(array.values))
    return array


def _value(wrapper: str, array: pa.StructArray) -> pa.Array:
    value = array.flatten()[0]
    if wrapper == _DATE:
        return pc.multiply(value, 1000).cast(pa.timestamp("us", "UTC"))
    if wrapper == _PLAIN_BYTES:
        return _decoded(value).to_arrow(compat_level=pl.CompatLevel.oldest())
    if wrapper == _OWN_UUID:
        digits = _decoded(value).bin.encode("hex")
        parts = [digits.str.slice(start, length) for start, length in _UUID_PARTS]
        texts = pl.select(pl.concat_str(parts, separator="-"))["hex"].rename("")
        value = texts.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.string())
    return pa.StructArray.from_arrays([value], [wrapper], mask=array.is_null())


_UUID_PARTS: Final = ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))


def _decoded(base64: pa.Array) -> pl.Series:
    return pl.Series("hex", pl.from_arrow(base64), dtype=pl.String).str.decode("base64")


def _clashes(path: Path, array: pa.Array) -> Iterator[Clash]:
    if not pa.types.is_nested(array.type):
        return
    if len(path) >= COLUMN_LEVELS and not (pa.types.is_struct(array.type) and _wrapper(array.type)):
        yield Clash(path, f"field {path_text(path)} nests deeper than {COLUMN_LEVELS} levels")
        return
    if pa.types.is_list(array.type):
        yield from _clashes((*path, None), array.values)
        return
    names = [each.name for each in array.type]
    if len(names) > 1 and not _WRAPPED.keys().isdisjoint(names):
        yield Clash(path, f"field {path_text(path)} mixes values of different types: {', '.join(names)}")
    elif wrapper := _wrapper(array.type):
        yield from _bad_values(path, wrapper, array)
    else:
        for each, child in _children(array):
            yield from _clashes((*path, each.name), child)


def _bad_values(path: Path, wrapper: str, array: pa.StructArray) -> Iterator[Clash]:
    value = array.flatten()[0]
    name = path_text(path)
    if value.null_count > array.null_count:
        yield Clash(path, f"field {name} has both {wrapper} values and objects without a {wrapper}")
    if wrapper == _DATE and not pc.all(_in_microseconds(value)).as_py():
        yield Clash(path, f"field {name} has a date that microseconds in 64 bits cannot hold")


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
