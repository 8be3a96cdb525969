"""A lake table behind which another one stands, for tests that change one thing of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl

from cdc_platform.core.model import Handle
from cdc_platform.core.offsets import NOWHERE, Offsets, Positions, Ranges, Stream
from cdc_platform.core.ports import LakeTable


class Through:
    """A lake table that passes everything on."""

    def __init__(self, table: LakeTable) -> None:
        self._table = table

    @property
    def uri(self) -> str:
        return self._table.uri

    def exists(self) -> bool:
        return self._table.exists()

    def open(self, stream: Stream) -> Handle:
        return self._table.open(stream)

    def adopt(self, stream: Stream) -> Handle:
        return self._table.adopt(stream)

    def append(
        self,
        handle: Handle,
        rows: pl.DataFrame,
        advance: Ranges,
        info: Mapping[str, str],
        positions: Positions = NOWHERE,
    ) -> Handle:
        return self._table.append(self._base(handle), rows, advance, info, positions)

    def merge(self, handle: Handle, rows: pl.DataFrame, advance: Ranges, info: Mapping[str, str]) -> Handle:
        return self._table.merge(self._base(handle), rows, advance, info)

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
        return self._table.replace(self._base(handle), rows, columns, offsets, info, positions, begun)

    def row_bytes(self, handle: Handle, ranges: Ranges) -> int:
        return self._table.row_bytes(handle, ranges)

    def read(self, handle: Handle, ranges: Ranges | None = None) -> pl.LazyFrame:
        return self._table.read(handle, ranges)

    def _base(self, handle: Handle) -> Handle:
        """What a commit is made against."""
        return handle
