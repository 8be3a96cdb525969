"""Many changes of a key → the one that counts.

Invariant: within a partition the offset decides, never a time and never the order in which rows arrive. All
changes of a key are in one partition (the connector partitions by key), so the offset orders them completely.
Were a topic given more partitions, a key's later changes could lie in another one: a topic keeps its count.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from cdc_platform.core.columns import KEY, OFFSET, PARTITION


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
        .select(KEY, PARTITION, OFFSET)
        .with_row_index("row")
        .sort(PARTITION, OFFSET)
        .unique(KEY, keep="last", maintain_order=True)
        .collect()
    )
    rows = changes[last["row"]]
    return Folded(rows, changes.height - rows.height)
