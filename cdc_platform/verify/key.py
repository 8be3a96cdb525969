"""The text Debezium makes of a document's ``_id``, written a second time from its definition.

Debezium prints ``_id`` with the Java driver's JsonWriter in JsonMode.STRICT, indented with empty strings: a
space after a colon, none after a comma. The record key is that text, and so is the lake's key column. Were
the two different, every row would seem both missing and extra: loud, never a false pass.
"""

from __future__ import annotations

import math
import re
import unicodedata
from base64 import b64encode
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from bson import Binary, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Timestamp
from bson.dbref import DBRef

from cdc_platform.core.errors import SchemaRefused

_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_PLAIN: Final = re.compile(r"[A-Za-z0-9 _./:@+#-]*")
_PRINTED: Final = frozenset(
    [
        "Lu",
        "Ll",
        "Lt",
        "Lo",
        "Nd",
        "Nl",
        "No",
        "Zs",
        "Pc",
        "Pd",
        "Ps",
        "Pe",
        "Pi",
        "Pf",
        "Po",
        "Me",
        "Sm",
        "Sc",
        "Sk",
        "So",
    ]
)
"""Unicode categories the Java writer prints as they are (org.bson.json.StrictCharacterStreamJsonWriter)."""


def key_text(value: Any) -> str:
    """Key text of an ``_id`` as pymongo gives it: ``1``, ``"abc"``, ``{"$oid": "507f…"}``, ``{"a": 1,"b":
    2}``.

    Raises SchemaRefused for a type that cannot be an ``_id`` or is not known here.
    """
    if (writer := _WRITERS.get(type(value))) is None:
        raise SchemaRefused(
            f"an _id of type {type(value).__name__} has no key text",
            remedy="teach verify/key.py this type, from what the connector writes for it",
        )
    return writer(value)


def java_double(value: float) -> str:
    """``Double.toString``: plain from 0.001 up to ten million, otherwise with an exponent; at least one
    decimal."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return f"{Decimal(repr(value)):f}"
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    mantissa = f"{digits[0]}.{''.join(map(str, digits[1:])) or '0'}"
    return f"{'-' if sign else ''}{mantissa}E{int(exponent) + len(digits) - 1}"


def _string(value: str) -> str:
    return f'"{value}"' if _PLAIN.fullmatch(value) else f'"{"".join(map(_character, value))}"'


def _character(char: str) -> str:
    if escape := _ESCAPES.get(char):
        return escape
    if ord(char) < 0x10000 and unicodedata.category(char) in _PRINTED:
        return char
    units = char.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def _document(value: Mapping[str, Any]) -> str:
    return "{" + ",".join(f"{_string(name)}: {key_text(v)}" for name, v in value.items()) + "}"


def _binary(value: bytes) -> str:
    return f'{{"$binary": "{b64encode(value).decode()}","$type": "{getattr(value, "subtype", 0):02X}"}}'


_WRITERS: Final[Mapping[type, Callable[[Any], str]]] = {
    ObjectId: lambda value: f'{{"$oid": "{value}"}}',
    int: str,
    Int64: lambda value: f'{{"$numberLong": "{int(value)}"}}',
    str: _string,
    float: java_double,
    bool: lambda value: "true" if value else "false",
    type(None): lambda _: "null",
    dict: _document,
    list: lambda values: "[" + ",".join(map(key_text, values)) + "]",
    DatetimeMS: lambda value: f'{{"$date": {int(value)}}}',
    Decimal128: lambda value: f'{{"$numberDecimal": "{value}"}}',
    bytes: _binary,
    Binary: _binary,
    Timestamp: lambda value: f'{{"$timestamp": {{"t": {value.time},"i": {value.inc}}}}}',
    MinKey: lambda _: '{"$minKey": 1}',
    MaxKey: lambda _: '{"$maxKey": 1}',
    DBRef: lambda value: _document(value.as_doc()),
}
