"""How much of its past an Iceberg table remembers.

Every commit reads and writes the table's metadata, with all its snapshots: about 0.1 ms and 700 bytes for
each (pyiceberg 0.12). A table that gets a commit a second would have 600,000 of them in a week.

Invariants
- Some newest snapshots stay, and of those before them the last of each hour. A commit that finds as many
  others forgets them, so that a commit costs the same however long the table has been written.
- The newest snapshot is never forgotten, nor one that has a name, nor one that rebuilt the table: those who
  follow its changes learn from it that they have to begin anew. Rows and offsets do not change.
- Files are not removed here: those that no snapshot needs any more go with the next clean-up, once they are
  old (``upkeep.remove_orphans``), so that a reader who has begun with one can end.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

from pyiceberg.catalog import Catalog
from pyiceberg.table import CommitTableResponse, Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update import RemoveSnapshotsUpdate, TableRequirement, TableUpdate

from cdc_platform.core.history import REBUILT
from cdc_platform.core.model import Contents, Kind

REMEMBERED: Final[Mapping[Contents, int]] = {
    Kind.CHANGELOG: 300,
    Kind.CURRENT: 1_000,
    "dead_letters": 100,
    "schemas": 100,
}
"""Newest snapshots that stay, at least: five minutes of a changelog that gets one a second, three hours of a
current table that gets one every 10 s. Of a changelog no more is needed: its rows tell when they came."""

APART_MS: Final = 3_600_000
"""Milliseconds of which one snapshot stays of those before them: a week has 168."""


@dataclass(frozen=True, slots=True)
class Forgetting:
    """In place of a table's catalog: a commit forgets these snapshots, too.

    Not by the transaction's own means: what it is prepared with has no past (``table._without_past``), and it
    would copy the metadata twice for each.
    """

    catalog: Catalog
    snapshots: tuple[int, ...]

    def commit_table(
        self, table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]
    ) -> CommitTableResponse:
        """As the catalog's."""
        old = RemoveSnapshotsUpdate.model_validate({"snapshot-ids": self.snapshots})
        return self.catalog.commit_table(table, requirements, (*updates, old))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.catalog, name)


@contextmanager
def forgetting(table: Table, base: TableMetadata, remembered: int) -> Iterator[None]:
    """Within it a commit of the table forgets what is past the bound. ``base``: all of its metadata."""
    catalog = table.catalog
    if old := forgotten(base, remembered):
        table.catalog = cast(Catalog, Forgetting(catalog, old))
    try:
        yield
    finally:
        table.catalog = catalog


def forgotten(metadata: TableMetadata, remembered: int) -> tuple[int, ...]:
    """The snapshots that the next commit forgets; none until they are as many as are remembered."""
    named = {ref.snapshot_id for ref in metadata.refs.values()}
    aged = sorted(metadata.snapshots, key=lambda each: each.sequence_number or 0)[:-remembered]
    last = {each.timestamp_ms // APART_MS: each.snapshot_id for each in aged}
    rebuilt = (each.snapshot_id for each in aged if _rebuilt(each))
    kept = named.union(last.values(), rebuilt)
    old = tuple(each.snapshot_id for each in aged if each.snapshot_id not in kept)
    return old if len(old) >= remembered else ()


def _rebuilt(snapshot: Snapshot) -> bool:
    return snapshot.summary is not None and REBUILT in snapshot.summary.additional_properties


def without_past(table: Table) -> Table:
    """The table with its newest snapshot alone, and those that have names.

    pyiceberg 0.12 copies the metadata some twenty times for a commit, with all snapshots in it. The catalog
    puts the commit on top of its own metadata, which has them all.
    """
    metadata = table.metadata
    needed = {ref.snapshot_id for ref in metadata.refs.values()}
    snapshots = [each for each in metadata.snapshots if each.snapshot_id in needed]
    less = {"snapshots": snapshots, "snapshot_log": []}
    moving = copy.copy(table)
    moving.metadata = metadata.model_copy(update=less)
    return moving
