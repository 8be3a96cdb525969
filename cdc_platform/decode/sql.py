"""Change events of PostgreSQL, MariaDB and MySQL from Kafka → rows of the changelog.

Invariants
- The same records and the same table give the same rows, whatever the wire format.
- The row's image is the row after the change, or for a delete the one before it, as far as there is one. A
  truncation is a row without a key and without an image.
- A column is where its name and its type are: one whose type the table's column cannot hold goes on in
  ``<column>__v2``, so nothing is cast and what was written stays readable.
- A value that the source did not send, as it did not change (PostgreSQL's TOAST without REPLICA IDENTITY
  FULL), is null here and named in ``Decoded.unsent``; it is for replication to put the old one in its place.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson
import polars as pl

from cdc_platform.core import columns
from cdc_platform.core.errors import SchemaRefused
from cdc_platform.core.model import Policy, Records
from cdc_platform.core.ports import Registry
from cdc_platform.core.position import POSITIONS, Engine
from cdc_platform.core.row_schema import Column, RowSchema
from cdc_platform.core.schema import compare
from cdc_platform.decode.decoded import PLACE, Decoded, Rows, Rules, decoded
from cdc_platform.decode.documents import Layout
from cdc_platform.decode.envelope import ENVELOPE, REPAIRS, oversized, without
from cdc_platform.decode.keys import key_texts
from cdc_platform.decode.names import no_column
from cdc_platform.decode.positions import position
from cdc_platform.decode.refusal import Refusal
from cdc_platform.decode.semantic import lake_column, lost, spoken, told_type
from cdc_platform.decode.shape import Shape
from cdc_platform.decode.versions import Gate
from cdc_platform.decode.wire import CONVERTER, NO_KEY, Read, Wire

_ROW: Final = " row"
"""No column of a database is called so by Debezium's own naming; with a blank in front none collides."""
_OPERATIONS: Final = (*columns.OPERATIONS, columns.TRUNCATE)
_PLACEHOLDER: Final = "__debezium_unavailable_value"
_PLACEHOLDER_UUID: Final = str(
    uuid.UUID(bytes=hashlib.md5(_PLACEHOLDER.encode(), usedforsecurity=False).digest(), version=3)
)
_NO_COLUMNS: Final = pl.Schema()
_IMAGES: Final = (
    "ALTER TABLE … REPLICA IDENTITY FULL (PostgreSQL), binlog_row_image=FULL (MariaDB, MySQL), then replay "
    "the letter or take a new snapshot"
)
_NOT_TAKEN: Final = "the source's table has changed as its policy of compatibility does not allow: "
_ACCEPT: Final = (
    "change it back in the source; or, to take it from here on, run cdc schema accept TABLE: a column "
    "of another type goes on in <column>__v2"
)
_UNFITTING: Final = "change the value in the source, or let the source keep what does not fit (values: json)"


