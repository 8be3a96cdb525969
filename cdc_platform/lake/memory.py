"""A lake table in memory: what every lake table must do, in the fewest words.

Invariants
- A commit is compared with the newest version and replaces it as a whole, or nothing changes.
- Offsets are part of the version: they move with the rows, and also when no row does.
- A version has columns of its own: those of another one need not be among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from threading import Lock

import polars as pl

from cdc_platform.core.columns import DELETE, KEY, METADATA, OPERATION
from cdc_platform.core.errors import Conflict, Terminal
from cdc_platform.core.history import rebuilding
from cdc_platform.core.logical import stored
from cdc_platform.core.model import Handle
from cdc_platform.core.offsets import NOWHERE, Offsets, Positions, Ranges, Stream, ends_of
from cdc_platform.core.reservation import reservation_of
from cdc_platform.core.schema import compare
from cdc_platform.lake.identity import replaced, stream_of
from cdc_platform.lake.selection import within


@dataclass(frozen=True, slots=True)
class Version:
    """One state of the table. ``info``: what the commit that made it carried."""

    number: int
    stream: str
    partitions: int
    rows: pl.DataFrame
    logical: pl.Schema
    offsets: Mapping[int, int] = field(default_factory=dict)
    info: Mapping[str, str] = field(default_factory=dict)
    positions: Positions = field(default_factory=dict)
    begun: Mapping[int, int] = field(default_factory=dict)


class MemoryTable:
    """Every instance is one table; give the same instance to several writers to let them race."""

    def __init__(self, uri: str, schema: pl.Schema = METADATA) -> None:
        self._uri = uri
        self._schema = schema
        self._versions: list[Version] = []
        self._lock = Lock()

    @property
    def uri(self) -> str:
        return self._uri

    @property
    def versions(self) -> tuple[Version, ...]:
        return tuple(self._versions)

    def exists(self) -> bool:
        return bool(self._versions)

    def open(self, stream: Stream) -> Handle:
        with self._lock:
            if not self._versions:
                empty = pl.DataFrame(schema=self._schema)
                self._versions.append(Version(0, stream.identity, stream.partitions, empty, self._schema))
            newest = self._versions[-1]
        if newest.stream != stream.identity:
            filled = stream_of(newest.stream, newest.partitions)
            raise replaced(filled, stream, newest.offsets, where=self._uri)
        return self._handle(newest)

    def adopt(self, stream: Stream) -> Handle:
        if not self._versions:
            return self.open(stream)
        newest = self._versions[-1]
        if newest.stream == stream.identity:
            return self._handle(newest)
        strange = replace(newest, stream=stream.identity, partitions=stream.partitions)
        return self._handle(replace(strange, offsets={}, positions={}, begun={}))

    def snapshot(self) -> tuple[Handle, int]:
        if not self._versions:
            raise Terminal("there is no such table", where=self._uri)
        newest = self._versions[-1]
        return self._handle(newest), newest.rows.height

    def append(
        self,
        handle: Handle,
        rows: pl.DataFrame,
        advance: Ranges,
        info: Mapping[str, str],
        positions: Positions = NOWHERE,
    ) -> Handle:
        version = self._version(handle)
        return self._commit(version, version.rows, rows, advance, info, positions)

    def merge(self, handle: Handle, rows: pl.DataFrame, advance: Ranges, info: Mapping[str, str]) -> Handle:
        version = self._version(handle)
        kept = version.rows.join(rows.select(KEY), on=KEY, how="anti")
        live = rows.filter(pl.col(OPERATION) != DELETE)
        return self._commit(version, kept, live, advance, info)

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
        base = self._version(handle)
        plain = pl.DataFrame(stored(pl.concat([pl.DataFrame(schema=columns), *rows])))
        return self._add(
            replace(
                base,
                number=base.number + 1,
                rows=plain,
                logical=columns,
                offsets=dict(offsets),
                info=rebuilding(info),
                positions=dict(positions),
                begun=dict(begun),
            )
        )

    def row_bytes(self, handle: Handle, ranges: Ranges) -> int:
        rows = self.read(handle, ranges).collect()
        return -(-int(rows.estimated_size()) // rows.height) if rows.height else 0

    def read(self, handle: Handle, ranges: Ranges | None = None) -> pl.LazyFrame:
        rows = self._version(handle).rows.lazy()
        return rows if ranges is None else rows.filter(within(ranges))

    def _version(self, handle: Handle) -> Version:
        version = handle.token
        assert isinstance(version, Version)
        return version

    def _commit(
        self,
        base: Version,
        kept: pl.DataFrame,
        added: pl.DataFrame,
        advance: Ranges,
        info: Mapping[str, str],
        positions: Positions = NOWHERE,
    ) -> Handle:
        plain = pl.DataFrame(stored(added))
        return self._add(
            replace(
                base,
                number=base.number + 1,
                rows=pl.concat([kept, plain], how="diagonal_relaxed"),
                logical=compare(base.logical, added.schema)[0].schema,
                offsets={**base.offsets, **ends_of(advance)},
                info=dict(info),
                positions={**base.positions, **positions},
            )
        )

    def _add(self, made: Version) -> Handle:
        """The version after the one that it was made of, or Conflict."""
        with self._lock:
            if self._versions[-1].number != made.number - 1:
                raise Conflict(
                    f"version {self._versions[-1].number} was committed since {made.number - 1} was opened",
                    where=self._uri,
                )
            self._versions.append(made)
        return self._handle(made)

    def _handle(self, version: Version) -> Handle:
        return Handle(
            version.number,
            version.rows.schema,
            dict(version.offsets),
            version.logical,
            version.partitions,
            version.positions,
            version,
            version.stream,
            dict(version.begun),
            reservation_of(version.info),
        )
