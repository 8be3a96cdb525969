"""Documents of MongoDB by their ``_id``. Its key text is the extended JSON that the connector reads again.

Invariants
- One condition takes ids of one family alone: the connector reads up to the greatest id, and MongoDB compares
  ids of one family only. Those of another would be left out without a word.
- No condition takes an id of a type that Debezium 3.4 cannot go on from (dates, documents, booleans, bytes
  that are no UUID …): its reading would end there for good, with all that is asked for later.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from bson import Binary, json_util

from cdc_platform.connect import mongodb
from cdc_platform.core.errors import Terminal
from cdc_platform.core.source import Source

_UUID: Final = 4
_UUID_BYTES: Final = 16
_FIRST: Final = Binary(b"\x00" * _UUID_BYTES, _UUID)
_LAST: Final = Binary(b"\xff" * _UUID_BYTES, _UUID)
_FAMILIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "number": {"$type": "number"},
    "string": {"$type": "string"},
    "objectId": {"$type": "objectId"},
    "uuid": {"$gte": _FIRST, "$lte": _LAST},
}
_OTHERS: Final = (
    *({"$type": kind} for kind in ("object", "bool", "date", "null", "timestamp", "minKey", "maxKey")),
    *({"$type": kind} for kind in ("javascript", "javascriptWithScope", "symbol", "dbPointer")),
    {"$type": "binData", "$lt": _FIRST},
    {"$type": "binData", "$gt": _LAST},
    {"$eq": float("nan")},
)
_CANNOT: Final = (
    "Debezium cannot read a document again whose _id is neither a number, a text, an ObjectId nor a UUID"
)
_INSTEAD: Final = "have everything read again, which takes any _id: cdc connector snapshot SOURCE"


def families(source: Source, name: str, where: str) -> list[str]:
    """A condition for each family of ids that the collection has; for an empty one, one that takes nothing.

    Raises Terminal if there is an id of another type.
    """
    with mongodb.opened(source) as client:
        collection = client[source.database][source.table(name).name]
        only = {"_id": 1}
        other = collection.find_one({"$or": [{"_id": each} for each in _OTHERS]}, only)
        if other is not None:
            shown = json_util.dumps(other["_id"])
            raise Terminal(f"{_CANNOT}, as {shown} is", where=where, remedy=_INSTEAD)
        there = [each for each in _FAMILIES.values() if collection.find_one({"_id": each}, only)]
    return [json_util.dumps({"_id": each}) for each in there or [_FAMILIES["objectId"]]]


def terms(keys: Sequence[str], where: str) -> list[list[str]]:
    """Key texts by the family of their ids. Raises Terminal for what is no key, or cannot be asked for."""
    found: dict[str, list[str]] = {}
    for key in keys:
        found.setdefault(_family(key, where), []).append(key)
    return list(found.values())


def condition(terms: Sequence[str]) -> str:
    return f'{{"_id": {{"$in": [{", ".join(terms)}]}}}}'


def _family(key: str, where: str) -> str:
    try:
        value = orjson.loads(key)
    except ValueError as error:
        raise Terminal(
            f"{key} is no key of this table: it is not JSON",
            where=where,
            remedy='give keys as the lake has them in _key: 7, "a", {"$oid": "…"}',
        ) from error
    match value:
        case bool():
            pass
        case int() | float() | {"$numberDecimal": str()} | {"$numberDouble": str()} if "NaN" not in key:
            return "number"
        case str():
            return "string"
        case {"$oid": str()}:
            return "objectId"
        case {"$binary": {"base64": str(data), "subType": "04"}} if len(b64decode(data)) == _UUID_BYTES:
            return "uuid"
    raise Terminal(f"{_CANNOT}, as {key} is", where=where, remedy=_INSTEAD)
