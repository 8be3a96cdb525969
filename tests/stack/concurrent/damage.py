"""Damage to one row of a current table, as a defect of a writer would do it, and its undoing.

Invariant: the damage is in the table's own data, under its own offsets, and nothing else tells of it. A proof
that passes over it would have been a false pass.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import polars as pl

from cdc_platform.core.columns import DELETE, KEY, OPERATION
from cdc_platform.core.offsets import Stream
from cdc_platform.core.ports import StoredTable
from cdc_platform.verify.verdict import Kind as Wrong


class Damage(StrEnum):
    LOST = "row lost"
    DOUBLED = "row doubled"
    CHANGED = "number changed"
    NULLED = "null in place of a value"
    CUT = "text cut"
    SWAPPED = "columns swapped"
    STALE = "an earlier row of the key"
    RESURRECTED = "deleted row back"
    INVENTED = "row of a key that never was"


NAMED_AS: Mapping[Damage, Wrong] = {
    Damage.LOST: Wrong.MISSING,
    Damage.DOUBLED: Wrong.EXTRA,
    Damage.CHANGED: Wrong.DIFFERENT,
    Damage.NULLED: Wrong.DIFFERENT,
    Damage.CUT: Wrong.DIFFERENT,
    Damage.SWAPPED: Wrong.DIFFERENT,
    Damage.STALE: Wrong.DIFFERENT,
    Damage.RESURRECTED: Wrong.EXTRA,
    Damage.INVENTED: Wrong.EXTRA,
}


@dataclass(frozen=True, slots=True)
class Damaged:
    """``key``: the one that a proof has to name. ``rows``: what the table held of it before."""

    damage: Damage
    key: str
    table: StoredTable
    stream: Stream
    rows: pl.DataFrame

    def mend(self) -> None:
        _hold(self.table, self.stream, self.key, self.rows)


def damage(
    how: Damage,
    chance: random.Random,
    stream: Stream,
    tables: tuple[StoredTable, StoredTable],
    mine: pl.Expr,
    key_columns: Sequence[str],
) -> Damaged | None:
    """Damage one row that ``mine`` is true of; None if there is no row for such a damage.

    ``tables``: the changelog, and the current table, which is damaged.
    """
    changelog, current = tables
    held = current.rows().filter(mine).sort(KEY).collect()
    past = changelog.rows().filter(mine).sort("_kafka_partition", "_kafka_offset").collect()
    found = _spoiled(how, chance, held, past.select(held.columns), key_columns)
    if found is None:
        return None
    key, rows = found
    damaged = Damaged(how, key, current, stream, held.filter(pl.col(KEY) == key))
    _hold(current, stream, key, rows)
    return damaged


def _spoiled(
    how: Damage, chance: random.Random, held: pl.DataFrame, past: pl.DataFrame, key_columns: Sequence[str]
) -> tuple[str, pl.DataFrame] | None:
    """A key, and the rows that the table will hold of it."""
    match how:
        case Damage.RESURRECTED:
            gone = past.filter(~pl.col(KEY).is_in(held[KEY].implode()), pl.col(OPERATION) != DELETE)
            return _one(gone, chance)
        case Damage.STALE:
            earlier = past.join(held, on=KEY, how="semi").filter(pl.col(OPERATION) != DELETE)
            earlier = earlier.join(held.select(KEY, "n"), on=KEY, suffix="_held")
            return _one(earlier.filter(pl.col("n") != pl.col("n_held")).drop("n_held"), chance)
    if (found := _one(held.filter(pl.col("note").is_not_null()), chance)) is None:
        return None
    key, row = found
    match how:
        case Damage.LOST:
            return key, row.clear()
        case Damage.DOUBLED:
            return key, pl.concat([row, row])
        case Damage.CHANGED:
            return key, row.with_columns(pl.col("n") + chance.choice([-1, 1, 2**40]))
        case Damage.NULLED:
            return key, row.with_columns(note=pl.lit(None, dtype=pl.String))
        case Damage.CUT:
            return key, row.with_columns(pl.col("note").str.head(-1))
        case Damage.SWAPPED:
            return key, row.with_columns(note=pl.col("status"), status=pl.col("note"))
        case Damage.INVENTED:
            number = key_columns[-1]
            never = int(row[number].item()) + 700_000_000
            before, _, behind = key.rpartition(str(row[number].item()))
            other = f"{before}{never}{behind}"
            return other, row.with_columns(
                pl.lit(never, row.schema[number]).alias(number), pl.lit(other).alias(KEY)
            )
    return None


def _one(rows: pl.DataFrame, chance: random.Random) -> tuple[str, pl.DataFrame] | None:
    if rows.is_empty():
        return None
    row = rows[chance.randrange(rows.height)]
    return row[KEY].item(), row


def _hold(table: StoredTable, stream: Stream, key: str, rows: pl.DataFrame) -> None:
    """The table holds these rows of the key, and its offsets stay where they are."""
    gone = pl.DataFrame({KEY: [key], OPERATION: [DELETE]})
    handle = table.open(stream)
    blank = pl.DataFrame(schema=handle.logical)
    handle = table.merge(handle, pl.concat([blank, gone], how="diagonal"), {}, {})
    if not rows.is_empty():
        table.append(handle, rows, {}, {})
