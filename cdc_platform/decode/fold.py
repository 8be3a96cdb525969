"""Many changes of a key → the one that counts.

Invariant: within a partition the offset decides, never a time and never the order in which rows arrive. All
changes of a key are in one partition (the connector partitions by key), so the offset orders them completely,
as long as the topic keeps its number of partitions. After that a key's changes may lie in two, and between
those the source's position decides (``newest``).

An event that was sent again is none: its first row counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from cdc_platform.core.columns import KEY, OFFSET, PARTITION, POSITION, RESENT
from cdc_platform.core.position import kind_of, order


@dataclass(frozen=True, slots=True)
class Folded:
    """``rows``: one a key, whole. ``superseded``: changes left out. Their sum is the changes that came in."""

    rows: pl.DataFrame
    superseded: int


def fold(changes: pl.DataFrame) -> Folded:
    """The last change of each key by (PARTITION, OFFSET), in that order. A delete stays, as a delete.

        so far  ╲ next   create, read   update    delete
        nothing          create, read   update    delete
        create, read     the next       update    delete
        update           the next       update    delete
        delete           create, read   update    delete

    The next change always wins whole, whatever came before: each carries the complete document, so nothing
    of an earlier one is needed. Deleted and created again is created; created and deleted is deleted, and
    not nothing, as the table may hold the key from before.
    """
    last = (
        changes.lazy()
        .select(KEY, PARTITION, OFFSET, RESENT)
        .with_row_index("row")
        .filter(once())
        .sort(PARTITION, OFFSET)
        .unique(KEY, keep="last", maintain_order=True)
        .collect()
    )
    rows = changes[last["row"]]
    return Folded(rows, changes.height - rows.height)


def once() -> pl.Expr:
    """True for every row but those of events that were sent again."""
    return pl.col(RESENT).ne_missing(pl.lit(value=True))


def newest(history: pl.LazyFrame) -> pl.LazyFrame:
    """KEY, PARTITION and OFFSET of each key's last change, whatever partitions its changes are in.

    ``history``: all changes of the keys, or all from some offset of each partition on.
    """
    kind = kind_of(history.collect_schema()[POSITION])
    return (
        history.filter(once())
        .select(KEY, PARTITION, OFFSET, POSITION)
        .sort(OFFSET)
        .unique([KEY, PARTITION], keep="last", maintain_order=True)
        .sort(*order(kind), maintain_order=True)
        .unique(KEY, keep="last", maintain_order=True)
        .select(KEY, PARTITION, OFFSET)
    )
