"""Topics that were given more partitions after their table was made.

Some keys then go to another partition, also from one old partition to another, and offsets no longer order a
key's changes. A run learns of it late: the one that reads while it happens goes by offsets for a while, and
may bring an older change of a key into the current state after a newer one.

Invariants
- A table remembers the partitions that a writer has known of: the first commit that knows of new ones gives
  each an offset. So every writer that opens the table later knows of them, too, also one that knows the topic
  as it was. One that had opened it before cannot commit any more.
- When the current state learns of new partitions, every key that has changes in two is looked up in the
  changelog, which makes good what went by offsets until then. From then on a merge looks up the keys that it
  merges.

Of a topic that had grown before its table was made nothing is known: a replay of all offsets looks up all
keys.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from cdc_platform.core.columns import KEY, PARTITION
from cdc_platform.core.model import Handle
from cdc_platform.core.offsets import Range
from cdc_platform.core.schema import fit
from cdc_platform.replicate.recompute import last_rows
from cdc_platform.replicate.replica import Replica


def unheard_of(replica: Replica, handle: Handle) -> dict[int, Range]:
    """The partitions that the table has not heard of, as ranges to commit with what else there is."""
    added = range(handle.partitions, replica.stream.partitions)
    return {partition: Range(0, 0) for partition in added if partition not in handle.offsets}


def has_grown(replica: Replica, *handles: Handle) -> bool:
    """Whether a key's changes may lie in two partitions, as far as this run or one of the tables knows."""
    return more_than_made_with(handles, replica.stream.partitions)


def more_than_made_with(handles: Sequence[Handle], partitions: int = 0) -> bool:
    """Whether there are more partitions than one of the tables was made with. ``partitions``: those that the
    topic has, if that is known; else as far as the tables tell."""
    known = max(partition + 1 for handle in handles for partition in (-1, *handle.offsets))
    return max(known, partitions) > min(handle.partitions for handle in handles)


def learn(replica: Replica, target: Handle, source: Handle) -> None:
    """Commit the new partitions to the current table, with the last row of every key that has moved so
    far.
    """
    history = replica.changelog.read(source, {p: Range(0, end) for p, end in target.offsets.items()})
    emptied = replica.truncations.newest(replica.changelog, source, target.offsets)
    rows = last_rows(replica.changelog, source, moved(history), target.offsets, emptied)
    fitted = fit(rows, target.logical, where=f"table {replica.name}")
    replica.current.merge(target, fitted, unheard_of(replica, target), {})


def moved(history: pl.LazyFrame) -> pl.Series:
    """The keys that have changes in two partitions."""
    found = history.select(KEY, PARTITION).drop_nulls().unique().group_by(KEY).len().filter(pl.col("len") > 1)
    return found.collect(engine="streaming")[KEY]
