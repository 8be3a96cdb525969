"""Values that a source did not send, as the change left them alone: PostgreSQL's TOAST.

Without REPLICA IDENTITY FULL a large value that an update does not touch is not in its event. The value is
the one that the key's row had before.

Invariants
- What goes into the changelog is the whole row: the old value stands in the place of the one not sent.
- A row whose old value is nowhere (its table was filled without a snapshot; its key was changed) is a dead
  letter, never a row with a hole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from cdc_platform.core import columns
from cdc_platform.core.columns import KEY, OFFSET, PARTITION
from cdc_platform.core.model import Handle
from cdc_platform.replicate.recompute import last_rows
from cdc_platform.replicate.replica import Replica

_PLACE: Final = [PARTITION, OFFSET]
REASON: Final = "its source did not send {}, as the change left it alone, and no earlier row has it"
REMEDY: Final = (
    "ALTER TABLE … REPLICA IDENTITY FULL in PostgreSQL, which cdc connector apply does for tables that its "
    "user owns; then take a new snapshot of the table, and discard the letter"
)


@dataclass(frozen=True, slots=True)
class Filled:
    """``rows``: whole. ``lost``: PARTITION, OFFSET and reason of those that cannot be."""

    rows: pl.DataFrame
    lost: pl.DataFrame


def fill_unsent(replica: Replica, handle: Handle, rows: pl.DataFrame, unsent: pl.DataFrame) -> Filled:
    """``unsent``: as decoded, of these rows and others."""
    marks = rows.select(_PLACE).join(unsent, on=_PLACE, how="semi") if unsent.height else unsent
    if marks.is_empty():
        return Filled(rows, pl.DataFrame(schema={**rows.select(_PLACE).schema, "reason": pl.String}))
    fields = [name for name in unsent.columns if name not in _PLACE]
    keys = rows.join(marks, on=_PLACE, how="semi")[KEY].unique()
    emptied = replica.truncations.newest(replica.changelog, handle, handle.offsets)
    before = last_rows(replica.changelog, handle, keys, handle.offsets, emptied)
    known = pl.concat(
        [
            before.select(KEY, *_PLACE, *(name for name in fields if name in before.columns)),
            rows.filter(pl.col(KEY).is_in(keys.implode())).select(KEY, *_PLACE, *fields),
        ],
        how="diagonal",
    )
    marked = known.join(unsent, on=_PLACE, how="left", suffix=" unsent").sort(_PLACE)
    found = marked.select(*_PLACE, *(_carried(name) for name in fields))
    return _put(rows, found, unsent, fields)


def _carried(name: str) -> pl.Expr:
    """The last value sent, in a struct: null only if none was."""
    missing = pl.col(f"{name} unsent").fill_null(value=False)
    return pl.when(~missing).then(pl.struct(pl.col(name).alias("v"))).forward_fill().over(KEY).alias(name)


def _put(rows: pl.DataFrame, found: pl.DataFrame, unsent: pl.DataFrame, fields: list[str]) -> Filled:
    joined = rows.select(_PLACE).join(found, on=_PLACE, how="left", maintain_order="left")
    flags = rows.select(_PLACE).join(unsent, on=_PLACE, how="left", maintain_order="left")
    columns_now, holes = [], []
    for name in fields:
        flag = flags[name].fill_null(value=False)
        value = joined[name].struct.field("v").alias(name)
        columns_now.append(value.zip_with(flag, rows[name]) if flag.any() else rows[name])
        holes.append((flag & joined[name].is_null()).alias(name))
    whole = rows.with_columns(columns_now)
    lacking = pl.concat_list(
        [pl.when(pl.col(name)).then(pl.lit(name)) for name in fields],
    ).list.drop_nulls()
    lost = pl.DataFrame(holes).select(lacking.alias("fields"))["fields"]
    bad = rows.select(_PLACE).with_columns(lost).filter(pl.col("fields").list.len() > 0)
    reasons = bad.select(*_PLACE, pl.format(REASON, pl.col("fields").list.join(", ")).alias("reason"))
    return Filled(whole.join(reasons, on=_PLACE, how="anti", maintain_order="left"), reasons)


def letters_of(lost: pl.DataFrame, records: pl.DataFrame, topic: str) -> pl.DataFrame:
    """Dead letters of rows that cannot be whole. ``records``: in RECORD_SCHEMA."""
    places = {"partition": PARTITION, "offset": OFFSET}
    found = records.rename(places).join(lost, on=_PLACE)
    return found.select(
        pl.lit(topic).alias(columns.TOPIC),
        *_PLACE,
        "timestamp_ms",
        "key",
        "value",
        "reason",
        pl.lit(REMEDY).alias("remedy"),
    )
