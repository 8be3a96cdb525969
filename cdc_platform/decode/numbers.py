"""Integers the parser rounded: beyond 64 bits, or beyond 2^53 in a field that has fractions too.

Invariant: an integer becomes a double only if no other integer becomes the same double. The parsed column
alone cannot say whether 9007199254740992.0 was written so. So, only when a double that large is there at all,
the texts are parsed again with every long integer replaced by null: where a value vanishes, there was one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from cdc_platform.core.logical import Path
from cdc_platform.core.schema import SAFE_INTEGER, path_text
from cdc_platform.decode.extended import Clash
from cdc_platform.decode.lines import Unreadable, complete, parse_as

_LONG_INTEGER: Final = r"([\[:,]\s*)-?\d{16,}(\s*[,\]}])"
"""2^53 has 16 digits. Matches inside strings too, which does not matter: only doubles are compared."""


def rounded(texts: pl.Series, table: pa.Table) -> Clash | None:
    """The first field that has a rounded integer, if any. ``table``: parsed ``texts``."""
    suspects = [path for path, values in _doubles(table) if pc.any(_large(values)).as_py()]
    if not suspects:
        return None
    # Twice: neighbours in a list share the comma between them, and one pass takes every other one.
    blanked = texts.str.replace_all(_LONG_INTEGER, "${1}null${2}").str.replace_all(
        _LONG_INTEGER, "${1}null${2}"
    )
    again = parse_as(blanked, complete(table.schema), others="error")
    if isinstance(again, Unreadable):
        return Clash(suspects[0], again.reason)
    for (path, before), (_, after) in zip(_doubles(table), _doubles(again), strict=True):
        if pc.any(pc.and_(_large(before), after.is_null())).as_py():
            reason = f"field {path_text(path)} has an integer that cannot be kept exactly as a 64-bit number"
            return Clash(path, reason)
    return None


def _large(values: pa.Array) -> pa.Array:
    large = pc.and_(pc.is_finite(values), pc.greater(pc.abs(values), float(SAFE_INTEGER)))
    return pc.fill_null(large, False)


def _doubles(table: pa.Table) -> Iterator[tuple[Path, pa.Array]]:
    for name in table.column_names:
        yield from _leaves((name,), table[name].combine_chunks())


def _leaves(path: Path, array: pa.Array) -> Iterator[tuple[Path, pa.Array]]:
    if pa.types.is_float64(array.type):
        yield path, array
    elif pa.types.is_struct(array.type):
        for each, child in zip(array.type, array.flatten(), strict=True):
            yield from _leaves((*path, each.name), child)
    elif pa.types.is_list(array.type):
        yield from _leaves((*path, None), array.flatten())
