"""Tables of a shop in memory, ready to be replicated, and ways to let one of them fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import polars as pl
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_none

from cdc_platform.core.columns import DEAD_LETTERS, KEY, OFFSET, PARTITION
from cdc_platform.core.errors import Transient
from cdc_platform.core.model import Handle, Kind, Limits, Policy
from cdc_platform.core.offsets import NOWHERE, Positions, Ranges, Stream
from cdc_platform.core.ports import LakeTable
from cdc_platform.lake.memory import MemoryTable
from cdc_platform.replicate import Replica

ATTEMPTS = 3


def now() -> datetime:
    return datetime(2026, 11, 1, 12, tzinfo=UTC)


def replica(
    stream: Stream,
    changelog: LakeTable | None = None,
    current: LakeTable | None = None,
    kinds: frozenset[Kind] = frozenset(Kind),
    attempts: int = ATTEMPTS,
    letters: LakeTable | None = None,
    values: Policy = Policy.JSON,
    **limits: Any,
) -> Replica:
    return Replica(
        name=stream.topic.rpartition(".")[2],
        stream=stream,
        changelog=changelog or MemoryTable(f"memory://{stream.topic}/changes"),
        current=current or MemoryTable(f"memory://{stream.topic}"),
        letters=letters or MemoryTable(f"memory://{stream.topic}/deadletters", DEAD_LETTERS),
        now=now,
        limits=Limits(**limits),
        values=values,
        kinds=kinds,
        retrying=Retrying(
            stop=stop_after_attempt(attempts),
            wait=wait_none(),
            retry=retry_if_exception_type((Transient, OSError)),
            reraise=True,
        ),
    )


def rows(table: LakeTable, stream: Stream) -> pl.DataFrame:
    return table.read(table.open(stream)).collect().sort(PARTITION, OFFSET)


def keys(table: LakeTable, stream: Stream) -> list[str]:
    return sorted(rows(table, stream)[KEY].to_list())


class WrittenThrough(MemoryTable):
    """Calls ``before`` ahead of each write, which may raise, wait, or write itself."""

    def __init__(self, uri: str, before: Callable[[], None]) -> None:
        super().__init__(uri)
        self._before = before

    def append(
        self,
        handle: Handle,
        rows: pl.DataFrame,
        advance: Ranges,
        info: Mapping[str, str],
        positions: Positions = NOWHERE,
    ) -> Handle:
        self._before()
        return super().append(handle, rows, advance, info, positions)

    def merge(self, handle: Handle, rows: pl.DataFrame, advance: Ranges, info: Mapping[str, str]) -> Handle:
        self._before()
        return super().merge(handle, rows, advance, info)
