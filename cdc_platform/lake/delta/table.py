"""A lake table in Delta.

Invariants (measured on deltalake 1.6; the contract suite pins them)
- Offsets are Delta transaction identifiers, one per partition of the very topic, and are read from the same
  handle the commit is made with. Delta refuses that commit only if the other writer's came after the handle's
  snapshot, so a handle that is re-opened between reading the offsets and writing would double rows.
- ``max_commit_retries=0``: a commit that is re-based on a newer version has not seen its offsets.
- A merge that changes no row makes no commit, so its offsets would not be recorded; an empty append on the
  same handle records them.
- A merge that evolves the schema (``merge_schema=True``) forgets the table's description and shuffles its
  columns, so new columns come first, with an append of no rows; a crash in between leaves columns of nulls
  and old offsets.
- ``streamed_exec=False``: with the streaming executor the target is not pruned by the source's keys.
- The batch fits the table before it gets here: deltalake stores 1.5 as 1 in an integer column, silently.
- The metadata columns come first: Delta keeps statistics for the first 32 columns only, and ``read`` prunes
  files by their offsets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from cdc_platform.core.columns import DEAD_LETTERS, DELETE, KEY, METADATA, OPERATION
from cdc_platform.core.errors import Conflict, StreamReplaced, Terminal, Transient
from cdc_platform.core.logical import stored
from cdc_platform.core.model import Contents, Handle, Kind
from cdc_platform.core.offsets import NOWHERE, RANGES, Positions, Ranges, Stream, describe, parse
from cdc_platform.lake.delta.files import Files, files_of, schema_of
from cdc_platform.lake.delta.marks import logical
from cdc_platform.lake.delta.owner import description, filled_by
from cdc_platform.lake.delta.transactions import offsets_of, positions_of, transactions
from cdc_platform.lake.identity import stream_of
from cdc_platform.lake.selection import within

OPERATION_COLUMN = f"s.`{OPERATION}`"


class DeltaLakeTable:
    """One Delta table on local disk. Keeps no state: threads may share it, but not a handle."""

    def __init__(self, path: Path, kind: Contents, partition_by: Sequence[str] = ()) -> None:
        """``partition_by``: columns of METADATA, outermost first, to partition a table by that is made; one
        that is there must be partitioned so already.
        """
        self._path = path
        self._kind = kind
        self._partition_by = list(partition_by)

    @property
    def uri(self) -> str:
        return str(self._path)

    def exists(self) -> bool:
        return DeltaTable.is_deltatable(self.uri)

    def open(self, stream: Stream) -> Handle:
        try:
            table = DeltaTable(self.uri)
        except TableNotFoundError:
            table = self._create(stream)
        except (DeltaError, OSError) as error:
            raise self._unavailable("could not be read", error) from error
        owner = table.metadata().description
        filled = filled_by(owner)
        if filled is None or filled.identity != stream.identity:
            raise StreamReplaced(
                f"the table was filled from '{owner}', not from '{description(stream)}'",
                where=self.uri,
                remedy="the topic or the cluster was re-created, or the folder is of something else: take "
                "a new snapshot into a new table",
            )
        if (found := table.metadata().partition_columns) != self._partition_by:
            raise self._partitioned_otherwise(found)
        return self._handle(table, stream)

    def snapshot(self) -> tuple[Handle, int]:
        """The newest version, whatever topic fills it, and the number of its rows, by the log."""
        try:
            table = DeltaTable(self.uri)
        except TableNotFoundError as error:
            raise Terminal("there is no such Delta table", where=self.uri) from error
        except (DeltaError, OSError) as error:
            raise self._unavailable("could not be read", error) from error
        handle = self._handle(table, filled_by(table.metadata().description) or stream_of("", 0))
        return handle, self._opened(handle).files.rows

    def rows(self) -> pl.LazyFrame:
        """All rows of the newest version."""
        return files_of(DeltaTable(self.uri), self.uri).scan()

    def commits(self) -> pl.DataFrame:
        """When each offset range was committed: committed_at, and partition, start, end of the range.

        From the commits' own metadata, so it goes back as far as the table's log does.
        """
        rows = [
            (entry["timestamp"], partition, covered.start, covered.end)
            for entry in DeltaTable(self.uri).history()
            for partition, covered in parse(entry.get(RANGES, "")).items()
        ]
        columns = {
            "ms": pl.Int64,
            "partition": pl.Int32,
            "start": pl.Int64,
            "end": pl.Int64,
        }
        found = pl.DataFrame(rows, schema=columns, orient="row")
        committed_at = pl.from_epoch("ms", time_unit="ms").dt.cast_time_unit("us").dt.replace_time_zone("UTC")
        return found.with_columns(committed_at.alias("committed_at")).drop("ms")

    def append(
        self,
        handle: Handle,
        rows: pl.DataFrame,
        advance: Ranges,
        info: Mapping[str, str],
        positions: Positions = NOWHERE,
    ) -> Handle:
        table, stream = self._at(handle)
        try:
            write_deltalake(
                table,
                stored(rows),
                mode="append",
                schema_mode="merge",
                commit_properties=_commit(stream, advance, info, positions),
                post_commithook_properties=_HOOKS,
            )
        except (DeltaError, OSError) as error:
            raise self._refused(error, advance) from error
        return self._handle(table, stream)

    def merge(self, handle: Handle, rows: pl.DataFrame, advance: Ranges, info: Mapping[str, str]) -> Handle:
        table, stream = self._at(handle)
        if rows.is_empty():
            return self.append(handle, rows, advance, info)
        base = handle if rows.schema == handle.logical else self._evolve(handle, rows)
        try:
            (
                table.merge(
                    stored(rows),
                    _predicate(rows),
                    source_alias="s",
                    target_alias="t",
                    streamed_exec=False,
                    commit_properties=_commit(stream, advance, info),
                    post_commithook_properties=_HOOKS,
                )
                .when_matched_delete(f"{OPERATION_COLUMN} = '{DELETE}'")
                .when_matched_update_all(f"{OPERATION_COLUMN} <> '{DELETE}'")
                .when_not_matched_insert_all(f"{OPERATION_COLUMN} <> '{DELETE}'")
                .execute()
            )
        except (DeltaError, OSError) as error:
            raise self._refused(error, advance) from error
        if table.version() == base.version:
            return self.append(base, rows.clear(), advance, info)
        return self._handle(table, stream)

    def row_bytes(self, handle: Handle, ranges: Ranges) -> int:
        return self._opened(handle).files.overlapping(ranges).row_bytes()

    def read(self, handle: Handle, ranges: Ranges | None = None) -> pl.LazyFrame:
        files = self._opened(handle).files
        return files.scan() if ranges is None else files.overlapping(ranges).scan().filter(within(ranges))

    def _evolve(self, handle: Handle, rows: pl.DataFrame) -> Handle:
        return self.append(handle, rows.clear(), {}, {})

    def _create(self, stream: Stream) -> DeltaTable:
        schema = stored(pl.DataFrame(schema=_COLUMNS[self._kind])).schema
        try:
            # mode="ignore" looks before it creates: of two creators at once the second is refused.
            with suppress(CommitFailedError):
                DeltaTable.create(
                    self.uri,
                    schema=schema,
                    mode="ignore",
                    partition_by=self._partition_by or None,
                    description=description(stream),
                    configuration=_CONFIGURATION[self._kind],
                )
            return DeltaTable(self.uri)
        except (DeltaError, OSError) as error:
            raise self._unavailable("could not be created", error) from error

    def _handle(self, table: DeltaTable, stream: Stream) -> Handle:
        offsets = offsets_of(table, stream)
        positions = positions_of(table, stream, offsets)
        partitions = (filled_by(table.metadata().description) or stream).partitions
        schema = schema_of(table)
        return Handle(
            table.version(),
            schema,
            offsets,
            logical(table, schema),
            partitions,
            positions,
            _Opened(self.uri, table, stream),
            stream.identity,
        )

    def _at(self, handle: Handle) -> tuple[DeltaTable, Stream]:
        opened = self._opened(handle)
        return opened.table, opened.stream

    def _opened(self, handle: Handle) -> _Opened:
        opened = handle.token
        assert isinstance(opened, _Opened)
        if opened.table.version() != handle.version:
            raise Conflict(
                f"version {opened.table.version()} was committed with this handle already", where=self.uri
            )
        return opened

    def _partitioned_otherwise(self, found: Sequence[str]) -> Terminal:
        return Terminal(
            f"the table is partitioned by {_named(found)}, declared is {_named(self._partition_by)}",
            where=self.uri,
            remedy="a table keeps its partitioning: declare the table's own (partition_by or "
            "partition_collections_by of the source), or take a new snapshot into a new table",
        )

    def _refused(self, error: Exception, advance: Ranges) -> Transient:
        if isinstance(error, CommitFailedError):
            return Conflict(f"another writer committed first ({error})", where=self.uri)
        return self._unavailable(f"did not confirm the commit of {describe(advance)}", error)

    def _unavailable(self, what: str, error: Exception) -> Transient:
        return Transient(
            f"the Delta table {what}: {error}",
            where=self.uri,
            remedy="check the disk's space and the folder's permissions; nothing is lost, the table's own "
            "offsets say where to go on",
        )


_COLUMNS: Mapping[str, pl.Schema] = {**dict.fromkeys(Kind, METADATA), "dead_letters": DEAD_LETTERS}
_CONFIGURATION: Mapping[str, Mapping[str, str | None]] = {
    "dead_letters": {"delta.appendOnly": "true"},
    Kind.CHANGELOG: {"delta.enableChangeDataFeed": "true", "delta.appendOnly": "true"},
    Kind.CURRENT: {"delta.enableChangeDataFeed": "true"},
}
_HOOKS = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)


@dataclass(frozen=True)
class _Opened:
    """What a handle stands for. The files of its version never change: the log is read for them once."""

    uri: str
    table: DeltaTable
    stream: Stream

    @cached_property
    def files(self) -> Files:
        return files_of(self.table, self.uri)


def _named(columns: Sequence[str]) -> str:
    return ", ".join(columns) or "nothing"


def _commit(
    stream: Stream, advance: Ranges, info: Mapping[str, str], positions: Positions = NOWHERE
) -> CommitProperties:
    return CommitProperties(
        app_transactions=transactions(stream, advance, positions),
        custom_metadata=dict(info),
        max_commit_retries=0,
    )


def _predicate(rows: pl.DataFrame) -> str:
    """Key equality, and the batch's key range as literals so that files outside it are not read."""

    def text(value: object) -> str:
        return "'" + str(value).replace("'", "''") + "'"

    low, high = rows[KEY].min(), rows[KEY].max()
    return f"t.`{KEY}` = s.`{KEY}` AND t.`{KEY}` >= {text(low)} AND t.`{KEY}` <= {text(high)}"
