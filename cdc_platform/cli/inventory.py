"""Where every lake table of some sources stands.

Invariants
- Looking creates nothing: a table that is not there yet is shown as such.
- The lake is read whether or not Kafka answers; only the lag needs Kafka, and it is never guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl

from cdc_platform.core.errors import CdcError, Transient
from cdc_platform.core.model import Format, Kind, Target
from cdc_platform.core.offsets import Offsets, Stream, lag
from cdc_platform.core.ports import StoredTable
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.operate.proven import proven
from cdc_platform.platform import lake_table

PATIENCE: Final = 5.0
"""Seconds for Kafka to answer a question."""


@dataclass(frozen=True, slots=True)
class KafkaState:
    """``error``: why the lag could not be had, otherwise empty. ``missing``: topics that do not exist."""

    bootstrap: str
    reachable: bool
    error: str = ""
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TableState:
    """One lake table. ``lag``: offsets up to the topic's ends, None if those are not known.
    ``proven_through``: of a current table, the source's time up to which it is proven; None if it never was,
    or not this very table. ``problem``: why it could not be read.
    """

    source: str
    name: str
    format: Format
    kind: Kind
    uri: str
    exists: bool = False
    version: int | None = None
    rows: int | None = None
    offsets: dict[int, int] | None = None
    lag: int | None = None
    proven_through: datetime | None = None
    columns: Mapping[str, str] | None = None
    problem: str = ""

    def document(self, *, schema: bool) -> dict[str, object]:
        """For JSON: the fields, the columns only if asked for."""
        names = [name for name in self.__slots__ if schema or name != "columns"]
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class Inventory:
    kafka: KafkaState
    tables: tuple[TableState, ...]


@dataclass(frozen=True, slots=True)
class _Topics:
    streams: Mapping[str, Stream]
    ends: Mapping[str, Offsets]


def take_inventory(settings: Settings, sources: Sequence[Source]) -> Inventory:
    """Every lake table of the sources. Waits for Kafka at most ``PATIENCE`` seconds a question."""
    kafka, topics = _ask_kafka(settings, sources)
    return Inventory(kafka, tuple(_tables(settings, sources, topics)))


def _ask_kafka(settings: Settings, sources: Sequence[Source]) -> tuple[KafkaState, _Topics]:
    wanted = [source.topic(name) for source in sources for name in source.collections]
    log = KafkaLog(settings.kafka_bootstrap, timeout=min(PATIENCE, settings.kafka_seconds))
    try:
        streams = log.streams(wanted)
        topics = _Topics(streams, log.ends(list(streams.values())))
    except Transient as error:
        return KafkaState(settings.kafka_bootstrap, reachable=False, error=str(error)), _Topics({}, {})
    missing = tuple(topic for topic in wanted if topic not in streams)
    return KafkaState(settings.kafka_bootstrap, reachable=True, missing=missing), topics


def _tables(settings: Settings, sources: Sequence[Source], topics: _Topics) -> Iterator[TableState]:
    for source in sources:
        for target in source.targets:
            for kind in source.lake_kinds(target.table):
                table = lake_table(settings, source, target.table, kind, target.format)
                yield _state(settings, source, target, kind, table, topics)


def _state(
    settings: Settings, source: Source, target: Target, kind: Kind, table: StoredTable, topics: _Topics
) -> TableState:
    name, stored = target.table, target.format
    stream, ends = topics.streams.get(source.topic(name)), topics.ends.get(source.topic(name))
    try:
        if not table.exists():
            behind = None if ends is None else lag({}, ends)
            return TableState(source.name, name, stored, kind, table.uri, lag=behind)
        offsets = table.open(stream).offsets if stream else _from_history(table)
        seen, rows = table.snapshot()
        note = proven(settings, source, target, seen) if kind is Kind.CURRENT else None
    except CdcError as error:
        return TableState(source.name, name, stored, kind, table.uri, exists=True, problem=str(error))
    return TableState(
        source=source.name,
        name=name,
        format=stored,
        kind=kind,
        uri=table.uri,
        exists=True,
        version=seen.version,
        rows=rows,
        offsets=dict(sorted(offsets.items())),
        lag=None if ends is None else lag(offsets, ends),
        proven_through=note.through.source_time if note else None,
        columns={column: str(dtype) for column, dtype in seen.schema.items()},
    )


def _from_history(table: StoredTable) -> dict[int, int]:
    """Offsets as the commits tell them. Slower than the transactions, which need the topic's identity."""
    ends = table.commits().group_by("partition").agg(pl.col("end").max())
    return dict(ends.select("partition", "end").iter_rows())
