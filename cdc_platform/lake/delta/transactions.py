"""Where a Delta table stands, in the transaction identifiers (``txn``) of its commits.

Each partition of the very topic has two: its offset, and the highest position of its source. They are read
from the table that a commit is made with, and Delta refuses that commit if one of them moved since.
"""

from __future__ import annotations

from itertools import count

from deltalake import DeltaTable, Transaction

from cdc_platform.core.offsets import Offsets, Positions, Ranges, Stream, ends_of


def offsets_of(table: DeltaTable, stream: Stream) -> dict[int, int]:
    """Those of the stream's partitions; and of later ones, if a writer has been here that knew the topic with
    more: such a writer gives all of them an offset at once."""
    offsets = {}
    for partition in count():
        offset = table.transaction_version(stream.app_id(partition))
        if offset is not None:
            offsets[partition] = offset
        elif partition >= stream.partitions:
            break
    return offsets


def positions_of(table: DeltaTable, stream: Stream, offsets: Offsets) -> dict[int, int]:
    """Of the partitions that have an offset."""
    told = {p: table.transaction_version(stream.position_id(p)) for p in offsets}
    return {p: position for p, position in told.items() if position is not None}


def transactions(stream: Stream, advance: Ranges, positions: Positions) -> list[Transaction]:
    """What a commit carries that moves both."""
    return [
        *(Transaction(stream.app_id(p), end) for p, end in sorted(ends_of(advance).items())),
        *(Transaction(stream.position_id(p), position) for p, position in sorted(positions.items())),
    ]