@dataclass(slots=True)
class SqlDecoder:
    """``engine``: of the source. ``registry``: where Avro's schemas are, None without any."""

    engine: Engine
    registry: Registry | None = None
    _keys: Wire = field(init=False)
    _values: Wire = field(init=False)

    def __post_init__(self) -> None:
        self._keys, self._values = Wire(self.registry), Wire(self.registry)

    def __call__(
        self,
        records: Records,
        table: pl.Schema = _NO_COLUMNS,
        rules: Rules | None = None,
        layout: Layout | None = None,
    ) -> Decoded:
        del layout  # nothing of a batch is inferred from its values
        rules = rules or Rules()
        return decoded(records, rules, lambda some: self._rows(some, table, rules))

    def key_of(self, key: bytes | None) -> str | None:
        texts = self._key_texts(pl.Series([0], dtype=pl.UInt32), pl.Series([key], dtype=pl.Binary), [])
        found: str | None = texts["key"][0] if texts.height else None
        return found

    def operation_of(self, value: bytes) -> str | None:
        for read in self._values.read("value", pl.Series([0]), pl.Series([value]), []):
            if "op" in read.frame.columns:
                found: str | None = read.frame["op"][0]
                return found
        return None

    def _rows(self, records: Records, table: pl.Schema, rules: Rules) -> Rows:
        indexed = records.frame.with_row_index(_ROW).filter(pl.col("value").is_not_null())
        indexed, bad = oversized(indexed, rules.record_bytes, _ROW)
        repairs, indexed = _repairs(indexed, self.engine)
        keys = self._key_texts(indexed[_ROW], indexed["key"], bad)
        parts = [repairs] if repairs.height else []
        known, gate = dict(table), Gate(rules.versions)
        reads = self._values.read("value", indexed[_ROW], indexed["value"], bad)
        for read in sorted(reads, key=_since):
            if missing := ENVELOPE - set(read.frame.columns):
                bad += [Refusal(row, without(missing), CONVERTER) for row in read.rows]
            elif not (refused := self._refused(read, keys, records, gate)):
                parts.append(_Part(read, self.engine, known, rules.values).rows(bad))
            else:
                bad.append(refused)
        whole = pl.concat([_empty(self.engine), *parts], how="diagonal")
        whole = whole.join(keys, on=_ROW, how="left").with_columns(
            pl.coalesce("key", columns.KEY).alias(columns.KEY)
        )
        whole = whole.filter(~pl.col(_ROW).is_in([each.row for each in bad])).sort(_ROW)
        found = _assembled(whole.drop("names"), records, bad)
        return replace(found, versions=tuple(gate.taken), versions_refused=tuple(gate.refused))

    def _refused(self, read: Read, keys: pl.DataFrame, records: Records, gate: Gate) -> Refusal | None:
        """Of the first event of a version of the schema that is not taken."""
        rows = pl.DataFrame({_ROW: read.rows}).join(keys, on=_ROW, how="left", maintain_order="left")
        first = rows.drop_nulls("names").unique("names", maintain_order=True)
        for row, names in (first if first.height else rows.head(1)).select(_ROW, "names").iter_rows():
            schema = _row_schema(read.shape, tuple(names or ()))
            partition, offset = records.frame.select("partition", "offset").row(row)
            if why := gate.violations(schema, partition, offset):
                return Refusal(row, _NOT_TAKEN + "; ".join(why), _ACCEPT, schema=True, stops=True)
        return None

    def _key_texts(self, rows: pl.Series, keys: pl.Series, bad: list[Refusal]) -> pl.DataFrame:
        """The text of each key, by row; a row without a key has none."""
        there = (~keys.bin.starts_with(NO_KEY)).fill_null(value=False)
        found = [
            pl.DataFrame({_ROW: read.rows, "key": key_texts(_fields(read.frame, read.shape))}).with_columns(
                names=pl.lit([each.column for each in read.shape.fields], dtype=pl.List(pl.String))
            )
            for read in self._keys.read("key", rows.filter(there), keys.filter(there), bad)
        ]
        schema = pl.Schema({_ROW: pl.UInt32(), "key": pl.String(), "names": pl.List(pl.String)})
        return pl.concat(found) if found else pl.DataFrame(schema=schema)


def _row_schema(shape: Shape, key: tuple[str, ...]) -> RowSchema:
    row = shape.field("after")
    found = [
        Column(name=each.column, type=told_type(each.shape), optional=each.optional, default=each.default)
        for each in (row.fields if row else ())
    ]
    return RowSchema(columns=tuple(found), key=key)


def _since(read: Read) -> int:
    """When the source first had this schema, as far as the batch tells: the older one keeps its columns."""
    source = read.frame.schema.get("source")
    if not isinstance(source, pl.Struct) or "ts_ms" not in {each.name for each in source.fields}:
        return 0
    return int(read.frame["source"].struct.field("ts_ms").min() or 0)  # type: ignore[arg-type]


