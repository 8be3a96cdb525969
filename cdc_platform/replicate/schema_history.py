"""The history of a table's schema: which columns the source had, since which offset, and what was refused.

Invariants
- A version is kept before the offsets move past its first event. A crash in between keeps it again at the
  next attempt, which finds it there: its fingerprint is its key.
- The history is only added to. What becomes of a version that was refused is a further row.
- Of MongoDB, whose events tell no schema, it is the fields that the table got, as it got them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import orjson
import polars as pl

from cdc_platform.core.columns import METADATA, OFFSET, PARTITION, SCHEMAS
from cdc_platform.core.logical import named
from cdc_platform.core.offsets import Stream
from cdc_platform.core.ports import LakeTable
from cdc_platform.core.row_schema import Column, RowSchema
from cdc_platform.decode.versions import Seen

TAKEN, REFUSED, ACCEPTED = "taken", "refused", "accepted"
"""States of a version. An accepted one was refused, until somebody decided otherwise."""


@dataclass(frozen=True, slots=True)
class Version:
    """One row of the history. ``changes``: what became of the columns, in words."""

    number: int
    schema: RowSchema
    state: str
    changes: str
    partition: int
    offset: int
    at: datetime


@dataclass(slots=True)
class SchemaHistory:
    """The history of one table in one format, as far as this process knows it. ``table``: where it is
    kept."""

    table: LakeTable | None = None
    _versions: list[Version] | None = field(default=None, repr=False)

    def known(self, stream: Stream) -> tuple[RowSchema, ...]:
        """The versions that are taken or accepted, oldest first."""
        if self.table is None:
            return ()
        if self._versions is None:
            self._versions = read_history(self.table, stream)
        return tuple(each.schema for each in _standing(self._versions) if each.state != REFUSED)

    def keep(self, stream: Stream, seen: Sequence[Seen], state: str, now: datetime) -> None:
        """Write down versions that are not there yet. Raises Conflict if another writer did."""
        if self.table is None or not seen:
            return
        self._versions = read_history(self.table, stream)
        there = {(each.schema.fingerprint, each.state) for each in self._versions}
        fresh = [each for each in seen if (each.schema.fingerprint, state) not in there]
        first = len(self._versions) + 1
        self._add(stream, [_row(first + n, each, state, now) for n, each in enumerate(fresh)])

    def accept(self, stream: Stream, now: datetime) -> list[Version]:
        """Take what was refused from now on; returns those versions."""
        assert self.table is not None
        versions = read_history(self.table, stream)
        waiting = _refused(versions)
        seen = [Seen(each.schema, each.partition, each.offset, (each.changes,)) for each in waiting]
        first = len(versions) + 1
        self._add(stream, [_row(first + n, each, ACCEPTED, now) for n, each in enumerate(seen)])
        return waiting

    def _add(self, stream: Stream, rows: list[dict[str, object]]) -> None:
        if rows and self.table is not None:
            self.table.append(self.table.open(stream), pl.DataFrame(rows, schema=SCHEMAS), {}, {})
        self._versions = None


def read_history(table: LakeTable, stream: Stream) -> list[Version]:
    """Oldest first; none if no table was ever needed."""
    if not table.exists():
        return []
    rows = table.read(table.open(stream)).sort("number", "at").collect()
    return [
        Version(
            row["number"],
            RowSchema.model_validate_json(row["schema"]),
            row["state"],
            row["changes"],
            row[PARTITION],
            row[OFFSET],
            row["at"],
        )
        for row in rows.iter_rows(named=True)
    ]


def refused(history: SchemaHistory, stream: Stream) -> list[Version]:
    """The versions that stop the table."""
    return [] if history.table is None else _refused(read_history(history.table, stream))


def fields_of(columns: pl.Schema, key: str) -> RowSchema:
    """Of a table whose source tells no schema: its columns."""
    found = [Column(name=name, type=named(dtype)) for name, dtype in columns.items() if name not in METADATA]
    return RowSchema(columns=tuple(found), key=(key,))


def _refused(versions: Sequence[Version]) -> list[Version]:
    return [each for each in _standing(versions) if each.state == REFUSED]


def _standing(versions: Sequence[Version]) -> Iterable[Version]:
    """Of each schema the last word."""
    return {each.schema.fingerprint: each for each in versions}.values()


def _row(number: int, seen: Seen, state: str, now: datetime) -> dict[str, object]:
    return {
        "number": number,
        "fingerprint": seen.schema.fingerprint,
        "state": state,
        "schema": orjson.dumps(seen.schema.model_dump()).decode(),
        "changes": "; ".join(seen.changes),
        PARTITION: seen.partition,
        OFFSET: seen.offset,
        "at": now,
    }
