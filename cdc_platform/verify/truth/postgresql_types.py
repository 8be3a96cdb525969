"""PostgreSQL's types in the shape that the lake keeps, which is what Debezium's stream tells of them.

    integers, oid                    integers; real as the double of exactly that value
    numeric, money                   decimals, NaN and infinity among them
    date, timestamp, timestamptz     days, times without a zone, times in UTC, of the proleptic calendar
    time, timetz, interval           texts: HH:MM:SS.ffffff; in UTC with a Z; ISO 8601 with all its fields
    bit(1), boolean                  booleans
    bit(n), varbit, bytea            bytes; bits from the lowest byte on, without zeros at their end
    point                            x, y and its WKB
    hstore                           text, of a JSON object
    arrays                           lists
    json, uuid, inet, ranges, …      the database's own text
    everything else                  the bytes of that text, as ``include.unknown.datatypes`` sends it

An infinite date or time is a text, as the lake keeps it. A value that Debezium does not send as it is (arrays
of several dimensions, arrays of enums, infinite intervals) is what it is here: its row differs.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

from cdc_platform.core.scalars import Day, LocalMoment, Moment
from cdc_platform.verify.key import java_double
from cdc_platform.verify.shape import Text
from cdc_platform.verify.truth.sql import Kind, Read, number_or_text, stripped

_PRINTED: Final = "CASE WHEN {} IS DISTINCT FROM NULL THEN format('%s', {}) END"
"""By the type's output function: a cast to text cuts the blanks of char(n) and adds a mask to inet. A row of
nulls is no null, though PostgreSQL says that it IS NULL."""
_MICROS: Final = "CASE WHEN isfinite({}) THEN trunc(extract(epoch FROM {}) * 1000000)::text ELSE {}::text END"
_NUMBER: Final = re.compile(r"-?(?:\d+(?:\.\d*)?(?:e[+-]?\d+)?|Infinity)|NaN")


@dataclass(frozen=True, slots=True)
class PostgresType:
    """From the catalog, a domain's base type in its place. ``schema``, ``name``: of the type. ``form``: its
    typtype (e enum, c composite, …). ``modifier``: typmod, -1 without. ``items``: of an array, the type of
    its items."""

    schema: str
    name: str
    form: str
    modifier: int
    items: PostgresType | None = None


def kind_of_type(of: PostgresType) -> Kind:
    if of.items is not None:
        return _array(of.items)
    if of.form == "e":
        return Kind(_PRINTED, str)
    match of.name:
        case "bit" if of.modifier == 1:
            return Kind(_PRINTED, lambda text: text == "1")
        case "hstore":
            return Kind(f'"{of.schema}".hstore_to_json({{}})::text', _compact)
    return _KINDS.get(of.name, Kind(_PRINTED, str.encode))


def is_sent(items: PostgresType) -> bool:
    """Whether Debezium sends arrays of such items."""
    known = items.name in _KINDS or items.name == "hstore"
    return items.form in "br" and known and items.name not in _NOT_IN_ARRAYS


def _array(items: PostgresType) -> Kind:
    """Item by item; those that Debezium does not send are the text of the whole."""
    kind = kind_of_type(items)
    if not is_sent(items):
        return Kind(_PRINTED, str)
    if items.name == "numeric" and not 0 < _precision(items.modifier) <= 38:
        kind = replace(kind, sql=f"{kind.sql}::text", read=str)
    each = kind.sql.replace("{}", "x")
    order = "unnest({}) WITH ORDINALITY AS items(x, n)"
    listed = f"CASE WHEN {{}} IS NOT NULL THEN ARRAY(SELECT {each} FROM {order} ORDER BY n) END"
    return Kind(listed, lambda values: [None if value is None else kind.read(value) for value in values])


def _precision(modifier: int) -> int:
    return (modifier - 4) >> 16 if modifier >= 0 else 0


def _compact(text: str) -> str:
    return json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))


def _point(text: str) -> dict[str, Any]:
    x, y = map(float, text.strip("()").split(","))
    return {"x": x, "y": y, "wkb": struct.pack("<BIdd", 1, 1, x, y)}


def _geometry(text: str) -> bytes:
    """With the numbers as Java prints them: Debezium sends what its driver makes of the value."""
    return _NUMBER.sub(lambda found: _java(found[0]), text).encode()


def _java(number: str) -> str:
    return number if number.endswith(("y", "N")) else java_double(float(number))


def _vector(text: str) -> list[float]:
    return [float(number) for number in json.loads(text)]


def _half_vector(text: str) -> list[float]:
    return [struct.unpack("f", struct.pack("f", number))[0] for number in _vector(text)]


def _plain(read: Read) -> Kind:
    return Kind("{}", read)


_INTERVAL: Final = (
    "CASE WHEN isfinite({}) THEN format('P%sY%sM%sDT%sH%sM%sS', extract(year FROM {})::bigint, "
    "extract(month FROM {})::bigint, extract(day FROM {})::bigint, extract(hour FROM {})::bigint, "
    "extract(minute FROM {})::bigint, trim_scale(extract(second FROM {}))) ELSE {}::text END"
)
_TEXTS: Final = (
    *("text", "varchar", "bpchar", "char", "name", "citext", "ltree", "uuid", "json", "jsonb", "xml"),
    *("inet", "cidr", "macaddr", "macaddr8", "tsvector"),
    *("int4range", "int8range", "numrange", "tsrange", "tstzrange", "daterange"),
)
_KINDS: Final[Mapping[str, Kind]] = {
    **dict.fromkeys(("int2", "int4", "int8", "oid"), _plain(int)),
    "bool": _plain(bool),
    "float4": Kind("{}::float8", float),
    "float8": _plain(float),
    "numeric": Kind("{}", Decimal, Text.DECIMAL),
    "money": Kind("{}::numeric", Decimal, Text.DECIMAL),
    "date": Kind(
        "CASE WHEN isfinite({}) THEN ({} - DATE '1970-01-01')::text ELSE {}::text END",
        number_or_text(Day),
    ),
    "timestamp": Kind(_MICROS, number_or_text(LocalMoment)),
    "timestamptz": Kind(_MICROS, number_or_text(Moment), Text.MOMENT),
    "time": Kind("to_char({}, 'HH24:MI:SS.US')", str),
    "timetz": Kind("replace(({} AT TIME ZONE 'UTC')::text, '+00', 'Z')", str),
    "interval": Kind(_INTERVAL, str),
    "bytea": _plain(bytes),
    **dict.fromkeys(("bit", "varbit"), Kind(_PRINTED, stripped)),
    "point": Kind(_PRINTED, _point),
    **dict.fromkeys(("line", "lseg", "box", "path", "polygon", "circle"), Kind(_PRINTED, _geometry)),
    "vector": Kind(_PRINTED, _vector),
    "halfvec": Kind(_PRINTED, _half_vector),
    **dict.fromkeys(_TEXTS, Kind(_PRINTED, str)),
}
_NOT_IN_ARRAYS: Final = frozenset({"bit", "varbit", "point", "money", "interval"})
