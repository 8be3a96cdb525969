"""Whole lake rows as digests: every column counts, metadata too, as it is stored.

Left out are the two columns that say when a row was written, and those of the change feed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import polars as pl

from cdc_platform.core.columns import INGESTED, INGESTED_ON, KEY
from cdc_platform.core.digest import encode_columns, row_digest
from cdc_platform.core.history import CHANGE, COMMIT

BATCH_ROWS: Final = 50_000

_LEFT_OUT: Final = frozenset({INGESTED, INGESTED_ON, CHANGE, COMMIT, "_commit_timestamp"})


def image_digests(rows: pl.LazyFrame) -> Iterator[tuple[str, int]]:
    """Key text and digest of each row, in batches; at least KEY among the columns."""
    for batch in rows.collect_batches(chunk_size=BATCH_ROWS):
        yield from digests_of(batch)


def digests_of(batch: pl.DataFrame) -> Iterator[tuple[str, int]]:
    """Key text and digest of each row of a frame."""
    columns = [column for column in batch.get_columns() if column.name not in _LEFT_OUT]
    return (
        (key, row_digest(key, canonical))
        for key, canonical in zip(batch[KEY], encode_columns(columns), strict=True)
    )
