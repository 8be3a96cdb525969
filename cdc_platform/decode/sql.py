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

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import orjson
import polars as pl

from cdc_platform.core import columns
from cdc_platform.core.model import Records
from cdc_platform.core.ports import Registry
from cdc_platform.core.position import POSITIONS, Engine
from cdc_platform.core.row_schema import Column, RowSchema
from cdc_platform.decode.decoded import PLACE, Decoded, Rows, Rules, decoded
from cdc_platform.decode.documents import Layout
from cdc_platform.decode.envelope import ENVELOPE, REPAIRS, oversized, without
from cdc_platform.decode.keys import key_texts
from cdc_platform.decode.refusal import Refusal
from cdc_platform.decode.rows_of_tables import ROW, Part, called
from cdc_platform.decode.semantic import lake_column, told_type
from cdc_platform.decode.shape import Shape
from cdc_platform.decode.versions import Gate
from cdc_platform.decode.wire import CONVERTER, NO_KEY, Read, Wire

_NO_COLUMNS: Final = pl.Schema()
_NOT_TAKEN: Final = "the source's table has changed as its policy of compatibility does not allow: "
_ACCEPT: Final = (
    "change it back in the source; or, to take it from here on, run cdc schema accept TABLE: a column "
    "of another type goes on in <column>__v2"
)


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
        alone = pl.Series([0], dtype=pl.UInt32), pl.Series([key], dtype=pl.Binary)
        texts = self._key_texts(*alone, {}, [])
        found: str | None = texts["key"][0] if texts.height else None
        return found

    def operation_of(self, value: bytes) -> str | None:
        for read in self._values.read("value", pl.Series([0]), pl.Series([value]), []):
            if "op" in read.frame.columns:
                found: str | None = read.frame["op"][0]
                return found
        return None

    def _rows(self, records: Records, table: pl.Schema, rules: Rules) -> Rows:
        indexed = records.frame.with_row_index(ROW).filter(pl.col("value").is_not_null())
        indexed, bad = oversized(indexed, rules.record_bytes, ROW)
        repairs, indexed = _repairs(indexed, self.engine)
        keys = self._key_texts(indexed[ROW], indexed["key"], rules.renamed, bad)
        parts = [repairs] if repairs.height else []
        known, gate = dict(table), Gate(rules.versions)
        reads = self._values.read("value", indexed[ROW], indexed["value"], bad)
        for read in sorted(reads, key=_since):
            if missing := ENVELOPE - set(read.frame.columns):
                bad += [Refusal(row, without(missing), CONVERTER) for row in read.rows]
            elif not (refused := self._refused(read, keys, records, gate, rules.renamed)):
                parts.append(Part(read, self.engine, known, rules).rows(bad))
            else:
                bad.append(refused)
        whole = pl.concat([_empty(self.engine), *parts], how="diagonal")
        whole = whole.join(keys, on=ROW, how="left").with_columns(
            pl.coalesce("key", columns.KEY).alias(columns.KEY)
        )
        whole = whole.filter(~pl.col(ROW).is_in([each.row for each in bad])).sort(ROW)
        found = _assembled(whole.drop("names"), records, bad)
        return replace(found, versions=tuple(gate.taken), versions_refused=tuple(gate.refused))

    def _refused(
        self, read: Read, keys: pl.DataFrame, records: Records, gate: Gate, renamed: Mapping[str, str]
    ) -> Refusal | None:
        """Of the first event of a version of the schema that is not taken."""
        rows = pl.DataFrame({ROW: read.rows}).join(keys, on=ROW, how="left", maintain_order="left")
        first = rows.drop_nulls("names").unique("names", maintain_order=True)
        for row, names in (first if first.height else rows.head(1)).select(ROW, "names").iter_rows():
            schema = _row_schema(read.shape, tuple(names or ()), renamed)
            partition, offset = records.frame.select("partition", "offset").row(row)
            if why := gate.violations(schema, partition, offset):
                return Refusal(row, _NOT_TAKEN + "; ".join(why), _ACCEPT, schema=True, stops=True)
        return None

    def _key_texts(
        self, rows: pl.Series, keys: pl.Series, renamed: Mapping[str, str], bad: list[Refusal]
    ) -> pl.DataFrame:
        """The text of each key, by row; a row without a key has none."""
        there = (~keys.bin.starts_with(NO_KEY)).fill_null(value=False)
        found = [
            pl.DataFrame({ROW: read.rows, "key": key_texts(_fields(read, renamed))}).with_columns(
                names=pl.lit([called(each, renamed) for each in read.shape.fields], dtype=pl.List(pl.String))
            )
            for read in self._keys.read("key", rows.filter(there), keys.filter(there), bad)
        ]
        schema = pl.Schema({ROW: pl.UInt32(), "key": pl.String(), "names": pl.List(pl.String)})
        return pl.concat(found) if found else pl.DataFrame(schema=schema)


def _row_schema(shape: Shape, key: tuple[str, ...], renamed: Mapping[str, str]) -> RowSchema:
    row = shape.field("after")
    found = [
        Column(
            name=called(each, renamed),
            type=told_type(each.shape),
            optional=each.optional,
            default=each.default,
        )
        for each in (row.fields if row else ())
    ]
    return RowSchema(columns=tuple(found), key=key)


def _since(read: Read) -> int:
    """When the source first had this schema, as far as the batch tells: the older one keeps its columns."""
    source = read.frame.schema.get("source")
    if not isinstance(source, pl.Struct) or "ts_ms" not in {each.name for each in source.fields}:
        return 0
    return int(read.frame["source"].struct.field("ts_ms").min() or 0)  # type: ignore[arg-type]


def _fields(read: Read, renamed: Mapping[str, str]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            lake_column(read.frame[each.name], each.shape).alias(called(each, renamed))
            for each in read.shape.fields
        ]
    )


def _repairs(records: pl.DataFrame, engine: Engine) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Deletes that the platform itself wrote (``reconcile``), which are plain JSON, and the other records."""
    mark = f'"connector":"{columns.PLATFORM}"'.encode()
    ours = records["value"].bin.starts_with(b'{"before"') & records["value"].bin.contains(mark)
    rows = []
    for row, key, value in records.filter(ours).select(ROW, "key", "value").iter_rows():
        source = orjson.loads(value)["source"]
        rows.append(
            {
                ROW: row,
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
            ROW: pl.UInt32(),
            columns.KEY: pl.String(),
            columns.OPERATION: pl.String(),
            columns.TIMESTAMP: columns.UTC_MICROS,
            columns.POSITION: POSITIONS[engine],
        }
    )


def _assembled(whole: pl.DataFrame, records: Records, bad: list[Refusal]) -> Rows:
    ours = {columns.KEY, columns.OPERATION, columns.TIMESTAMP, columns.POSITION, "key", REPAIRS}
    marks = [name for name in whole.columns if name.startswith(f"{ROW} unsent ")]
    names = [name for name in whole.columns if name not in ours and not name.startswith(ROW)]
    origin = records.frame[whole[ROW]]
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
    unsent = whole.select(pl.col(each).alias(each.removeprefix(f"{ROW} unsent ")) for each in marks)
    told = frame.select(PLACE).hstack(unsent.fill_null(value=False)) if marks else frame.clear().select(PLACE)
    told = told.filter(pl.any_horizontal(pl.exclude(PLACE))) if marks else told
    # A record may be refused for its key and for its value: one reason is enough.
    first = {refusal.row: refusal for refusal in reversed(bad)}
    return Rows(frame, repairs, [first[row] for row in sorted(first)], unsent=told)
