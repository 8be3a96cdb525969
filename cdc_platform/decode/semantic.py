"""What Debezium's values mean, and the columns of the lake that they become.

Invariants
- The type of a column follows from the schema alone, never from the values of a batch.
- All integers are 64 bits wide, all decimals 38 digits, all floats doubles: what a database widens later fits
  the column that is there.
- A value that its column cannot hold (a date of infinity) is null in it and named in ``lost``: what becomes
  of it is the source's policy.

Source: Debezium 3.4's io.debezium.time, io.debezium.data and Kafka Connect's logical types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import orjson
import polars as pl
import pyarrow as pa

from cdc_platform.core import lists
from cdc_platform.core.columns import UTC_MICROS
from cdc_platform.core.logical import WRAPPERS
from cdc_platform.decode import decimals
from cdc_platform.decode.shape import Shape
from cdc_platform.decode.structs import each_field, structs

NAIVE_MICROS: Final = pl.Datetime("us")
DECIMAL_TEXT: Final = WRAPPERS["decimal"]
"""A decimal of any length, kept apart from text."""

_COLUMN_TYPE: Final = "__debezium.source.column.type"
_LENGTH: Final = "__debezium.source.column.length"
_SCALE: Final = "__debezium.source.column.scale"
_DECIMALS: Final = frozenset({"NUMERIC", "DECIMAL", "MONEY"})
_CONNECT: Final = "org.apache.kafka.connect.data."
_TIME: Final = "io.debezium.time."
_VARIABLE: Final = "io.debezium.data.VariableScaleDecimal"
_ZONED: Final = f"{_TIME}ZonedTimestamp"

_MICROS: Final[Mapping[str, int]] = {
    f"{_TIME}Timestamp": 1_000,
    f"{_CONNECT}Timestamp": 1_000,
    f"{_TIME}MicroTimestamp": 1,
}
_CLOCK: Final[Mapping[str, int]] = {
    f"{_TIME}Time": 1_000,
    f"{_CONNECT}Time": 1_000,
    f"{_TIME}MicroTime": 1,
}
_INFINITE_DAYS: Final[Mapping[int, str]] = {
    -2147472692: "infinity",
    -2147472691: "-infinity",
    -622191234: "infinity",
    -625821272: "-infinity",
}
"""What Debezium 3.4 makes of PostgreSQL's infinite dates, in the stream and in snapshots: no date of its."""
_INFINITE_MICROS: Final[Mapping[int, str]] = {
    9223372036825200000: "infinity",
    -9223372036832400000: "-infinity",
}
_DAYS: Final = frozenset({f"{_TIME}Date", f"{_CONNECT}Date"})
_KINDS: Final[Mapping[str, pl.DataType]] = {
    "boolean": pl.Boolean(),
    **dict.fromkeys(("int8", "int16", "int32", "int64"), pl.Int64()),
    **dict.fromkeys(("float", "double", "float32", "float64"), pl.Float64()),
    "string": pl.String(),
    "bytes": pl.Binary(),
    "map": pl.String(),
}


def lake_type(shape: Shape) -> pl.DataType:
    """The logical type of the column that values of this shape become."""
    match shape.kind:
        case "array" if shape.items is not None:
            return pl.List(lake_type(_items(shape)))
        case "string" if _is_decimal_text(shape):
            return _decimal_type(_declared_scale(shape))
        case "struct" if shape.semantic == _VARIABLE:
            return DECIMAL_TEXT
        case "struct":
            return pl.Struct({each.name: lake_type(each.shape) for each in shape.fields})
    if shape.semantic in _MICROS:
        return NAIVE_MICROS
    if shape.semantic in _DAYS:
        return pl.Date()
    if shape.semantic in _CLOCK:
        return pl.String()
    if shape.semantic == _ZONED:
        return UTC_MICROS
    if shape.semantic == f"{_CONNECT}Decimal":
        return _decimal_type(_fixed_scale(shape))
    return _KINDS[shape.kind]


