"""BSON written by hand: types that pymongo no longer writes, names twice, texts that are not UTF-8."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import bson
from bson.codec_options import DatetimeConversion
from bson.raw_bson import DEFAULT_RAW_BSON_OPTIONS, RawBSONDocument


@dataclass(frozen=True, slots=True)
class Raw:
    """A value by its type's number and its bytes."""

    kind: int
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Fields:
    """A document by its fields, of which two may have one name."""

    pairs: tuple[tuple[str, Any], ...]


def text(value: bytes) -> bytes:
    """A BSON string's bytes, whatever is in it."""
    return struct.pack("<i", len(value) + 1) + value + b"\0"


def document(fields: Mapping[str, Any]) -> RawBSONDocument:
    return RawBSONDocument(_document(fields.items()), _LENIENT)


_LENIENT = DEFAULT_RAW_BSON_OPTIONS.with_options(
    datetime_conversion=DatetimeConversion.DATETIME_MS, unicode_decode_error_handler="replace"
)
"""The driver reads what it is given to write."""


def _document(fields: Iterable[tuple[str, Any]]) -> bytes:
    body = b"".join(_element(name, value) for name, value in fields) + b"\0"
    return struct.pack("<i", len(body) + 4) + body


def _element(name: str, value: Any) -> bytes:
    match value:
        case Raw():
            kind, payload = value.kind, value.payload
        case Fields():
            kind, payload = 3, _document(value.pairs)
        case dict():
            kind, payload = 3, _document(value.items())
        case list():
            kind, payload = 4, _document((str(index), each) for index, each in enumerate(value))
        case _:
            whole = bson.encode({"": value})
            kind, payload = whole[4], whole[6:-1]
    return bytes([kind]) + name.encode() + b"\0" + payload
