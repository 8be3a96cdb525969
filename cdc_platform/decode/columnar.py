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

from cdc_platform.decode.extended import Clash, first_clash, plainer, present, unwrapped
from cdc_platform.decode.lines import NOTHING, Unreadable, parse
from cdc_platform.decode.numbers import rounded


@dataclass(frozen=True, slots=True)
class Columns:
    """``frame``: a column a top-level field. ``layout``: the parser's types, to hint the next batch with."""

    frame: pl.DataFrame
    layout: pa.Schema


def read_columns(texts: pl.Series, hint: pa.Schema = NOTHING) -> Columns | Clash | Unreadable:
    """``texts``: extended JSON without nulls. ``hint``: a former layout, to save the inference.

    A Clash is about a field whose values cannot share a column. So is an Unreadable with a column; one
    without is about a text that is no document.
    """
    plain = plainer(texts)
    parsed = parse(plain, hint)
    if isinstance(parsed, Unreadable):
        return parsed
    table = parsed.table
    if clash := rounded(plain, table):
        return clash
    columns = {name: present(table[name].combine_chunks()) for name in table.column_names}
    columns = {name: array for name, array in columns.items() if not pa.types.is_null(array.type)}
    for name, array in columns.items():
        if clash := first_clash((name,), array):
            return clash
    series = [pl.Series(name, pl.from_arrow(unwrapped(array))) for name, array in columns.items()]
    return Columns(pl.DataFrame(series), parsed.layout)
