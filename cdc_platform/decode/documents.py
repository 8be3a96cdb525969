"""Documents as columns: the texts of a batch in, one frame out, with exactly the values of the texts.

Invariants
- Row i of the frame is text i. No value is cast, rounded or dropped; nulls are left out (``extended.py``).
- Columns do not depend on the hint, but for one thing: integers in a field that the hint has as a double
  become doubles at once, as they would in the table.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from cdc_platform.core.schema import first_offender
from cdc_platform.decode.extended import misfit, plain_longs, present, unwrapped
from cdc_platform.decode.lines import NOTHING, Unreadable, parse
from cdc_platform.decode.numbers import rounded


@dataclass(frozen=True, slots=True)
class Documents:
    """``frame``: a column a top-level field. ``layout``: the parser's types, to hint the next batch with."""

    frame: pl.DataFrame
    layout: pa.Schema


@dataclass(frozen=True, slots=True)
class Misfit:
    """The first text that is no document, or (``typed``) one that does not fit those before it, and why."""

    row: int
    reason: str
    typed: bool


def read_documents(texts: pl.Series, hint: pa.Schema = NOTHING) -> Documents | Misfit:
    """``texts``: extended JSON without nulls. ``hint``: a former layout, to save the inference."""
    plain = plain_longs(texts)
    result = _read(plain, hint)
    if isinstance(result, Documents):
        return result
    row = first_offender(len(plain), lambda count: isinstance(_read(plain.head(count), hint), Documents))
    upto = _read(plain.head(row + 1), hint)
    unreadable = result if isinstance(upto, Documents) else upto
    return Misfit(row, unreadable.reason, unreadable.typed)


def _read(texts: pl.Series, hint: pa.Schema) -> Documents | Unreadable:
    parsed = parse(texts, hint)
    if isinstance(parsed, Unreadable):
        return parsed
    table = parsed.table
    if reason := rounded(texts, table):
        return Unreadable(reason, typed=True)
    columns = {name: present(table[name].combine_chunks()) for name in table.column_names}
    columns = {name: array for name, array in columns.items() if not pa.types.is_null(array.type)}
    for name, array in columns.items():
        if reason := misfit((name,), array):
            return Unreadable(reason, typed=True)
    series = [pl.Series(name, pl.from_arrow(unwrapped(array))) for name, array in columns.items()]
    return Documents(pl.DataFrame(series), parsed.layout)