def lake_column(values: pl.Series, shape: Shape) -> pl.Series:
    """The values as ``lake_type`` says. ``values``: as Avro has them, bytes as bytes, floats as floats."""
    if values.dtype == pl.Null:
        return values.cast(lake_type(shape))
    match shape.kind:
        case "array" if shape.items is not None:
            return _list(values, _items(shape))
        case "string" if _is_decimal_text(shape):
            return _decimal_text(values, _declared_scale(shape))
        case "struct" if shape.semantic == _VARIABLE:
            parts = values.struct
            return _wrapped(decimals.texts(parts.field("value"), parts.field("scale")), values)
        case "struct":
            return each_field(values, shape, lake_column)
        case "map":
            return _map(values)
    if convert := _CONVERT.get(shape.semantic):
        return convert(values, shape)
    return values.cast(lake_type(shape))


def spoken(value: object, shape: Shape) -> object:
    """A value that its column cannot hold, as its database calls it."""
    if isinstance(value, list) and shape.items is not None:
        return [spoken(each, shape.items) for each in value]
    specials = _INFINITE_DAYS if shape.semantic in _DAYS else _INFINITE_MICROS
    if isinstance(value, str):
        return decimals.SPECIALS.get(value, value)
    return specials.get(value, value) if isinstance(value, int) else value


def lost(values: pl.Series, column: pl.Series) -> pl.Series:
    """Which rows have a value that became null in the column, on any level."""
    if isinstance(values.dtype, pl.List) and isinstance(column.dtype, pl.List):
        nulls = pl.element().is_null().sum()
        before, after = values.list.eval(nulls), column.list.eval(nulls)
        return (before.list.first() != after.list.first()).fill_null(value=False)
    return values.is_not_null() & column.is_null()


def _decimal_type(scale: int | None) -> pl.DataType:
    return DECIMAL_TEXT if scale is None else pl.Decimal(decimals.DIGITS, scale)


def _fixed_scale(shape: Shape) -> int | None:
    """The scale of a decimal whose column is a Decimal; None if it is text."""
    precision = shape.parameters.get("connect.decimal.precision")
    if shape.parameters.get(_COLUMN_TYPE) == "MONEY":
        precision = "19"  # a 64-bit number of cents
    scale = int(shape.parameters.get("scale", 0))
    if precision is None or int(precision) > decimals.DIGITS or not 0 <= scale <= decimals.DIGITS:
        return None
    return scale


def _decimal(values: pl.Series, shape: Shape) -> pl.Series:
    scale = _fixed_scale(shape)
    if scale is not None:
        return decimals.fixed(values, scale)
    scales = pl.repeat(int(shape.parameters.get("scale", 0)), len(values), dtype=pl.Int64, eager=True)
    return _wrapped(decimals.texts(values, scales), values)


def _is_decimal_text(shape: Shape) -> bool:
    """Whether a text is a decimal (``decimal.handling.mode=string``), which has NaN and infinity, too."""
    return not shape.semantic and shape.parameters.get(_COLUMN_TYPE) in _DECIMALS


def _declared_scale(shape: Shape) -> int | None:
    """As ``_fixed_scale``, by the column's own declaration."""
    if shape.parameters.get(_COLUMN_TYPE) == "MONEY":
        return 2
    digits, scale = int(shape.parameters.get(_LENGTH, 0)), int(shape.parameters.get(_SCALE, 0))
    return scale if 0 < digits <= decimals.DIGITS and scale <= decimals.DIGITS else None


def _items(shape: Shape) -> Shape:
    """Of an array: what its column's declaration says of its elements goes for them."""
    assert shape.items is not None
    declared = shape.parameters.get(_COLUMN_TYPE, "")
    if declared.lstrip("_") not in _DECIMALS or shape.items.kind != "string":
        return shape.items
    return replace(shape.items, parameters={**shape.parameters, _COLUMN_TYPE: declared.lstrip("_")})


def _decimal_text(values: pl.Series, scale: int | None) -> pl.Series:
    plain = decimals.plain(values)
    if scale is None:
        return _wrapped(plain, values)
    return plain.cast(_decimal_type(scale), strict=False).alias(values.name)


def _wrapped(texts: pl.Series, values: pl.Series) -> pl.Series:
    [wrapper] = DECIMAL_TEXT.fields
    return structs([texts.alias(wrapper.name)], texts.is_not_null()).alias(values.name)


