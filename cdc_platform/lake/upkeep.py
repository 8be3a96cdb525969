"""Keeping Delta tables fit: many small files become few, and files that nothing refers to any more go.

Invariant: no row and no offset changes. Delta's transaction identifiers survive both, and a writer that loses
the race with a compaction opens the table again and commits once more.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError

from cdc_platform.core.errors import Conflict, Transient

FILE_BYTES = 64 * 2**20
"""Size compaction aims at: a merge rewrites whole files, so larger ones make merging dearer."""

RETENTION_HOURS = 168
"""Files of older versions stay that long, for readers and for time travel."""


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What was done to one table: files before and after compaction, and files removed from disk."""

    uri: str
    files_before: int
    files_after: int
    removed: int


def tidy(path: Path, retention_hours: int = RETENTION_HOURS) -> Upkeep:
    """Compact a table and remove files that no version of the last ``retention_hours`` refers to.

    Raises Conflict if a writer was in the way, Transient if the table cannot be read or written.
    """
    try:
        table = DeltaTable(str(path))
        before = len(table.file_uris())
        table.optimize.compact(target_size=FILE_BYTES)
        removed = table.vacuum(retention_hours, dry_run=False, enforce_retention_duration=False)
        return Upkeep(str(path), before, len(table.file_uris()), len(removed))
    except CommitFailedError as error:
        raise Conflict(f"a writer committed during the compaction ({error})", where=str(path)) from error
    except (DeltaError, OSError) as error:
        raise Transient(
            f"the table could not be compacted: {error}",
            where=str(path),
            remedy="check the disk's space; the table is whole, compaction is tried again at the next upkeep",
        ) from error
