"""What the core needs from the outside world: a log to read from and lake tables to write to.

Real adapters live in ``kafka`` and ``lake``; ``lake.memory`` is the executable specification of LakeTable,
and one contract suite holds every adapter to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import polars as pl

from cdc_platform.core.history import History
from cdc_platform.core.model import Compacted, Contents, Format, Handle, Records, Stopped
from cdc_platform.core.offsets import NOWHERE, Offsets, Positions, Ranges, Stream
from cdc_platform.core.position import Engine

Probe = Callable[[str], None]
"""Called at the named points of a batch's life. Does nothing in production; crash tests kill the process in
it.
"""


def no_probe(point: str) -> None:
    """The probe of a normal run."""
    del point


class Log(Protocol):
    """Kafka, as far as replication needs it. No consumer group: positions come from the lake."""

    def streams(self, topics: Sequence[str]) -> Mapping[str, Stream]:
        """Identity of each topic that exists."""
        ...

    def available(self, streams: Sequence[Stream]) -> Mapping[str, Ranges]:
        """Per topic and partition the first retained offset and the last stable offset."""
        ...

    def ends(self, streams: Sequence[Stream]) -> Mapping[str, Offsets]:
        """Per topic and partition the last stable offset, in one request."""
        ...

    def reader(self, starts: Mapping[Stream, Offsets]) -> LogReader:
        """Open a reader at these offsets."""
        ...


class LogReader(Protocol):
    """Reads committed records of several topics, in offset order within each partition."""

    def poll(self, timeout: float, max_rows: int) -> Sequence[Records | Stopped]:
        """Records per topic, at most ``max_rows`` in all, as soon as there are any; empty after ``timeout``.

        A returned range may hold no rows: the partition moved over offsets without visible records.
        """
        ...

    def pause(self, topic: str) -> None:
        """Stop fetching a topic whose table cannot keep up."""
        ...

    def resume(self, topic: str) -> None: ...

    def close(self) -> None: ...


class Registry(Protocol):
    """Where the schemas of Avro records are."""

    def schema(self, schema_id: int) -> str | None:
        """The text of an Avro schema; None if there is none of that id. Raises Transient."""
        ...


class LakeTable(Protocol):
    """One table of the lake. Rows and offsets are committed together or not at all."""

    @property
    def uri(self) -> str: ...

    def exists(self) -> bool: ...

    def open(self, stream: Stream) -> Handle:
        """Create the table if it is not there, and load its newest version.

        Raises StreamReplaced if the table was filled from another topic.
        """
        ...

    def append(
        self,
        handle: Handle,
        rows: pl.DataFrame,
        advance: Ranges,
        info: Mapping[str, str],
        positions: Positions = NOWHERE,
    ) -> Handle:
        """Add rows, move the offsets to the ends of ``advance`` and the positions, keep ``info`` with the
        commit.

        ``rows`` has fitted columns: those of the table, and new ones, which are added. May be empty: the
        offsets still move. Raises Conflict, and leaves no trace, if the table moved since the handle.
        """
        ...

    def merge(self, handle: Handle, rows: pl.DataFrame, advance: Ranges, info: Mapping[str, str]) -> Handle:
        """One row per key: delete the key where the operation is a delete, otherwise insert or replace it.

        The offsets move even when no row changes. Raises Conflict as ``append``.
        """
        ...

    def adopt(self, stream: Stream) -> Handle:
        """The newest version, whatever stream has filled it and wherever it stands, for ``replace`` alone:
        the table that is put in its place is this stream's. Creates the table as ``open`` does.
        """
        ...

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
        """Exchange all rows and all columns in one commit; readers see the old table or the new one.

        ``columns``: logical types, metadata first. ``rows``: frames of these columns, taken one at a time:
        memory holds one. ``offsets``, ``positions``: what the table has committed from then on, exactly
        these. ``begun``: the first offsets that count; records of before them are none of its rows. The
        commit is marked (``core.history.REBUILT``), whether or not ``info`` says from what. Raises Conflict
        as ``append``; what ``rows`` raises leaves the old table.
        """
        ...

    def row_bytes(self, handle: Handle, ranges: Ranges) -> int:
        """Bytes in memory of a row in these ranges, about, where rows are the largest; 0 if there are none.

        It bounds what a ``read`` of so many rows will hold, before anything is read.
        """
        ...

    def read(self, handle: Handle, ranges: Ranges | None = None) -> pl.LazyFrame:
        """The rows at the handle's version; only those whose Kafka offset lies in ``ranges`` if given."""
        ...


class StoredTable(LakeTable, Protocol):
    """A table of a lake that others than its writers look at."""

    def snapshot(self) -> tuple[Handle, int]:
        """The newest version, whatever topic fills it, and the number of its rows, by its metadata.

        For reading: it needs no stream, and creates nothing. Raises Terminal if there is no table.
        """
        ...

    def rows(self) -> pl.LazyFrame:
        """All rows of the newest version."""
        ...

    def commits(self) -> pl.DataFrame:
        """When each offset range was committed: committed_at, and partition, start, end of the range.

        As far back as the table remembers.
        """
        ...


TableName = tuple[str, str]
"""The source's name and the table's: ``("shop", "orders_changes")``."""


class Lake(Protocol):
    """All tables of one format."""

    @property
    def format(self) -> Format: ...

    @property
    def address(self) -> str:
        """Where it is, for people."""
        ...

    def require(self) -> None:
        """Make sure that tables can be reached, at little cost. Raises CdcError if not."""
        ...

    def table(
        self,
        name: TableName,
        contents: Contents,
        partition_by: Sequence[str] = (),
        engine: Engine = Engine.MONGODB,
    ) -> StoredTable:
        """``engine``: whose rows a table that is made will hold."""
        ...

    def history(self, name: TableName) -> History: ...

    def compact(self, name: TableName) -> Compacted:
        """Make few large files of many small ones; those of large rows stay as they are.

        Raises Conflict if a writer was in the way, Transient if the table cannot be read or written.
        """
        ...

    def clean(self, name: TableName, hours: float) -> int:
        """Remove what no version of the last ``hours`` needs; returns the number of files. Raises as
        ``compact``.

        Files of writers that were killed before their commit go as well, once they are that old: younger ones
        may belong to a commit that is under way.
        """
        ...
