"""JSON texts, one object each, parsed as one block into an Arrow table: strictly, row for row.

pyarrow's reader is strict where it matters: one field with a string here and a number there, a fraction for
an integer, a duplicate key or half a surrogate pair is an error, never a guess. What it gets wrong (seen with
pyarrow 26) is made good here:
- It skips blank lines, takes two objects on a line, and crashes the process on a line ``null``. So each text
  must begin with ``{`` and end with ``}``, and the rows are counted: two texts can then neither melt into one
  row nor one text become two.
- It takes texts that look like dates for timestamps, which loses how they were written. They stay texts.
- While it infers types, it loses nulls that stand in a list before the first value, and it cannot infer
  some nested types over several blocks. The first leaves an array that is shorter than its lists say, which
  ``validate`` sees. With all types given it does neither, so then the types are inferred first and given.
- It rounds integers that share a field with fractions, or exceed 64 bits: ``numbers.py`` finds those.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import polars as pl
import pyarrow as pa
import pyarrow.json as pj

MIN_BLOCK_BYTES: Final = 1 << 20

NOTHING: Final = pa.schema([])

_FIELD: Final = re.compile(r"Column\((?P<path>/.*)\) (?P<what>.*?)(?: in row \d+)?$", re.DOTALL)
_TWICE: Final = "was specified twice"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why texts could not be parsed. ``column``: the parser's path of a field whose values do not go
    together, ``/items/[]/sku``, or None if a text is no JSON object by itself.

    The rows named by the parser are left out: it counts them by block.
    """

    reason: str
    column: str | None = None


@dataclass(frozen=True, slots=True)
class Parsed:
    """``table``: a row a text. ``layout``: the types that are known in full, to hint the next parse."""

    table: pa.Table
    layout: pa.Schema


def parse(texts: pl.Series, hint: pa.Schema) -> Parsed | Unreadable:
    """All fields, with the types they have. ``texts``: String without nulls.

    ``hint``: types to try first. A field that only the hint has becomes a column of nulls.
    """
    table = _read(texts, hint, "infer")
    if isinstance(table, pa.Table) and _plain(table.schema) == table.schema:
        return Parsed(table, _known(table.schema))
    inferred = _read(texts, NOTHING, "infer", whole=True)
    if isinstance(inferred, Unreadable):
        return inferred
    types = _plain(inferred.schema)
    table = parse_as(texts, complete(types), others="error")
    return table if isinstance(table, Unreadable) else Parsed(table, _known(types))


def parse_as(
    texts: pl.Series, schema: pa.Schema, *, others: Literal["ignore", "error"]
) -> pa.Table | Unreadable:
    """The fields of ``schema`` with exactly its types. ``others``: what to do about fields it lacks."""
    return _read(texts, schema, others)


def complete(schema: pa.Schema) -> pa.Schema:
    """The schema with a type for what has only nulls. Any would do, as it has only nulls."""
    return pa.schema([each.with_type(_replaced(each.type, pa.types.is_null, pa.bool_())) for each in schema])


def _plain(schema: pa.Schema) -> pa.Schema:
    return pa.schema(
        [each.with_type(_replaced(each.type, pa.types.is_timestamp, pa.string())) for each in schema]
    )


def _replaced(dtype: pa.DataType, matches: Callable[[pa.DataType], bool], by: pa.DataType) -> pa.DataType:
    if matches(dtype):
        return by
    if pa.types.is_struct(dtype):
        return pa.struct([each.with_type(_replaced(each.type, matches, by)) for each in dtype])
    if pa.types.is_list(dtype):
        return pa.list_(dtype.value_field.with_type(_replaced(dtype.value_type, matches, by)))
    return dtype


def _known(schema: pa.Schema) -> pa.Schema:
    return pa.schema([each for each in map(_known_part, schema) if each])


def _known_part(field: pa.Field) -> pa.Field | None:
    if pa.types.is_null(field.type):
        return None
    if pa.types.is_struct(field.type):
        return field.with_type(pa.struct([each for each in map(_known_part, field.type) if each]))
    if pa.types.is_list(field.type):
        items = _known_part(field.type.value_field)
        return items and field.with_type(pa.list_(items))
    return field


def _read(texts: pl.Series, schema: pa.Schema, others: str, *, whole: bool = False) -> pa.Table | Unreadable:
    """``whole``: in one block, for the types alone; the values may be wrong then (see above)."""
    if texts.is_empty():
        return schema.empty_table()
    if not (texts.str.starts_with("{") & texts.str.ends_with("}")).all():
        return Unreadable("not a JSON object")
    # The one contiguous buffer of an Arrow string array is the file that the reader wants.
    buffer = (texts + "\n").to_arrow(compat_level=pl.CompatLevel.oldest()).buffers()[2]
    longest = texts.str.len_bytes().max()
    block = max(MIN_BLOCK_BYTES, longest + 2 if isinstance(longest, int) else 0)
    try:
        table = pj.read_json(
            pa.BufferReader(buffer),
            read_options=pj.ReadOptions(block_size=buffer.size if whole else block),
            parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior=others),
        )
        if not whole:
            table.validate()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        return _unreadable(str(error))
    return table if len(table) == len(texts) else Unreadable("more than one JSON object")


def _unreadable(message: str) -> Unreadable:
    """From, say, ``JSON parse error: Column(/a/[]/b) changed from string to number in row 3``."""
    found = _FIELD.search(message)
    if found is None:
        return Unreadable(message.partition(" in row ")[0])
    path = found["path"].replace("/[]", "[]").replace("/", ".").removeprefix(".")
    return Unreadable(f"field {path} {found['what']}", None if _TWICE in found["what"] else found["path"])
