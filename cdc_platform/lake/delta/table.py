"""A lake table in Delta.

Invariants (measured on deltalake 1.6; the contract suite pins them)
- Offsets are Delta transaction identifiers, one per partition of the very topic, and are those of the version
  that the commit is made against. Delta refuses that commit only if the other writer's came after the
  handle's snapshot, so a handle that is re-opened between reading the offsets and writing would double rows.
- In S3 a commit is a conditional put. An answer that was lost is an error, or, where the store's client has
  asked once more by itself, a Conflict with a commit that is our own: in both cases the next handle sees the
  offsets moved.
- ``max_commit_retries=0``: a commit that is re-based on a newer version has not seen its offsets.
- A merge that changes no row makes no commit, so its offsets would not be recorded; an empty append on the
  same handle records them.
- A merge that evolves the schema (``merge_schema=True``) forgets the table's description and shuffles its
  columns, so new columns come first, with an append of no rows; a crash in between leaves columns of nulls
  and old offsets.
- ``streamed_exec=False``: with the streaming executor the target is not pruned by the source's keys.
- A table that is only appended to says so to other engines, too (``delta.appendOnly``). Should that have been
  lifted and not put back, by a rebuild that was killed (``replacing``), the next append puts it back first.
- The batch fits the table before it gets here: deltalake stores 1.5 as 1 in an integer column, silently.
- The metadata columns come first: Delta keeps statistics for the first 32 columns only, and ``read`` prunes
  files by their offsets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from cdc_platform.core.columns import DELETE, KEY, OPERATION
from cdc_platform.core.errors import Conflict, Terminal
from cdc_platform.core.history import rebuilding
from cdc_platform.core.logical import stored
from cdc_platform.core.model import Contents, Handle
from cdc_platform.core.offsets import NOWHERE, Offsets, Positions, Ranges, Stream, describe
from cdc_platform.core.position import Engine
from cdc_platform.lake.delta.files import Files, files_of, schema_of
from cdc_platform.lake.delta.history import commits_of
from cdc_platform.lake.delta.marks import logical
from cdc_platform.lake.delta.opening import CONFIGURATION, found_or_made, loaded, unavailable
from cdc_platform.lake.delta.owner import begun_at, description, filled_by
from cdc_platform.lake.delta.replacing import (
    APPEND_ONLY,
    HOOKS,
    append_only,
    exchange,
    new_files,
    set_append_only,
    set_description,
)
from cdc_platform.lake.delta.transactions import STANDING, Standing, standing
from cdc_platform.lake.identity import replaced, stream_of
from cdc_platform.lake.selection import within
from cdc_platform.lake.store import Place, is_delta

OPERATION_COLUMN = f"s.`{OPERATION}`"


class DeltaLakeTable:
    """One Delta table. Keeps no state: threads may share it, but not a handle."""

    def __init__(
        self,
        place: Place,
        kind: Contents,
        partition_by: Sequence[str] = (),
        engine: Engine = Engine.MONGODB,
    ) -> None:
        """``place``: the table's folder. ``partition_by``: columns of METADATA, outermost first, to partition
        a table by that is made; one that is there must be partitioned so already. ``engine``: whose rows a
        table that is made will hold.
        """
        self._place = place
        self._kind = kind
        self._partition_by = list(partition_by)
        self._engine = engine

    @property
    def uri(self) -> str:
        return str(self._place)

    def exists(self) -> bool:
        return is_delta(self._place)

    def open(self, stream: Stream) -> Handle:
        table = self._found(stream)
        filled = filled_by(table.metadata().description)
        if filled is None or filled.identity != stream.identity:
            upto = standing(table, self._place, filled).offsets if filled else NOWHERE
            raise replaced(filled, stream, upto, where=self.uri)
        return self._handle(table, stream, standing(table, self._place, stream))

    def adopt(self, stream: Stream) -> Handle:
        table = self._found(stream)
        return self._handle(table, stream, standing(table, self._place, stream))

    def _found(self, stream: Stream) -> DeltaTable:
        """The table, made if it is not there."""
        return found_or_made(self._place, self._kind, self._partition_by, self._engine, stream)

    def snapshot(self) -> tuple[Handle, int]:
        """The newest version, whatever topic fills it, and the number of its rows, by the log."""
        try:
            table = loaded(self._place)
        except TableNotFoundError as error:
            raise Terminal("there is no such Delta table", where=self.uri) from error
        stream = filled_by(table.metadata().description) or stream_of("", 0)
        handle = self._handle(table, stream, standing(table, self._place, stream))
        return handle, self._opened(handle).files.rows

    def rows(self) -> pl.LazyFrame:
        """All rows of the newest version."""
        return files_of(loaded(self._place), self._place).scan()

    def commits(self) -> pl.DataFrame:
        """When each offset range was committed: committed_at, and partition, start, end of the range.

        From the commits' own metadata, so it goes back as far as the table's log does.
        """
        return commits_of(loaded(self._place))

    def append(
        self,
        handle: Handle,
        rows: pl.DataFrame,
        advance: Ranges,
        info: Mapping[str, str],
        positions: Positions = NOWHERE,
    ) -> Handle:
        table, stream = self._at(handle)
        before = Standing(handle.offsets, handle.positions)
        moved = before.moved(advance, positions)
        with self._committing(f"the commit of {describe(advance)}"):
            if self._only_appended and not append_only(table):
                set_append_only(table, _commit(stream, before, {}), only=True)
            write_deltalake(
                table,
                stored(rows),
                mode="append",
                schema_mode="merge",
                commit_properties=_commit(stream, moved, info),
                post_commithook_properties=HOOKS,
            )
        return self._handle(table, stream, moved)

    def merge(self, handle: Handle, rows: pl.DataFrame, advance: Ranges, info: Mapping[str, str]) -> Handle:
        table, stream = self._at(handle)
        if rows.is_empty():
            return self.append(handle, rows, advance, info)
        base = handle if rows.schema == handle.logical else self._evolve(handle, rows)
        moved = Standing(handle.offsets, handle.positions).moved(advance, NOWHERE)
        with self._committing(f"the commit of {describe(advance)}"):
            (
                table.merge(
                    stored(rows),
                    _predicate(rows),
                    source_alias="s",
                    target_alias="t",
                    streamed_exec=False,
                    commit_properties=_commit(stream, moved, info),
                    post_commithook_properties=HOOKS,
                )
                .when_matched_delete(f"{OPERATION_COLUMN} = '{DELETE}'")
                .when_matched_update_all(f"{OPERATION_COLUMN} <> '{DELETE}'")
                .when_not_matched_insert_all(f"{OPERATION_COLUMN} <> '{DELETE}'")
                .execute()
            )
        if table.version() == base.version:
            return self.append(base, rows.clear(), advance, info)
        return self._handle(table, stream, moved)

    def replace(
        self,
        handle: Handle,
        rows: Iterable[pl.DataFrame],
        columns: pl.Schema,
        offsets: Offsets,
        info: Mapping[str, str],
        positions: Positions = NOWHERE,
        begun: Offsets = NOWHERE,
    ) -> Handle:
        table, stream = self._at(handle)
        before, now = Standing(handle.offsets, handle.positions), Standing(offsets, positions)
        schema = stored(pl.DataFrame(schema=columns)).schema
        with new_files(self._place, schema, table.metadata().partition_columns) as files:
            for frame in rows:
                with self._committing("files that were written"):
                    files.add(frame)
            with self._committing("the exchange of all rows"):
                if append_only(table):
                    set_append_only(table, _commit(stream, before, {}), only=False)
                commit = _commit(stream, now, rebuilding(info), before.given_up(stream, now))
                exchange(table, files, schema, commit)
        filled = filled_by(told := table.metadata().description)
        same = filled if filled is not None and filled.identity == stream.identity else stream
        if told != (owner := description(same, begun)):
            # Last: a table of this stream, with the rows of before, would be filled from its beginning.
            with self._committing("whose table it is"):
                set_description(table, owner, _commit(stream, now, {}))
        if self._only_appended:
            with suppress(DeltaError, OSError):  # the rows are exchanged; the next append puts it back
                set_append_only(table, _commit(stream, now, {}), only=True)
        return self._handle(table, stream, now)

    def row_bytes(self, handle: Handle, ranges: Ranges) -> int:
        return self._opened(handle).files.overlapping(ranges).row_bytes()

    def read(self, handle: Handle, ranges: Ranges | None = None) -> pl.LazyFrame:
        files = self._opened(handle).files
        return files.scan() if ranges is None else files.overlapping(ranges).scan().filter(within(ranges))

    def _evolve(self, handle: Handle, rows: pl.DataFrame) -> Handle:
        return self.append(handle, rows.clear(), {}, {})

    @property
    def _only_appended(self) -> bool:
        return APPEND_ONLY in CONFIGURATION[self._kind]

    def _handle(self, table: DeltaTable, stream: Stream, at: Standing) -> Handle:
        partitions = (filled_by(table.metadata().description) or stream).partitions
        schema = schema_of(table)
        return Handle(
            table.version(),
            schema,
            at.offsets,
            logical(table, schema),
            partitions,
            at.positions,
            _Opened(self._place, table, stream),
            stream.identity,
            begun_at(table.metadata().description),
            at.reservation,
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

    @contextmanager
    def _committing(self, what: str) -> Iterator[None]:
        try:
            yield
        except CommitFailedError as error:
            raise Conflict(f"another writer committed first ({error})", where=self.uri) from error
        except (DeltaError, OSError) as error:
            raise unavailable(self._place, f"did not confirm {what}", error) from error


@dataclass(frozen=True)
class _Opened:
    """What a handle stands for. The files of its version never change: the log is read for them once."""

    place: Place
    table: DeltaTable
    stream: Stream

    @cached_property
    def files(self) -> Files:
        return files_of(self.table, self.place)


def _commit(
    stream: Stream, at: Standing, info: Mapping[str, str], given_up: Sequence[Transaction] = ()
) -> CommitProperties:
    return CommitProperties(
        app_transactions=[*at.transactions(stream), *given_up],
        custom_metadata={**info, STANDING: stream.identity},
        max_commit_retries=0,
    )


def _predicate(rows: pl.DataFrame) -> str:
    """Key equality, and the batch's key range as literals so that files outside it are not read."""

    def text(value: object) -> str:
        return "'" + str(value).replace("'", "''") + "'"

    low, high = rows[KEY].min(), rows[KEY].max()
    return f"t.`{KEY}` = s.`{KEY}` AND t.`{KEY}` >= {text(low)} AND t.`{KEY}` <= {text(high)}"
