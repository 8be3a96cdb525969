"""MariaDB's and MySQL's types in the shape that the lake keeps: what Debezium's stream tells of them.

    integers, boolean, year          integers; bigint unsigned as decimals; float as the double of that value
    decimal                          decimals
    date, datetime, timestamp        days, times without a zone, times in UTC; zero and partly zero dates null
    time                             text -HHH:MM:SS.ffffff
    bit(1)                           boolean; bit(n), binary, blob: bytes, bits from the lowest byte on
    point, geometry, …               a document of x, y, wkb and srid
    everything else                  the database's own text

A column that may not be null has 1970-01-01 in the place of a zero date, and so has every timestamp: 1970
began a second before the first timestamp that there can be.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from cdc_platform.core.scalars import Day, LocalMoment, Moment
from cdc_platform.verify.shape import Text
from cdc_platform.verify.truth.sql import Kind, Read

_EPOCH: Final = "'1970-01-01'"
_DAYS: Final = f"IF(MONTH({{}}) = 0 OR DAY({{}}) = 0, NULL, DATEDIFF({{}}, {_EPOCH}))"
_MICROS: Final = f"IF(MONTH({{}}) = 0 OR DAY({{}}) = 0, NULL, TIMESTAMPDIFF(MICROSECOND, {_EPOCH}, {{}}))"


@dataclass(frozen=True, slots=True)
class MariaType:
    """From information_schema.columns. ``name``: data_type, ``declared``: column_type, ``precision``: of
    bits and numbers."""

    name: str
    declared: str
    nullable: bool
    precision: int | None


def kind_of_type(of: MariaType) -> Kind:
    match of.name:
        case "bigint" if "unsigned" in of.declared:
            return Kind("{}", _decimal, Text.DECIMAL)
        case "bit" if of.precision == 1:
            return Kind("{}", lambda value: value != b"\0")
        case "date":
            return Kind(_DAYS if of.nullable else f"IFNULL({_DAYS}, 0)", _number(Day))
        case "datetime":
            return Kind(_MICROS if of.nullable else f"IFNULL({_MICROS}, 0)", _number(LocalMoment))
        case "timestamp":
            return Kind(f"IF({{}} IS NULL, NULL, IFNULL({_MICROS}, 0))", _number(Moment), Text.MOMENT)
    return _KINDS.get(of.name, Kind("{}", _text))


def is_read_inexactly(of: MariaType) -> bool:
    """Whether what a snapshot of Debezium reads of it may not be the value."""
    return of.name == "float"


def _number(make: Read) -> Read:
    return lambda value: make(int(value))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _decimal(value: Any) -> Decimal:
    return Decimal(_text(value))


def _shape(value: bytes) -> dict[str, Any]:
    """MariaDB's own form: the SRID in four bytes, then the WKB."""
    (srid,) = struct.unpack_from("<I", value)
    wkb = value[4:]
    document: dict[str, Any] = {"wkb": wkb, "srid": srid or None}
    if wkb[1:5] == b"\1\0\0\0" and len(wkb) == 21:
        document["x"], document["y"] = struct.unpack_from("<dd", wkb, 5)
    return document


_INTEGERS: Final = ("tinyint", "smallint", "mediumint", "int", "bigint", "year")
_BYTES: Final = ("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob")
_SHAPES: Final = (
    *("point", "linestring", "polygon", "geometry"),
    *("multipoint", "multilinestring", "multipolygon", "geometrycollection", "geomcollection"),
)
_KINDS: Final[Mapping[str, Kind]] = {
    **dict.fromkeys(_INTEGERS, Kind("{}", _number(int))),
    # A float prints with six digits; multiplied it is a double, with all of them, and keeps the sign of zero.
    "float": Kind("{} * 1e0", float),
    "double": Kind("{}", float),
    "decimal": Kind("{}", _decimal, Text.DECIMAL),
    "time": Kind("TIME_FORMAT({}, '%H:%i:%s.%f')", _text),
    "bit": Kind("{}", lambda value: value[::-1]),
    **dict.fromkeys(_BYTES, Kind("{}", bytes)),
    **dict.fromkeys(_SHAPES, Kind("{}", _shape)),
}
