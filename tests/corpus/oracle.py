"""Two readings of one document, brought to one form: what MongoDB returns, and a row of the lake.

The row is read from Delta by pyarrow, its texts by pymongo's ``json_util``: nothing here is shared with the
code that wrote it.

The form equates what ``docs/types.md`` says the lake does not tell apart: null and missing, numbers of equal
value, the order of a document's fields, all NaNs; and what pymongo does not: BSON symbols and texts,
undefined and null.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
from bson import (
    Binary,
    Code,
    DatetimeMS,
    DBRef,
    Decimal128,
    Int64,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
    json_util,
)
from bson.codec_options import CodecOptions, DatetimeConversion
from deltalake import DeltaTable

CODEC: CodecOptions[dict[str, Any]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)
_JSON = json_util.CANONICAL_JSON_OPTIONS.with_options(datetime_conversion=DatetimeConversion.DATETIME_MS)

Form = Any
"""Nested tuples and dictionaries: ``("text", "x")``, ``{"a": ("number", 1)}``, ``[…]``, None."""


def form_of(value: Any) -> Form:
    """Of a value as pymongo gives it."""
    match value:
        case dict():
            return {name: form for name, each in value.items() if (form := form_of(each)) is not None}
        case list():
            return [form_of(each) for each in value]
        case DBRef():
            return form_of(dict(value.as_doc()))
        case Code():
            scope = {} if value.scope is None else {"scope": form_of(dict(value.scope))}
            return ("code", str(value), scope)
        case bytes():
            return _binary(bytes(value), value.subtype if isinstance(value, Binary) else 0)
    return _FORMS[type(value)](value)


def _number(value: float) -> Form:
    whole = math.isfinite(value) and value == int(value) and abs(value) < 2**63
    if whole and math.copysign(1, value) == math.copysign(1, int(value)):
        return ("number", int(value))
    return ("double", struct.pack(">d", math.nan if math.isnan(value) else value).hex())


def _binary(data: bytes, subtype: int) -> Form:
    return ("binary", subtype, data.hex())


_FORMS: dict[type, Callable[[Any], Form]] = {
    type(None): lambda _: None,
    bool: lambda value: ("bool", value),
    int: lambda value: ("number", value),
    Int64: lambda value: ("number", int(value)),
    float: _number,
    str: lambda value: ("text", value),
    ObjectId: lambda value: ("object id", str(value)),
    Decimal128: lambda value: ("decimal", str(value)),
    DatetimeMS: lambda value: ("date", int(value)),
    Regex: lambda value: ("regex", value.pattern, int(value.flags)),
    Timestamp: lambda value: ("timestamp", value.time, value.inc),
    MinKey: lambda _: ("min key",),
    MaxKey: lambda _: ("max key",),
}


class LakeRows:
    """The newest version of a Delta table."""

    def __init__(self, uri: str) -> None:
        self.table = DeltaTable(uri)
        self._fields = {each["name"]: each for each in json.loads(self.table.schema().to_json())["fields"]}

    def marks(self) -> dict[str, str]:
        """Of the columns that have one; ``l[]`` is for the items of list ``l``."""
        return {
            name + key.removeprefix("cdc.type"): mark
            for name, field in self._fields.items()
            for key, mark in field["metadata"].items()
            if key.startswith("cdc.type")
        }

    def fields(self, column: str) -> list[dict[str, Any]]:
        """Of a column of documents, as in Delta's schema."""
        return list(self._fields[column]["type"]["fields"])

    def rows(self) -> Iterator[tuple[dict[str, Any], Form]]:
        """The platform's columns, as Python values, and the document, in the order of the offsets."""
        read = self.table.to_pyarrow_table()
        read = read.sort_by([("_kafka_partition", "ascending"), ("_kafka_offset", "ascending")])
        ours = [name for name in read.column_names if name in OURS]
        document = [each for each in self._fields.values() if each["name"] not in OURS]
        metadata = read.select(ours).to_pylist()
        for at, row in enumerate(metadata):
            fields = ((each, read[each["name"]][at]) for each in document)
            yield row, _fields(fields)


OURS = {
    *("_key", "_cdc_operation", "_cdc_timestamp", "_cdc_position", "_cdc_resent"),
    *("_kafka_topic", "_kafka_partition", "_kafka_offset", "_ingestion_timestamp", "_ingestion_date"),
}


def _fields(fields: Iterator[tuple[dict[str, Any], pa.Scalar]]) -> Form:
    """Of a document. ``fields``: as in Delta's schema, and what is in them."""
    found: dict[str, Form] = {}
    for field, scalar in fields:
        name = field["name"]
        if not scalar.is_valid:
            continue
        if name == "_others":
            whole = {each: form_of(value) for each, value in _read(scalar.as_py()).items()}
        elif name.endswith("__json"):
            whole = {name.removesuffix("__json"): form_of(_read(scalar.as_py()))}
        else:
            whole = {name: _value(field["type"], field["metadata"], "cdc.type", scalar)}
        whole = {each: form for each, form in whole.items() if form is not None}
        assert not found.keys() & whole.keys(), f"{whole} is there twice, in {found}"
        found |= whole
    return _special(found)


def _read(text: str) -> Any:
    return json_util.loads(text, json_options=_JSON)


def _value(dtype: Any, metadata: dict[str, str], mark: str, scalar: pa.Scalar) -> Form:
    if not scalar.is_valid:
        return None
    if isinstance(dtype, dict) and dtype["type"] == "struct":
        fields = {each["name"]: each for each in dtype["fields"]}
        return _fields((fields[name], child) for name, child in scalar.items())
    if isinstance(dtype, dict):
        return [_value(dtype["elementType"], metadata, f"{mark}[]", each) for each in scalar.values]
    match dtype, metadata.get(mark):
        case "string", "objectId":
            return form_of(ObjectId(scalar.as_py()))
        case "string", "uuid":
            return _binary(bytes.fromhex(scalar.as_py().replace("-", "")), 4)
        case "string", "decimal":
            return form_of(Decimal128(scalar.as_py()))
        case "timestamp", None:
            assert scalar.value % 1000 == 0
            return ("date", scalar.value // 1000)
        case (("string" | "long" | "double" | "boolean" | "binary"), None):
            return form_of(scalar.as_py())
    raise AssertionError(f"{dtype} with {metadata} is no type of the lake")


def _special(found: dict[str, Form]) -> Form:
    """Of a document that is something else to BSON, by the names it has."""
    match found:
        case {"$binary": ("text", data), "$type": ("text", kind), **rest} if not rest:
            return form_of(_read(json.dumps({"$binary": {"base64": data, "subType": kind}})))
        case {"$timestamp": {"t": (_, seconds), "i": (_, count)}, **rest} if not rest:
            return ("timestamp", seconds, count)
        case {"$regex": (_, pattern), "$options": (_, options), **rest} if not rest:
            return form_of(Regex(pattern, options))
        case {"$code": (_, code), "$scope": scope, **rest} if not rest:
            return ("code", code, {"scope": scope})
        case {"$code": (_, code), **rest} if not rest:
            return ("code", code, {})
        case {"$minKey": _, **rest} if not rest:
            return ("min key",)
        case {"$maxKey": _, **rest} if not rest:
            return ("max key",)
        case {"$symbol": symbol, **rest} if not rest:
            return symbol
        case {"$undefined": _, **rest} if not rest:
            return None
    return found
