"""Keeping Iceberg tables fit: many small files become few, old snapshots go, and with them what only they
need.

Invariants
- No row and no offset changes. Offsets are a property of the table, which a snapshot without them leaves
  alone.
- A file is removed only if no snapshot that is left refers to it, by the metadata as it is afterwards, and by
  whatever name: a catalog may call its files otherwise than a store lists them. Of files that no metadata
  names only old ones are removed: younger ones may belong to a commit that is under way.
- pyiceberg 0.12 forgets snapshots and leaves all their files behind: removing those is done here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import pyarrow as pa
from pyarrow.fs import FileSelector, FileType
from pyiceberg.catalog import Catalog
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update import AssertTableUUID, RemoveSnapshotsUpdate

from cdc_platform.core.errors import Conflict
from cdc_platform.core.model import Compacted
from cdc_platform.core.sizes import FILE_BYTES, FILE_MEMORY_BYTES, LARGE_ROW_BYTES
from cdc_platform.lake.iceberg.failures import OVERTAKEN, answering
from cdc_platform.lake.iceberg.files import kept, memory_bytes, written

Identifier = tuple[str, ...]

COMPACTION: Final = {"cdc.upkeep": "compaction"}
"""In the summary of a compaction's snapshot: it is the platform's, and changes no row."""

_TRIES: Final = 20
"""Times that a compaction's commit is tried beside writers that commit all the time."""


@dataclass(frozen=True, slots=True)
class _Group:
    """Files of the table, and the new ones with their rows: one, if the rows are of one partition."""

    few: list[DataFile]
    one: list[DataFile]


def compact(catalog: Catalog, identifier: Identifier) -> Compacted:
    """Make few large files of many small ones, partition by partition; files of large rows stay as they are.

    Raises Conflict if a writer was in the way, Transient if catalog or store do not answer.
    """
    with _answering(identifier):
        table = catalog.load_table(identifier)
        files = [task.file for task in table.scan().plan_files() if not task.delete_files]
        made = [_put_together(table, group) for group in _groups(table, files)]
        done = _exchanged(catalog, identifier, made) if made else []
        return Compacted(len(files), len(files) - sum(len(each.few) - len(each.one) for each in done))


def expire(catalog: Catalog, identifier: Identifier, before: datetime) -> int:
    """Forget snapshots that another one had followed before that time, and remove the files that only they
    refer to; returns how many. Raises as ``compact``.

    The one that was the newest at that time stays: a reader may have begun with it since.
    """
    with _answering(identifier):
        table = catalog.load_table(identifier)
        return _forget(catalog, table, _followed(table.metadata, before))


def _forget(catalog: Catalog, table: Table, old: Sequence[Snapshot]) -> int:
    if not old:
        return 0
    # pyiceberg's own expire_snapshots() copies all of the metadata twice for each snapshot it is told of.
    update = RemoveSnapshotsUpdate.model_validate({"snapshot-ids": [each.snapshot_id for each in old]})
    catalog.commit_table(table, (AssertTableUUID(uuid=table.metadata.table_uuid),), (update,))
    known = _referred(old, table.io)
    left = catalog.load_table(table.name())
    needed = _referred(left.metadata.snapshots, left.io)
    gone = sorted(path for file, path in known.items() if file not in needed)
    for path in gone:
        left.io.delete(path)
    return len(gone)


def remove_orphans(catalog: Catalog, identifier: Identifier, before: datetime) -> int:
    """Remove files of the table's folder that are older and that no metadata names, as killed writers leave
    them; returns how many. Raises as ``compact``."""
    with _answering(identifier):
        table = catalog.load_table(identifier)
        found = list(_files_of(table, before))
        # Looked at after the files: a commit in between names files that are there already.
        table = catalog.load_table(identifier)
        named = _referred(table.metadata.snapshots, table.io) | {_file(path): path for path in _own(table)}
        orphans = [path for path in found if _file(path) not in named]
        for path in orphans:
            table.io.delete(path)
        return len(orphans)


def _put_together(table: Table, files: list[DataFile]) -> _Group:
    metadata = table.metadata
    rows = pa.concat_tables([kept(table, metadata, file) for file in files])
    return _Group(files, list(written(metadata, table.io, rows)))


