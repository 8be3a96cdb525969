"""Values that travel between the stages: records from the log, changes, commits, receipts.

Frames are columnar and never mutated. ``ranges`` says which offsets a frame stands for, which may be more
than the rows in it: offsets without a visible record count as delivered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from cdc_platform.core.errors import CdcError
from cdc_platform.core.offsets import Offsets, Positions, Ranges, Stream
from cdc_platform.core.reservation import Reservation
from cdc_platform.core.sizes import MAX_RECORD_BYTES

RECORD_SCHEMA = pl.Schema(
    {
        "partition": pl.Int32(),
        "offset": pl.Int64(),
        "timestamp_ms": pl.Int64(),
        "key": pl.Binary(),
        "value": pl.Binary(),
    }
)


class Kind(StrEnum):
    """The lake tables that a source table is replicated into. Beside them lie its dead letters."""

    CHANGELOG = "changelog"
    CURRENT = "current"


Contents = Kind | Literal["dead_letters", "schemas"]
"""What a lake table holds."""


class Format(StrEnum):
    """How the lake's tables are stored."""

    DELTA = "delta"
    ICEBERG = "iceberg"


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """A source table in one format of the lake: what is read, committed, checked and rests by itself."""

    table: str
    format: Format

    def __str__(self) -> str:
        return f"{self.table} ({self.format})"

    @property
    def path(self) -> str:
        return f"{self.format}/{self.table}"


class Policy(StrEnum):
    """What becomes of a value that does not fit its column. Nothing is ever cast, cut or dropped.

    json: it goes as canonical extended JSON text beside its field, into ``<field>__json``. quarantine: its
    event becomes a dead letter. refuse: the table stops before its event.
    """

    JSON = "json"
    QUARANTINE = "quarantine"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Records:
    """Raw records of one topic, ``frame`` in RECORD_SCHEMA, each partition's rows in offset order."""

    stream: Stream
    frame: pl.DataFrame
    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Stopped:
    """A topic that can be read no further, and why. Other topics go on."""

    topic: str
    error: CdcError


class Limits(BaseModel):
    """How much a batch may hold and how often the tables commit.

    A batch is closed by whichever of rows, bytes and age comes first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_rows: int = Field(default=100_000, ge=1, description="Most records in one changelog commit.")
    batch_bytes: int = Field(
        default=64 * 2**20, ge=1, description="Most bytes of records in one changelog commit."
    )
    changelog_age: float = Field(
        default=1.0, ge=0, description="Seconds a record waits at most for its commit."
    )
    current_age: float = Field(
        default=10.0, ge=0, description="Seconds between two merges into the current table."
    )
    current_rows: int = Field(default=200_000, ge=1, description="Most changelog rows in one merge.")
    record_bytes: int = Field(
        default=MAX_RECORD_BYTES,
        ge=1,
        description="Most bytes of one record; a larger one becomes a dead letter.",
    )
    dead_in_a_row: int = Field(
        default=1_000,
        ge=1,
        description="Dead letters without a good event between, after which the table stops.",
    )
    current_bytes: int = Field(
        default=128 * 2**20, ge=1, description="Most bytes of changelog rows in one merge, in memory."
    )


@dataclass(frozen=True, slots=True)
class Lag:
    """Seconds from the source's commit to the lake's commit, over the rows of one commit or a window."""

    p50: float
    p95: float
    max: float


@dataclass(frozen=True, slots=True)
class Handle:
    """A lake table as it was when opened; a commit is made against it and refused if the table moved on.

    ``schema``: all columns as stored, metadata included. ``logical``: the same with the types that are stored
    as text (``core.logical``). ``offsets``: what the table has committed, per partition. ``partitions``: how
    many its topic had when it was made. ``positions``: the highest of the source's positions that a commit
    told of, per partition. ``token``: the adapter's own object. ``stream``: identity of the topic that the
    offsets are of. ``begun``: per partition the first offset that counts, where that is not the topic's
    first: the table was made anew there. ``reservation``: what the newest commit asks of other writers.
    """

    version: int
    schema: pl.Schema
    offsets: Offsets
    logical: pl.Schema
    partitions: int
    positions: Positions = field(default_factory=dict)
    token: object = field(repr=False, compare=False, default=None)
    stream: str = ""
    begun: Offsets = field(default_factory=dict)
    reservation: Reservation | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one commit did. ``rows_in = sum(applied) + superseded + dead`` always holds.

    ``applied``: rows by operation. ``superseded``: events folded away because a later one of the same key
    was in the same batch. ``dead``: events that became dead letters. ``added``: columns the commit added.
    ``seconds``: duration of the commit. ``more``: there was more to commit than the limits allow at once.
    """

    table: str
    kind: Kind
    version: int
    ranges: Ranges
    rows_in: int
    applied: Mapping[str, int]
    superseded: int
    committed_at: datetime
    seconds: float
    lag: Lag | None = None
    added: tuple[str, ...] = ()
    dead: int = 0
    format: Format = Format.DELTA
    more: bool = False

    @property
    def target(self) -> Target:
        return Target(self.table, self.format)


@dataclass(frozen=True, slots=True)
class Compacted:
    """Files of one table before and after its compaction."""

    files_before: int
    files_after: int
