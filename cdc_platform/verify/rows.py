"""Rows of the lake as digests, put as the source has them: its columns alone, by their names (``Shape``).

Invariant: a text that stands for something else (a decimal of any length, JSON beside its column, a field of
a document) and cannot be read as that stays a text. It then equals nothing that the source has, so the row
differs: loud, never a false pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any, Final

import orjson
import polars as pl

from cdc_platform.core.columns import KEY
from cdc_platform.core.digest import Fields, Reader, Unfold, bucket_of, encode_columns, encoder, row_digest
from cdc_platform.verify.calendar import moment_of
from cdc_platform.verify.shape import Shape, Text
from cdc_platform.verify.unfold import unfold

BATCH_ROWS: Final = 50_000

_encode: Final = encoder()
_NONE: Final = "{}"
"""Of a row without a value."""


def digests(rows: pl.LazyFrame, shape: Shape, buckets: Set[int] | None = None) -> Iterator[tuple[str, int]]:
    """Key text and row digest of every row, or of those in ``buckets``, in batches of 50,000."""
    compared = [name for name in rows.collect_schema() if name == KEY or shape.field(name) is not None]
    for batch in rows.select(compared).collect_batches(chunk_size=BATCH_ROWS):
        yield from _of_batch(batch, shape, buckets)


def cells(rows: pl.LazyFrame, shape: Shape, keys: Set[str]) -> dict[str, dict[str, str]]:
    """Of the rows of a table with these keys, each column's canonical text, by the source's names."""
    found: dict[str, dict[str, str]] = {}
    some = rows.filter(pl.col(KEY).is_in(sorted(keys))).collect()
    reader = partial(_reader, shape)
    for column in _fields(some, shape, reader):
        field = shape.field(column.name) or column.name
        for key, text in zip(some[KEY], encode_columns([column], reader), strict=True):
            cell = found.setdefault(key, {})
            cell[field] = text if cell.get(field, _NONE) == _NONE else f"{cell[field]}{text}"
    return found


def _fields(batch: pl.DataFrame, shape: Shape, reader: Unfold) -> list[pl.Series]:
    return [
        # What is read as a field keeps its own name: the reader tells the field's.
        column if column.dtype == pl.String and reader(column.name) else column.alias(field)
        for column in batch.get_columns()
        if (field := shape.field(column.name)) is not None
    ]


def _of_batch(batch: pl.DataFrame, shape: Shape, buckets: Set[int] | None) -> Iterator[tuple[str, int]]:
    if buckets is not None:
        inside = [bucket_of(key) in buckets for key in batch[KEY]]
        batch = batch.filter(pl.Series(inside, dtype=pl.Boolean))
    keys = batch[KEY].to_list()
    reader = unfold if shape.columns is None else partial(_reader, shape)
    fields = _fields(batch, shape, reader)
    rows = encode_columns(fields, reader) if fields else [_NONE] * len(keys)
    return ((key, row_digest(key, canonical)) for key, canonical in zip(keys, rows, strict=True))


def _reader(shape: Shape, column: str) -> Reader | None:
    """How to read a text column of a table; None: as texts."""
    field = shape.field(column)
    if field is None:
        return None
    if shape.is_beside(column):
        return partial(_beside, field, shape.text(field))
    return partial(_decimal, field) if shape.text(field) is Text.DECIMAL else None


def _decimal(field: str, text: str) -> Fields:
    return {field: _encode(_number(text))}


def _beside(field: str, kind: Text, text: str) -> Fields:
    value: Any = orjson.loads(text)
    if isinstance(value, str):
        value = {Text.DECIMAL: _number, Text.MOMENT: moment_of}.get(kind, str)(value)
    return {field: _encode(value)}


def _number(text: str) -> Decimal | str:
    try:
        return Decimal(text)
    except InvalidOperation:
        return text
