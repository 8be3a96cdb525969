"""Rows of the lake as digests, put as the source has them: its columns alone, by their names (``Shape``).

Of documents, texts may stand for fields (``unfold``); a table's texts are texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Final

import polars as pl

from cdc_platform.core.columns import KEY
from cdc_platform.core.digest import bucket_of, encode_columns, row_digest
from cdc_platform.verify.shape import Shape
from cdc_platform.verify.unfold import unfold

BATCH_ROWS: Final = 50_000


def digests(rows: pl.LazyFrame, shape: Shape, buckets: Set[int] | None = None) -> Iterator[tuple[str, int]]:
    """Key text and row digest of every row, or of those in ``buckets``, in batches of 50,000."""
    for batch in rows.collect_batches(chunk_size=BATCH_ROWS):
        yield from _of_batch(batch, shape, buckets)


def _of_batch(batch: pl.DataFrame, shape: Shape, buckets: Set[int] | None) -> Iterator[tuple[str, int]]:
    if buckets is not None:
        inside = [bucket_of(key) in buckets for key in batch[KEY]]
        batch = batch.filter(pl.Series(inside, dtype=pl.Boolean))
    keys = batch[KEY].to_list()
    fields = [
        column.alias(field)
        for column in batch.get_columns()
        if (field := shape.field(column.name)) is not None
    ]
    folded = unfold if shape.columns is None else (lambda _: None)
    rows = encode_columns(fields, folded) if fields else ["{}"] * len(keys)
    return ((key, row_digest(key, canonical)) for key, canonical in zip(keys, rows, strict=True))
