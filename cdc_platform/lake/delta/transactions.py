"""Where a Delta table stands, in the transaction identifiers (``txn``) of its commits.

Each partition of the very topic has two: its offset, and the highest position of its source. They are those
of the version that a commit is made against, and Delta refuses that commit if another one came since.

Invariant: each commit carries all of them, also those that do not move, and says so (STANDING). So one file
of the log tells where a table stands: the newest that was written here. deltalake itself reads, for each
identifier, all commits since the last checkpoint; that is the way only where no commit says so. Such a way
needs a word for a partition that has no offset any more, as no identifier can be taken back: _NONE.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Final

import orjson
from deltalake import DeltaTable, Transaction

from cdc_platform.core.offsets import Offsets, Positions, Ranges, Stream, ends_of
from cdc_platform.core.reservation import Reservation, reservation_of
from cdc_platform.lake.store import Place, read

STANDING: Final = "cdc.standing"
"""Key of a commit's metadata: the stream all of whose offsets and positions the commit carries."""

_NONE: Final = -1
"""Of an identifier whose partition has no offset, or no position, since the table's rows were exchanged."""

_LOOK_BACK: Final = 4
"""Commits looked into: the newest may be a compaction's or a vacuum's, which carry none."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Of the partitions that have an offset, the offset and the position, if any; and what the newest commit
    asks of other writers."""

    offsets: Offsets
    positions: Positions
    reservation: Reservation | None = None

    def moved(self, advance: Ranges, positions: Positions) -> Standing:
        return Standing({**self.offsets, **ends_of(advance)}, {**self.positions, **positions})

    def transactions(self, stream: Stream) -> list[Transaction]:
        """What the commit carries that brings a table here."""
        return [
            *(Transaction(stream.app_id(p), offset) for p, offset in sorted(self.offsets.items())),
            *(Transaction(stream.position_id(p), each) for p, each in sorted(self.positions.items())),
        ]

    def given_up(self, stream: Stream, now: Standing) -> list[Transaction]:
        """What a commit carries besides that leaves behind what is not in ``now``."""
        return [
            *(Transaction(stream.app_id(p), _NONE) for p in sorted(self.offsets.keys() - now.offsets.keys())),
            *(
                Transaction(stream.position_id(p), _NONE)
                for p in sorted(self.positions.keys() - now.positions.keys())
            ),
        ]


def standing(table: DeltaTable, place: Place, stream: Stream) -> Standing:
    """At the version that ``table`` is open at."""
    newest = table.version()
    for version in range(newest, max(-1, newest - _LOOK_BACK), -1):
        try:
            text = read(place / "_delta_log" / f"{version:020}.json")
        except FileNotFoundError:
            break
        actions = [orjson.loads(line) for line in text.splitlines() if line.startswith(_TELLING)]
        told = {name: value for action in actions for name, value in action.get("commitInfo", {}).items()}
        if told.get(STANDING) == stream.identity:
            found = _told(stream, [action["txn"] for action in actions if "txn" in action])
            return replace(found, reservation=reservation_of(told)) if version == newest else found
    offsets = _offsets(table, stream)
    return Standing(offsets, _positions(table, stream, offsets))


_TELLING: Final = (b'{"txn"', b'{"commitInfo"')


def _told(stream: Stream, identifiers: list[Mapping[str, Any]]) -> Standing:
    named = re.compile(rf"{re.escape(stream.app_id(0).removesuffix('0'))}(\d+)(/position)?")
    offsets: dict[int, int] = {}
    positions: dict[int, int] = {}
    for each in identifiers:
        if (found := named.fullmatch(each["appId"])) and each["version"] != _NONE:
            (positions if found[2] else offsets)[int(found[1])] = int(each["version"])
    return Standing(offsets, positions)


def _offsets(table: DeltaTable, stream: Stream) -> dict[int, int]:
    """Those of the stream's partitions; and of later ones, if a writer has been here that knew the topic with
    more: such a writer gives all of them an offset at once."""
    offsets = {}
    for partition in count():
        offset = table.transaction_version(stream.app_id(partition))
        if offset is not None and offset != _NONE:
            offsets[partition] = offset
        elif offset is None and partition >= stream.partitions:
            break
    return offsets


def _positions(table: DeltaTable, stream: Stream, offsets: Offsets) -> dict[int, int]:
    """Of the partitions that have an offset."""
    told = {p: table.transaction_version(stream.position_id(p)) for p in offsets}
    return {p: position for p, position in told.items() if position not in (None, _NONE)}
