"""What decoding gives, whatever the source's engine and the wire format.

Invariant: every record becomes one row, a dead letter, or is a tombstone: rows + dead letters + tombstones =
records, up to the first record that the policy refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

import polars as pl

from cdc_platform.core import columns
from cdc_platform.core.errors import Terminal
from cdc_platform.core.model import Limits, Policy, Records
from cdc_platform.core.offsets import Range, Ranges
from cdc_platform.decode.documents import Layout
from cdc_platform.decode.refusal import Refusal
from cdc_platform.decode.versions import ANY, Seen, Versions

PLACE: Final = [columns.PARTITION, columns.OFFSET]
_NONE: Final = pl.Schema({columns.PARTITION: pl.Int32, columns.OFFSET: pl.Int64})


@dataclass(frozen=True, slots=True)
class Rules:
    """What a source says about records that do not fit. ``record_bytes``: the most a record may have.
    ``versions``: of the table's schema, and which others it takes. ``renamed``: columns
    of a table that go on by another name."""

    values: Policy = Policy.JSON
    record_bytes: int = Limits().record_bytes
    versions: Versions = ANY
    renamed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decoded:
    """``frame``: KEY, the rows' fields, OPERATION, TIMESTAMP, POSITION, TOPIC, PARTITION, OFFSET, by the
    table's logical types.

    ``letters``: TOPIC, PARTITION, OFFSET, timestamp_ms, key, value, reason, remedy of the dead letters.
    ``repairs``: KEY, PARTITION, OFFSET and repairs of the rows that are deletes of the platform's own, each
    with the offset of the row it deletes. ``tombstones``: records without a value, which Kafka's compaction
    wants and the changelog does not: the delete before them is a row already. ``ranges``: the offsets that
    these stand for, all of the records', or only those before ``refused``, the first record that stops the
    table. ``unsent``: PARTITION and OFFSET of rows for which the source did not send all fields, and a column
    of booleans for each field that has such rows, true where the value is the one it had before.
    ``versions``: of the source's schema that are new here; ``versions_refused``: those that stop the table.
    """

    frame: pl.DataFrame
    letters: pl.DataFrame
    repairs: pl.DataFrame
    tombstones: int
    ranges: Ranges
    layout: Layout
    refused: Terminal | None = None
    unsent: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=_NONE))
    versions: tuple[Seen, ...] = ()
    versions_refused: tuple[Seen, ...] = ()


@dataclass(frozen=True, slots=True)
class Rows:
    """What some records became. ``bad``: those that cannot be rows, in their order."""

    frame: pl.DataFrame
    repairs: pl.DataFrame
    bad: list[Refusal]
    layout: Layout = field(default_factory=Layout)
    unsent: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=_NONE))
    versions: tuple[Seen, ...] = ()
    versions_refused: tuple[Seen, ...] = ()


class Decoder(Protocol):
    """Records of one source's topics → rows. Pure, but for looking up the schemas that records name."""

    def __call__(
        self,
        records: Records,
        table: pl.Schema = ...,
        rules: Rules | None = None,
        layout: Layout | None = None,
    ) -> Decoded:
        """Rows of the changelog, without the two ingestion columns.

        ``table``: the columns that the changelog has, by their logical types. ``layout``: of the previous
        batch.
        """
        ...

    def key_of(self, key: bytes | None) -> str | None:
        """The text of a record's key, if it can be read."""
        ...

    def operation_of(self, value: bytes) -> str | None:
        """The operation that a record tells of, if it can be read."""
        ...


def decoded(records: Records, rules: Rules, rows: Callable[[Records], Rows]) -> Decoded:
    """``rows`` of all records, or of those before the first that the policy refuses."""
    refused: Terminal | None = None
    versions_refused: tuple[Seen, ...] = ()
    while True:
        found = rows(records)
        versions_refused = versions_refused or found.versions_refused
        stopping = [each for each in found.bad if each.stops or rules.values is Policy.REFUSE]
        if not stopping:
            break
        refused = refused or stopping[0].error(records)
        records = _before(records, stopping[0].row)
    tombstones = records.frame["value"].null_count()
    return Decoded(
        found.frame,
        _letters(records, found.bad),
        found.repairs,
        tombstones,
        records.ranges,
        found.layout,
        refused,
        found.unsent,
        found.versions,
        versions_refused,
    )


def _before(records: Records, row: int) -> Records:
    """The records without those from ``row`` on in its partition."""
    partition, offset = records.frame.select("partition", "offset").row(row)
    kept = records.frame.filter((pl.col("partition") != partition) | (pl.col("offset") < offset))
    cut = Range(records.ranges[partition].start, offset)
    return Records(records.stream, kept, {**records.ranges, partition: cut})


def _letters(records: Records, bad: list[Refusal]) -> pl.DataFrame:
    found = records.frame[[refusal.row for refusal in bad]]
    return found.select(
        pl.lit(records.stream.topic).alias(columns.TOPIC),
        pl.col("partition").alias(columns.PARTITION),
        pl.col("offset").alias(columns.OFFSET),
        "timestamp_ms",
        "key",
        "value",
        pl.Series("reason", [refusal.what for refusal in bad], dtype=pl.String),
        pl.Series("remedy", [refusal.remedy for refusal in bad], dtype=pl.String),
    )
