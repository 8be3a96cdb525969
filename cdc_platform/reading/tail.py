"""The current state with what the changelog has beyond it folded over it, at read.

Invariants
- The state of a source table at the changelog's offsets is what the current table will be once it has merged
  them: each key's last change decides, found by the very code that merges use (``decode.fold``,
  ``replicate.recompute``). So no key goes back, neither by events that were sent again nor in a topic that
  has got more partitions.
- The current table is looked at first, the changelog after it: writers move both meanwhile, and only ahead,
  so the changelog has all that the current table had merged. The other way round rows could be missing.
- Both frames stand at the versions that were looked at, however long it takes until they are collected.

Rows that an operator puts in at offsets that are merged already (``replicate.replay``) are in the state as
soon as the replay has recomputed their keys in the current table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import polars as pl

from cdc_platform.core.columns import DELETE, KEY, OFFSET, OPERATION, PARTITION, RESENT
from cdc_platform.core.errors import OffsetsLost, StreamReplaced
from cdc_platform.core.model import Handle
from cdc_platform.core.offsets import Offsets, Range, Ranges, next_ranges
from cdc_platform.decode.fold import fold
from cdc_platform.replicate.growth import more_than_made_with, moved
from cdc_platform.replicate.recompute import last_places
from cdc_platform.replicate.truncation import Emptied, Truncations, standing


class Looked(Protocol):
    """What is needed of a lake table to read it."""

    @property
    def uri(self) -> str: ...

    def exists(self) -> bool: ...

    def snapshot(self) -> tuple[Handle, int]: ...

    def read(self, handle: Handle, ranges: Ranges | None = None) -> pl.LazyFrame: ...


@dataclass(frozen=True, slots=True)
class State:
    """``rows``: one per key. ``offsets``: per partition, the next one: the first that is not in the rows."""

    rows: pl.LazyFrame
    offsets: Mapping[int, int]


def state(current: Looked, changelog: Looked) -> State:
    """The state at the newest offsets of the changelog. A current table need not be there yet.

    Raises StreamReplaced or OffsetsLost if the two tables do not belong together.
    """
    # In this order: another writer may move both tables in between, and only ahead.
    target = current.snapshot()[0] if current.exists() else None
    source = changelog.snapshot()[0]
    emptied = Truncations().newest(changelog, source, source.offsets)
    if target is None:
        places = _last_changes(changelog, source, source, {}, emptied)
        return State(_live(changelog, source, places), source.offsets)
    _require_one_source(current, target, changelog, source)
    places = _last_changes(changelog, source, target, target.offsets, emptied)
    columns = _columns(target.schema, source.schema)
    merged = _matching(standing(current.read(target), emptied), columns)
    keys = places.lazy().select(KEY)
    kept = merged.join(keys, on=KEY, how="anti") if places.height else merged
    live = _matching(_live(changelog, source, places), columns)
    return State(pl.concat([kept, live]) if places.height else kept, source.offsets)


def _last_changes(
    changelog: Looked, source: Handle, target: Handle, merged: Offsets, emptied: Emptied | None
) -> pl.DataFrame:
    """KEY, PARTITION and OFFSET of the changes that the current table, which has ``merged``, is to have
    instead of what it has."""
    ranges = next_ranges(merged, source.offsets)
    counting = standing(changelog.read(source, ranges), emptied)
    changes = counting.select(KEY, PARTITION, OFFSET, RESENT).collect()
    if not more_than_made_with((target, source)):
        return fold(changes).rows
    keys = changes[KEY].unique()
    history = standing(changelog.read(source, next_ranges({}, source.offsets)), emptied)
    if any(p >= target.partitions and p not in merged for p in source.offsets):
        # As a merge does that learns of new partitions: until now it went by offsets (``replicate.growth``).
        keys = pl.concat([keys, moved(history)]).unique()
    return last_places(history, keys)


def _live(changelog: Looked, source: Handle, places: pl.DataFrame) -> pl.LazyFrame:
    """The rows at these places, but for deletes."""
    spans = places.group_by(PARTITION).agg(pl.min(OFFSET).alias("first"), pl.max(OFFSET).alias("last"))
    ranges = {p: Range(first, last + 1) for p, first, last in spans.iter_rows()}
    wanted = places.lazy().select(PARTITION, OFFSET)
    rows = changelog.read(source, ranges).join(wanted, on=[PARTITION, OFFSET], how="semi")
    return rows.filter(pl.col(OPERATION) != DELETE)


def _columns(current: pl.Schema, changelog: pl.Schema) -> pl.Schema:
    """The current table's, then those that it does not have yet. The changelog's types hold the others: a
    document's fields get to the current state from there."""
    return pl.Schema({name: changelog.get(name, dtype) for name, dtype in {**current, **changelog}.items()})


def _matching(rows: pl.LazyFrame, columns: pl.Schema) -> pl.LazyFrame:
    return rows.match_to_schema(columns, missing_columns="insert", missing_struct_fields="insert")


def _require_one_source(current: Looked, target: Handle, changelog: Looked, source: Handle) -> None:
    where = f"{current.uri} and {changelog.uri}"
    remedy = "cdc rebuild TABLE --from source"
    if target.stream != source.stream:
        raise StreamReplaced(
            f"the current table was filled from {target.stream}, its changelog from {source.stream}",
            where=where,
            remedy=remedy,
        )
    if ahead := _past(target.offsets, source.offsets):
        raise OffsetsLost(
            f"the current table stands at offsets {ahead}, past its changelog",
            where=where,
            remedy=f"the changelog was restored or replaced: {remedy}",
        )


def _past(offsets: Offsets, ends: Offsets) -> dict[int, int]:
    return {p: offset for p, offset in offsets.items() if offset > ends.get(p, 0)}
