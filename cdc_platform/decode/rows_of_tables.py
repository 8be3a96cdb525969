"""Events of one version of a table's schema as rows: their fields in the columns of the lake.

Invariant: a value is in the column that its name and its type lead to, or it is named as one that did not fit
or was not sent.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
import polars as pl

from cdc_platform.core import columns
from cdc_platform.core.errors import SchemaRefused
from cdc_platform.core.model import Policy
from cdc_platform.core.position import Engine
from cdc_platform.core.schema import compare
from cdc_platform.decode.decoded import Rules
from cdc_platform.decode.names import no_column
from cdc_platform.decode.positions import position
from cdc_platform.decode.refusal import Refusal
from cdc_platform.decode.semantic import lake_column, lost, spoken
from cdc_platform.decode.shape import Field, Shape
from cdc_platform.decode.wire import CONVERTER, Read

ROW: Final = " row"
"""No column of a database is called so by Debezium's own naming; with a blank in front none collides."""
_OPERATIONS: Final = (*columns.OPERATIONS, columns.TRUNCATE)
_PLACEHOLDER: Final = "__debezium_unavailable_value"
_PLACEHOLDER_UUID: Final = str(
    uuid.UUID(bytes=hashlib.md5(_PLACEHOLDER.encode(), usedforsecurity=False).digest(), version=3)
)
_IMAGES: Final = (
    "ALTER TABLE … REPLICA IDENTITY FULL (PostgreSQL), binlog_row_image=FULL (MariaDB, MySQL), then replay "
    "the letter or take a new snapshot"
)
_UNFITTING: Final = "change the value in the source, or let the source keep what does not fit (values: json)"


def called(field: Field, renamed: Mapping[str, str]) -> str:
    """The name of a column in the lake."""
    return renamed.get(field.column, field.column)


@dataclass(frozen=True, slots=True)
class Part:
    """Events of one schema. ``table``: the columns known so far; those of this part are added to it."""

    read: Read
    engine: Engine
    table: dict[str, pl.DataType]
    rules: Rules

    def rows(self, bad: list[Refusal]) -> pl.DataFrame:
        """The fields and metadata of the sound events, and of each whether a field was not sent."""
        events = self._events()
        events, refused = _sound(events)
        bad += refused
        shape = self.read.shape.field("after")
        images = events["image"]
        fields: list[pl.Series] = []
        for each in shape.fields if shape else ():
            fields += self._column(
                images.struct.field(each.name), called(each, self.rules.renamed), each.shape, events, bad
            )
        return pl.DataFrame([*events.drop("image"), *fields])

    def _events(self) -> pl.DataFrame:
        frame = self.read.frame
        image = pl.when(pl.col("op") == columns.DELETE).then("before").otherwise("after")
        return frame.select(
            self.read.rows.alias(ROW),
            pl.col("op").alias(columns.OPERATION),
            _moment(frame.schema["source"]).alias(columns.TIMESTAMP),
            position(frame.schema, self.engine).alias(columns.POSITION),
            image.alias("image"),
        )

    def _column(
        self, sent: pl.Series, name: str, shape: Shape, events: pl.DataFrame, bad: list[Refusal]
    ) -> list[pl.Series]:
        if why := no_column(name):
            raise SchemaRefused(
                why, remedy="leave the column out of the source's capture, or rename it there"
            )
        unsent = _unsent(sent, shape)
        if unsent is not None:
            sent = sent.to_frame("v").select(pl.when(~unsent).then("v"))["v"]
        column = lake_column(sent, shape)
        missing = lost(sent, column)
        name = self._place(name, column.dtype)
        found = [column.alias(name)]
        if unsent is not None:
            found.append(unsent.alias(f"{ROW} unsent {name}"))
        if missing.any():
            found += self._misfits(sent, shape, name, missing, events, bad)
        return found

    def _place(self, name: str, dtype: pl.DataType) -> str:
        """The column that takes values of this type."""
        number, place = 1, name
        while (there := self.table.get(place)) is not None:
            if not compare(pl.Schema({place: there}), pl.Schema({place: dtype}))[1]:
                return place
            number += 1
            place = f"{name}__v{number}"
        self.table[place] = dtype
        return place

    def _misfits(
        self,
        sent: pl.Series,
        shape: Shape,
        name: str,
        missing: pl.Series,
        events: pl.DataFrame,
        bad: list[Refusal],
    ) -> list[pl.Series]:
        told = [
            spoken(value, shape) if misfit else None
            for value, misfit in zip(sent.to_list(), missing, strict=True)
        ]
        if self.rules.values is not Policy.JSON:
            bad += [
                Refusal(row, f"field {name} does not fit: {value!r}", _UNFITTING, schema=True)
                for row, value in zip(events[ROW], told, strict=True)
                if value is not None
            ]
            return []
        texts = [None if value is None else orjson.dumps(value, default=str).decode() for value in told]
        return [pl.Series(f"{name}{columns.JSON_SUFFIX}", texts, dtype=pl.String)]


def _moment(source: Any) -> pl.Expr:
    """When the source committed, as finely as it tells."""
    names = {each.name for each in source.fields}
    micros = pl.col("source").struct.field("ts_ms") * 1000
    if "ts_us" in names:
        micros = pl.coalesce(pl.col("source").struct.field("ts_us"), micros)
    return micros.cast(columns.UTC_MICROS)


def _sound(events: pl.DataFrame) -> tuple[pl.DataFrame, list[Refusal]]:
    op, image = pl.col(columns.OPERATION), pl.col("image")
    what = (
        pl.when(op.is_null())
        .then(pl.lit("the value has no op: not a Debezium envelope"))
        .when(~op.is_in(_OPERATIONS))
        .then(pl.format("the operation {} is not known", op))
        .when(pl.col(columns.TIMESTAMP).is_null())
        .then(pl.lit("the source's time (source.ts_ms) is missing"))
        .when(image.is_null() & ~op.is_in([columns.DELETE, columns.TRUNCATE]))
        .then(pl.lit("the row after the change is missing"))
    )
    unsound = events.select(ROW, what=what).drop_nulls()
    refused = [Refusal(row, why, _IMAGES if "row" in why else CONVERTER) for row, why in unsound.iter_rows()]
    return events.filter(~pl.col(ROW).is_in(unsound[ROW].implode())), refused


def _unsent(sent: pl.Series, shape: Shape) -> pl.Series | None:
    """Which values are the placeholder of one that did not change; None if no value is."""
    value = pl.col("v")
    match sent.dtype:
        case pl.String():
            same = value == _PLACEHOLDER
        case pl.Binary():
            same = value == pl.lit(_PLACEHOLDER.encode())
        case pl.List(inner=pl.String()):
            only = value.list.first().is_in([_PLACEHOLDER, _PLACEHOLDER_UUID])
            same = (value.list.len() == 1) & only
        case pl.List() if shape.items is not None and shape.items.kind.startswith("int"):
            codes = list(_PLACEHOLDER.encode())
            same = (value.list.len() == len(codes)) & (value.list.first() == codes[0])
            if sent.list.len().eq(len(codes)).any():
                same = value.map_elements(lambda items: items.to_list() == codes, return_dtype=pl.Boolean)
        case _:
            return None
    found = pl.DataFrame({"v": sent}).select(same.fill_null(value=False))["v"]
    return found if found.any() else None
