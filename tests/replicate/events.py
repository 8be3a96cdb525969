"""Debezium's change events of MongoDB, as bytes."""

from __future__ import annotations

from itertools import count
from typing import Any

import orjson

from tests.replicate.memory_log import Visible

Doc = dict[str, Any]

FIRST_SECOND = 1_790_000_000


def key_text(key: str | int) -> str:
    """The source key as Debezium writes it: JSON text."""
    return orjson.dumps(key).decode()


_CLOCK = count()


def event(
    key: str | int, operation: str, doc: Doc | None, before: Doc | None = None, at: int | None = None
) -> Visible:
    """One change; ``at``: place in the source's order, by default after every event made so before."""
    at = next(_CLOCK) if at is None else at
    value = {
        "before": None if before is None else orjson.dumps(before).decode(),
        "after": None if doc is None else orjson.dumps(doc).decode(),
        "op": operation,
        "source": {
            "ts_ms": (FIRST_SECOND + at // 4) * 1000,
            "ord": -1 if operation == "r" else at % 4 + 1,
        },
        "transaction": None,
    }
    return orjson.dumps({"id": key_text(key)}), orjson.dumps(value)


def created(key: str | int, **fields: Any) -> Visible:
    return event(key, "c", {"_id": key, **fields})


def updated(key: str | int, **fields: Any) -> Visible:
    return event(key, "u", {"_id": key, **fields})


def deleted(key: str | int, **fields: Any) -> Visible:
    return event(key, "d", None, {"_id": key, **fields})


def tombstone(key: str | int) -> Visible:
    return orjson.dumps({"id": key_text(key)}), None
