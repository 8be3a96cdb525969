"""A value of Debezium's legacy extended JSON as canonical extended JSON, where every value tells its BSON
type.

Invariant: nothing is lost and nothing is guessed. Debezium prints a 32-bit integer as 1, a double as 1.0 and
a 64-bit integer as ``{"$numberLong": "1"}``, so the three stay apart.

Source: MongoDB's Extended JSON v2 specification; the legacy form is the Java driver's JsonMode.STRICT.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final

_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def canonical_json(value: Any) -> str:
    """``value``: as parsed from Debezium's text. Keys keep their order."""
    return _ENCODER.encode(_canonical(value))


def _canonical(value: Any) -> Any:
    match value:
        case None | bool() | str():
            return value
        case int():
            return {"$numberInt" if -(2**31) <= value < 2**31 else "$numberLong": str(value)}
        case float():
            return {"$numberDouble": _double(value)}
        case list():
            return [_canonical(each) for each in value]
    assert isinstance(value, dict)
    return _document(value)


def _document(value: dict[str, Any]) -> Any:
    match value:
        case {"$date": int(millis), **rest} if not rest:
            return {"$date": {"$numberLong": str(millis)}}
        case {"$binary": str(data), "$type": str(kind), **rest} if not rest:
            return {"$binary": {"base64": data, "subType": kind}}
        case {"$regex": str(pattern), "$options": str(options), **rest} if not rest:
            return {"$regularExpression": {"pattern": pattern, "options": options}}
        case {"$code": str(code), "$scope": dict(scope), **rest} if not rest:
            return {"$code": code, "$scope": _document(scope)}
        case {"$numberLong": _} | {"$date": _} | {"$timestamp": _} | {"$minKey": _} | {"$maxKey": _} if (
            len(value) == 1
        ):
            return value
    return {name: _canonical(each) for name, each in value.items()}


def _double(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return repr(value) if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"
