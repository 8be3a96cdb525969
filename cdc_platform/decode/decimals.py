"""Decimals as Debezium sends them, two's complement bytes with the highest first, as columns.

Invariant: no digit is lost. A value that a Decimal column of 38 digits cannot hold is not put into one: its
column is text then, with exactly its digits, whatever the values of this batch.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import polars as pl
import pyarrow as pa

DIGITS: Final = 38
"""The most that Delta, Iceberg and Arrow's 128 bits have."""

_WIDTH: Final = 16


def fixed(unscaled: pl.Series, scale: int) -> pl.Series:
    """A Decimal(38, scale) column. ``unscaled``: bytes of integers of at most 38 digits."""
    whole = _integers(unscaled).cast(pl.Decimal(DIGITS, 0))
    array = whole.rechunk().to_arrow()
    return pl.Series(
        unscaled.name,
        pl.from_arrow(
            pa.Array.from_buffers(
                pa.decimal128(DIGITS, scale), len(array), array.buffers(), offset=array.offset
            )
        ),
        dtype=pl.Decimal(DIGITS, scale),
    )


def texts(unscaled: pl.Series, scales: pl.Series) -> pl.Series:
    """Decimals of any length as text: ``-0.0050`` with scale 4. ``scales``: of each value, maybe
    negative."""
    if (unscaled.bin.size() > _WIDTH).any():
        # By way of Decimal: Python refuses to print an integer of more than 4,300 digits.
        whole = [
            None if v is None else f"{Decimal(int.from_bytes(v, 'big', signed=True)):f}" for v in unscaled
        ]
        digits = pl.Series(whole, dtype=pl.String)
    else:
        digits = _integers(unscaled).cast(pl.String)
    frame = pl.DataFrame({"digits": digits, "scale": scales.cast(pl.Int64)})
    plain = pl.col("digits").str.strip_prefix("-")
    after = pl.col("scale").clip(lower_bound=0)
    padded = plain.str.zfill(after + 1)
    zeros = pl.when((pl.col("scale") < 0) & (plain != "0")).then(
        pl.lit("").str.zfill((-pl.col("scale")).clip(lower_bound=0))
    )
    text = pl.concat_str(
        pl.when(pl.col("digits").str.starts_with("-")).then(pl.lit("-")).otherwise(pl.lit("")),
        padded.str.head(padded.str.len_bytes() - after),
        pl.when(after > 0).then(pl.lit(".")).otherwise(pl.lit("")),
        padded.str.tail(after),
        zeros.otherwise(pl.lit("")),
    )
    return frame.select(text.alias(unscaled.name))[unscaled.name]


SPECIALS: Final = {"NAN": "NaN", "POSITIVE_INFINITY": "Infinity", "NEGATIVE_INFINITY": "-Infinity"}
"""How Debezium calls what PostgreSQL's numeric has besides numbers."""


def plain(values: pl.Series) -> pl.Series:
    """Decimals that are sent as text, without exponents, and specials as PostgreSQL calls them."""
    odd = values.str.contains("[A-Z]")
    if not odd.any():
        return values
    names = values.filter(odd.fill_null(value=False)).unique()
    known = {name: SPECIALS.get(name) or f"{Decimal(name):f}" for name in names}
    return values.replace(known)


def _integers(unscaled: pl.Series) -> pl.Series:
    value = pl.col("v")
    negative = value.bin.head(1) >= pl.lit(b"\x80")
    sign = pl.when(negative).then(pl.lit(b"\xff" * _WIDTH)).otherwise(pl.lit(b"\0" * _WIDTH))
    padded = (sign + value).bin.tail(_WIDTH)
    integers = padded.bin.reinterpret(dtype=pl.Int128, endianness="big")
    return pl.DataFrame({"v": unscaled}).select(integers.alias(unscaled.name))[unscaled.name]