def _fields(frame: pl.DataFrame, shape: Shape) -> pl.DataFrame:
    return pl.DataFrame(
        [lake_column(frame[each.name], each.shape).alias(each.column) for each in shape.fields]
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """Events of one schema. ``table``: the columns known so far; those of this part are added to it."""

    read: Read
    engine: Engine
    table: dict[str, pl.DataType]
    values: Policy

    def rows(self, bad: list[Refusal]) -> pl.DataFrame:
        """The fields and metadata of the sound events, and of each whether a field was not sent."""
        events = self._events()
        events, refused = _sound(events)
        bad += refused
        shape = self.read.shape.field("after")
        images = events["image"]
        fields: list[pl.Series] = []
        for each in shape.fields if shape else ():
            fields += self._column(images.struct.field(each.name), each.column, each.shape, events, bad)
        return pl.DataFrame([*events.drop("image"), *fields])

    def _events(self) -> pl.DataFrame:
        frame = self.read.frame
        image = pl.when(pl.col("op") == columns.DELETE).then("before").otherwise("after")
        return frame.select(
            self.read.rows.alias(_ROW),
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
            found.append(unsent.alias(f"{_ROW} unsent {name}"))
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
        if self.values is not Policy.JSON:
            bad += [
                Refusal(row, f"field {name} does not fit: {value!r}", _UNFITTING, schema=True)
                for row, value in zip(events[_ROW], told, strict=True)
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
    unsound = events.select(_ROW, what=what).drop_nulls()
    refused = [Refusal(row, why, _IMAGES if "row" in why else CONVERTER) for row, why in unsound.iter_rows()]
    return events.filter(~pl.col(_ROW).is_in(unsound[_ROW].implode())), refused


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


def _repairs(records: pl.DataFrame, engine: Engine) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Deletes that the platform itself wrote (``reconcile``), which are plain JSON, and the other records."""
    mark = f'"connector":"{columns.PLATFORM}"'.encode()
    ours = records["value"].bin.starts_with(b'{"before"') & records["value"].bin.contains(mark)
    rows = []
    for row, key, value in records.filter(ours).select(_ROW, "key", "value").iter_rows():
        source = orjson.loads(value)["source"]
        rows.append(
            {
                _ROW: row,
                columns.KEY: orjson.loads(key)["id"],
                columns.OPERATION: columns.DELETE,
                columns.TIMESTAMP: source["ts_ms"] * 1000,
                columns.POSITION: source.get("position", {}),
                REPAIRS: source[REPAIRS],
            }
        )
    schema = {**_empty(engine).schema, REPAIRS: pl.Int64()}
    return pl.DataFrame(rows, schema=schema), records.filter(~ours)


def _empty(engine: Engine) -> pl.DataFrame:
    return pl.DataFrame(
        schema={
            _ROW: pl.UInt32(),
            columns.KEY: pl.String(),
            columns.OPERATION: pl.String(),
            columns.TIMESTAMP: columns.UTC_MICROS,
            columns.POSITION: POSITIONS[engine],
        }
    )


def _assembled(whole: pl.DataFrame, records: Records, bad: list[Refusal]) -> Rows:
    ours = {columns.KEY, columns.OPERATION, columns.TIMESTAMP, columns.POSITION, "key", REPAIRS}
    marks = [name for name in whole.columns if name.startswith(f"{_ROW} unsent ")]
    names = [name for name in whole.columns if name not in ours and not name.startswith(_ROW)]
    origin = records.frame[whole[_ROW]]
    frame = whole.select(columns.KEY, *names, columns.OPERATION, columns.TIMESTAMP, columns.POSITION)
    frame = frame.with_columns(
        pl.lit(records.stream.topic).alias(columns.TOPIC),
        origin["partition"].alias(columns.PARTITION),
        origin["offset"].alias(columns.OFFSET),
    )
    places = frame.select(columns.KEY, *PLACE)
    repairs = (
        places.with_columns(whole[REPAIRS]).drop_nulls(REPAIRS)
        if REPAIRS in whole.columns
        else places.clear().with_columns(pl.lit(None, dtype=pl.Int64).alias(REPAIRS))
    )
    unsent = whole.select(pl.col(each).alias(each.removeprefix(f"{_ROW} unsent ")) for each in marks)
    told = frame.select(PLACE).hstack(unsent.fill_null(value=False)) if marks else frame.clear().select(PLACE)
    told = told.filter(pl.any_horizontal(pl.exclude(PLACE))) if marks else told
    # A record may be refused for its key and for its value: one reason is enough.
    first = {refusal.row: refusal for refusal in reversed(bad)}
    return Rows(frame, repairs, [first[row] for row in sorted(first)], unsent=told)
