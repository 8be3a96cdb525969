"""Keeping Delta tables fit: many small files become few, and files that nothing refers to any more go.

Invariant: no row and no offset changes. Delta's transaction identifiers survive both, and a writer that loses
the race with a compaction opens the table again and commits once more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.fs import DeltaStorageHandler
from pyarrow.fs import FileSelector, PyFileSystem

from cdc_platform.core.errors import Conflict, Transient
from cdc_platform.core.model import Compacted
from cdc_platform.core.sizes import FILE_BYTES, FILE_MEMORY_BYTES, LARGE_ROW_BYTES
from cdc_platform.lake.delta.files import Files, files_of
from cdc_platform.lake.store import Place, delta_options

RETENTION_HOURS = 168
"""Files of older versions stay that long, for readers and for time travel."""


LOG_HOURS = 30 * 24
"""Commits stay that long in the log, by Delta's own default (``delta.logRetentionDuration``)."""


def compact(place: Place) -> Compacted:
    """Make few large files of many small ones; those of large rows (LARGE_ROW_BYTES) stay as they are.

    Raises Conflict if a writer was in the way, Transient if the table cannot be read or written.
    """
    with _named(place):
        table = DeltaTable(str(place), storage_options=delta_options(place))
        files = files_of(table, place)
        if target := _target(files):
            table.optimize.compact(target_size=target)
        return Compacted(files.actions.height, len(table.file_uris()))


def _target(files: Files) -> int:
    """Bytes of a file on disk, by how much larger the rows are in memory; 0 for large rows."""
    in_memory, on_disk = files.memory_bytes(), int(files.actions["size_bytes"].sum())
    if in_memory >= LARGE_ROW_BYTES * max(1, files.rows):
        return 0
    return min(FILE_BYTES, FILE_MEMORY_BYTES * on_disk // max(1, in_memory))


def vacuum(place: Place, retention_hours: int = RETENTION_HOURS) -> int:
    """Remove files that no version of the last ``retention_hours`` refers to; returns how many.

    Files of writers that were killed before their commit go as well, once they are that old: younger ones may
    belong to a commit that is under way. The log loses commits of more than LOG_HOURS ago that a checkpoint
    holds the outcome of; with one commit a second it would have millions of files. Raises as ``compact``.
    """
    with _named(place):
        table = DeltaTable(str(place), storage_options=delta_options(place))
        held = _files(place)
        table.vacuum(retention_hours, dry_run=False, enforce_retention_duration=False, full=True)
        if retention_hours <= LOG_HOURS:
            table.cleanup_metadata()
        # What it says it removed are also files that are long gone, as long as the log remembers them.
        return len(held - _files(place))


def _files(place: Place) -> set[str]:
    """All there are, but for the log's."""
    store = PyFileSystem(DeltaStorageHandler(str(place), delta_options(place)))
    found = store.get_file_info(FileSelector("", recursive=True))
    return {each.path for each in found if each.is_file and not each.path.startswith("_delta_log")}


@contextmanager
def _named(place: Place) -> Iterator[None]:
    """Delta's errors as the platform's."""
    try:
        yield
    except CommitFailedError as error:
        raise Conflict(f"a writer committed meanwhile ({error})", where=str(place)) from error
    except (DeltaError, OSError) as error:
        raise Transient(
            f"the table could not be kept up: {error}",
            where=str(place),
            remedy="check the disk's space, or the store; the table is whole, the next upkeep tries again",
        ) from error
