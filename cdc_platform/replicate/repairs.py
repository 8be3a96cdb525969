"""Deletes that the platform itself wrote into a topic, for rows that their source has no more.

Invariant: a repair deletes the very row that was found without a source, never a later one. It names that
row's offset; if the key has any row between that and the repair itself, the repair is void: it counts as
superseded.
"""

from __future__ import annotations

import polars as pl

from cdc_platform.core.columns import KEY, OFFSET, PARTITION
from cdc_platform.core.model import Handle
from cdc_platform.core.offsets import Range
from cdc_platform.core.ports import LakeTable
from cdc_platform.decode.envelope import REPAIRS


def without_void(
    rows: pl.DataFrame, repairs: pl.DataFrame, changelog: LakeTable, handle: Handle
) -> pl.DataFrame:
    """The rows without repairs that come too late. ``repairs``: those among ``rows``, as decoded."""
    if repairs.is_empty():
        return rows
    since = repairs.group_by(PARTITION).agg(pl.col(REPAIRS).min()).iter_rows()
    ranges = {p: Range(first + 1, max(first + 1, handle.offsets.get(p, 0))) for p, first in since}
    places = [KEY, PARTITION, OFFSET]
    keys = repairs.lazy().select(KEY).unique()
    committed = changelog.read(handle, ranges).select(places).join(keys, on=KEY, how="semi").collect()
    known = pl.concat([committed, rows.select(places)])
    later = repairs.join(known, on=[KEY, PARTITION], suffix="_later").filter(
        (pl.col(f"{OFFSET}_later") > pl.col(REPAIRS)) & (pl.col(f"{OFFSET}_later") < pl.col(OFFSET))
    )
    return rows.join(later.select(PARTITION, OFFSET).unique(), on=[PARTITION, OFFSET], how="anti")