def _clock(values: pl.Series, shape: Shape) -> pl.Series:
    """A time of day, or MariaDB's span of up to 838 hours either way, as -HH:MM:SS.ffffff."""
    micros = pl.col("v").cast(pl.Int64) * _CLOCK[shape.semantic]
    whole = micros.abs()
    seconds = whole // 1_000_000
    text = pl.concat_str(
        pl.when(micros < 0).then(pl.lit("-")).otherwise(pl.lit("")),
        (seconds // 3600).cast(pl.String).str.zfill(2),
        pl.lit(":"),
        (seconds // 60 % 60).cast(pl.String).str.zfill(2),
        pl.lit(":"),
        (seconds % 60).cast(pl.String).str.zfill(2),
        pl.lit("."),
        (whole % 1_000_000).cast(pl.String).str.zfill(6),
    )
    return pl.DataFrame({"v": values}).select(text.alias(values.name))[values.name]


def _zoned(values: pl.Series, shape: Shape) -> pl.Series:
    del shape
    return values.str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", time_zone="UTC", strict=False)


def _moment(values: pl.Series, shape: Shape) -> pl.Series:
    return (_finite(values.cast(pl.Int64), _INFINITE_MICROS) * _MICROS[shape.semantic]).cast(NAIVE_MICROS)


def _date(values: pl.Series, shape: Shape) -> pl.Series:
    del shape
    return _finite(values.cast(pl.Int64), _INFINITE_DAYS).cast(pl.Int32).cast(pl.Date)


def _finite(values: pl.Series, specials: Mapping[int, str]) -> pl.Series:
    special = values.is_in(list(specials))
    return values.zip_with(~special, pl.Series([None], dtype=values.dtype)) if special.any() else values


_CONVERT: Final[Mapping[str, Callable[[pl.Series, Shape], pl.Series]]] = {
    **dict.fromkeys(_MICROS, _moment),
    **dict.fromkeys(_CLOCK, _clock),
    **dict.fromkeys(_DAYS, _date),
    _ZONED: _zoned,
    f"{_CONNECT}Decimal": _decimal,
}


def _list(values: pl.Series, items: Shape) -> pl.Series:
    array = values.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    offsets, inside = lists.parts(array)
    inner = pl.Series("item", pl.from_arrow(inside))
    converted = lake_column(inner, items).rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    rebuilt = pa.LargeListArray.from_arrays(offsets.cast(pa.int64()), converted, mask=array.is_null())
    return pl.Series(values.name, pl.from_arrow(rebuilt), dtype=pl.List(lake_type(items)))


def _map(values: pl.Series) -> pl.Series:
    """As JSON text: what a map holds is the value's affair, not the table's."""
    if values.dtype == pl.String:
        return values
    if isinstance(values.dtype, pl.Struct):
        return values.struct.json_encode()
    return values.map_elements(_map_text, return_dtype=pl.String)


def _map_text(pairs: pl.Series) -> str:
    keys, values = pairs.struct.field("key"), pairs.struct.field("value")
    if keys.dtype == pl.String:
        return orjson.dumps(dict(zip(keys, values, strict=True))).decode()
    return orjson.dumps([list(pair) for pair in zip(keys, values, strict=True)]).decode()


def told_type(shape: Shape) -> str:
    """The source's type in a word or two, as schemas are compared and shown (``core.row_schema``)."""
    match shape.kind:
        case "array" if shape.items is not None:
            return f"array<{told_type(_items(shape))}>"
        case "struct" if not shape.semantic.startswith("io.debezium."):
            return f"struct<{', '.join(f'{each.name}: {told_type(each.shape)}' for each in shape.fields)}>"
    if _is_decimal_text(shape):
        return f"decimal({shape.parameters.get(_LENGTH, '0')},{shape.parameters.get(_SCALE, '0')})"
    if shape.semantic == f"{_CONNECT}Decimal":
        digits = shape.parameters.get("connect.decimal.precision", "0")
        return f"decimal({digits},{shape.parameters.get('scale', '0')})"
    if shape.semantic:
        return shape.semantic.rpartition(".")[2].lower()
    return {"float32": "float", "float64": "double"}.get(shape.kind, shape.kind)
