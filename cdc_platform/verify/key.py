"""The text Debezium makes of a document's ``_id``, written a second time from its definition.

Debezium prints ``_id`` with the Java driver's JsonWriter in JsonMode.RELAXED (documents it prints in
STRICT, so the same value reads differently there), indented with empty strings: a space after a colon, none
after a comma. The record key is that text, and so is the lake's key column. Were the two different, every
row would seem both missing and extra: loud, never a false pass. A 32-bit and a 64-bit integer have one
text, as they are one ``_id``.
"""

from __future__ import annotations

import math
import re
import unicodedata
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from bson import Binary, Code, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.codec_options import DatetimeConversion
from bson.dbref import DBRef
from bson.errors import BSONError
from bson.json_util import JSONMode, JSONOptions, loads

from cdc_platform.core.errors import SchemaRefused

_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_READ: Final[JSONOptions] = JSONOptions(
    json_mode=JSONMode.RELAXED, document_class=dict, datetime_conversion=DatetimeConversion.DATETIME_MS
)
_LAST_ISO: Final = 253_402_300_799_999
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


def id_of(text: str) -> Any:
    """The ``_id`` that has this key text. Raises SchemaRefused where that is not certain."""
    try:
        found = loads(text, json_options=_READ)
        certain = key_text(found) == text
    except (ValueError, TypeError, KeyError, BSONError) as error:
        raise SchemaRefused("the text of an _id cannot be read") from error
    if not certain:
        raise SchemaRefused("the text of an _id may stand for another one")
    return found


def java_double(value: float) -> str:
    """``Double.toString`` of a finite number: plain from 0.001 up to ten million, otherwise with an
    exponent; at least one decimal."""
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


def _double(value: float) -> str:
    if math.isfinite(value):
        return java_double(value)
    name = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return f'{{"$numberDouble": "{name}"}}'


def _date(value: DatetimeMS) -> str:
    """In ISO 8601 from 1970 to 9999, with as many digits of the second as are not zero; otherwise a
    number."""
    milliseconds = int(value)
    if not 0 <= milliseconds <= _LAST_ISO:
        return f'{{"$date": {{"$numberLong": "{milliseconds}"}}}}'
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC)
    fraction = f".{milliseconds % 1000:03}".rstrip("0").rstrip(".")
    return f'{{"$date": "{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z"}}'


def _binary(value: bytes) -> str:
    kind = getattr(value, "subtype", 0)
    return f'{{"$binary": {{"base64": "{b64encode(value).decode()}","subType": "{kind:02X}"}}}}'


def _regex(value: Regex[Any]) -> str:
    options = regex_options(value)
    return f'{{"$regularExpression": {{"pattern": {_string(value.pattern)},"options": "{options}"}}}}'


def regex_options(value: Regex[Any]) -> str:
    """Option letters in the order MongoDB keeps them."""
    flags = {"i": re.I, "l": re.L, "m": re.M, "s": re.S, "u": re.U, "x": re.X}
    return "".join(letter for letter, flag in flags.items() if value.flags & flag)


def _code(value: Code) -> str:
    scope = "" if value.scope is None else f',"$scope": {_document(value.scope)}'
    return f'{{"$code": {_string(value)}{scope}}}'


_WRITERS: Final[Mapping[type, Callable[[Any], str]]] = {
    ObjectId: lambda value: f'{{"$oid": "{value}"}}',
    int: str,
    Int64: lambda value: str(int(value)),
    str: _string,
    float: _double,
    bool: lambda value: "true" if value else "false",
    type(None): lambda _: "null",
    dict: _document,
    list: lambda values: "[" + ",".join(map(key_text, values)) + "]",
    DatetimeMS: _date,
    Decimal128: lambda value: f'{{"$numberDecimal": "{value}"}}',
    bytes: _binary,
    Binary: _binary,
    Timestamp: lambda value: f'{{"$timestamp": {{"t": {value.time},"i": {value.inc}}}}}',
    Regex: _regex,
    Code: _code,
    MinKey: lambda _: '{"$minKey": 1}',
    MaxKey: lambda _: '{"$maxKey": 1}',
    DBRef: lambda value: _document(value.as_doc()),
}