def _exchanged(catalog: Catalog, identifier: Identifier, groups: list[_Group]) -> list[_Group]:
    """Commit the groups whose files all are in the table still, and give these.

    The rows are in their new files by then, so that a commit is short: writers that commit every second leave
    room for it. A commit that another one overtook is made again, on top of that. New files that become
    nobody's stay until they are old: whether a commit that was refused was not made after all is not known.
    """
    for tried in range(1, _TRIES + 1):
        table = catalog.load_table(identifier)
        there = {task.file.file_path for task in table.scan().plan_files() if not task.delete_files}
        whole = [each for each in groups if there.issuperset(file.file_path for file in each.few)]
        if not whole:
            break
        try:
            _exchange(table, whole)
            return whole
        except OVERTAKEN:
            if tried == _TRIES:
                raise
    raise Conflict("writers have replaced the files meanwhile", where=".".join(identifier))


def _exchange(table: Table, groups: Sequence[_Group]) -> None:
    with (
        table.transaction() as transaction,
        transaction.update_snapshot(snapshot_properties=COMPACTION).overwrite() as snapshot,
    ):
        for group in groups:
            for file in group.few:
                snapshot.delete_data_file(file)
            for file in group.one:
                snapshot.append_data_file(file)


def _groups(table: Table, files: Sequence[DataFile]) -> Iterator[list[DataFile]]:
    """Small files of one partition whose rows make a file of a good size."""
    by_partition: dict[str, list[DataFile]] = {}
    for file in files:
        if file.file_size_in_bytes < FILE_BYTES // 2:
            by_partition.setdefault(f"{file.spec_id} {file.partition!r}", []).append(file)
    for small in by_partition.values():
        group: list[DataFile] = []
        on_disk = in_memory = 0
        for file in small:
            size = memory_bytes(table, file)
            if size >= LARGE_ROW_BYTES * max(1, file.record_count):
                continue
            if on_disk + file.file_size_in_bytes > FILE_BYTES or in_memory + size > FILE_MEMORY_BYTES:
                if len(group) > 1:
                    yield group
                group, on_disk, in_memory = [], 0, 0
            group.append(file)
            on_disk += file.file_size_in_bytes
            in_memory += size
        if len(group) > 1:
            yield group


def _followed(metadata: TableMetadata, before: datetime) -> list[Snapshot]:
    """Snapshots that were not the newest any more at that time; those that a branch or a tag names stay."""
    named = {ref.snapshot_id for ref in metadata.refs.values()}
    next_at = {each.parent_snapshot_id: each.timestamp_ms for each in metadata.snapshots}
    limit = before.timestamp() * 1000
    return [
        each
        for each in metadata.snapshots
        if next_at.get(each.snapshot_id, each.timestamp_ms) < limit and each.snapshot_id not in named
    ]


def _referred(snapshots: Iterable[Snapshot], io: FileIO) -> dict[str, str]:
    """Manifest lists, manifests and data files of the snapshots: what each is, and how it is called there."""
    found: dict[str, str] = {}
    for snapshot in snapshots:
        found[_file(snapshot.manifest_list)] = snapshot.manifest_list
        for manifest in snapshot.manifests(io):
            if (file := _file(manifest.manifest_path)) in found:
                continue
            found[file] = manifest.manifest_path
            for entry in manifest.fetch_manifest_entry(io):
                found[_file(entry.data_file.file_path)] = entry.data_file.file_path
    return found


def _file(path: str) -> str:
    """The file itself, however it is called: who speaks Java says ``file:/a`` for ``file:///a``, and ``s3a``
    for ``s3``."""
    return "/" + PyArrowFileIO.parse_location(path)[2].lstrip("/")


def _own(table: Table) -> Iterable[str]:
    """The metadata's own files."""
    yield table.metadata_location
    yield from (each.metadata_file for each in table.metadata.metadata_log)
    yield from (each.statistics_path for each in table.metadata.statistics)
    yield from (each.statistics_path for each in table.metadata.partition_statistics)


def _files_of(table: Table, before: datetime) -> Iterator[str]:
    assert isinstance(table.io, PyArrowFileIO)
    location = table.location()
    scheme, netloc, path = PyArrowFileIO.parse_location(location)
    store = table.io.fs_by_scheme(scheme, netloc)
    for each in store.get_file_info(FileSelector(path, recursive=True)):
        if each.type is FileType.File and each.mtime < before:
            yield location + each.path.removeprefix(path)


def _answering(identifier: Identifier) -> AbstractContextManager[None]:
    return answering(
        "could not be kept up",
        ".".join(identifier),
        "check the catalog and the store; the table is whole, the next upkeep tries again",
    )
