"""The last change of some keys, looked up in the whole changelog.

What a merge of the newest changes cannot know: a key's changes in two partitions, and rows put into the
changelog at offsets that are merged already.
"""

from __future__ import annotations

import polars as pl

from cdc_platform.core.columns import KEY, OFFSET, PARTITION
from cdc_platform.core.logical import unstored
from cdc_platform.core.model import Handle
from cdc_platform.core.offsets import Offsets, Range
from cdc_platform.core.ports import LakeTable
from cdc_platform.decode.fold import newest
from cdc_platform.replicate.truncation import Emptied, standing


def last_rows(
    changelog: LakeTable, handle: Handle, keys: pl.Series, ends: Offsets, emptied: Emptied | None
) -> pl.DataFrame:
    """The whole last row of each key below ``ends``, by logical types. Holds these and the keys' offsets.
    ``emptied``: the newest truncation below them."""
    history = changelog.read(handle, {partition: Range(0, end) for partition, end in ends.items()})
    places = last_places(standing(history, emptied), keys)
    if places.is_empty():
        return unstored(history.clear().collect(), handle.logical)
    rows = history.join(places.lazy(), on=[PARTITION, OFFSET], how="semi").collect()
    return unstored(rows, handle.logical)


def last_places(history: pl.LazyFrame, keys: pl.Series) -> pl.DataFrame:
    """KEY, PARTITION and OFFSET of each key's last row in the history. A key that has none is left out."""
    wanted = pl.LazyFrame({KEY: keys.unique()})
    return newest(history.join(wanted, on=KEY, how="semi")).collect()
