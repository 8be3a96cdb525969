"""What a connector tells of its snapshots, in any of the wire formats.

Source: Debezium 3.4, ``io.debezium.pipeline.notification``: a record of id, aggregate_type, type,
additional_data (a map of texts) and timestamp. The id is that of the signal that asked.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import fastavro
import orjson

from cdc_platform.core.ports import Registry
from cdc_platform.decode.avro import HEADER_BYTES

_INCREMENTAL: Final = "Incremental Snapshot"


@dataclass(frozen=True, slots=True)
class Notification:
    """Of an incremental snapshot. ``signal_id``: of the last signal that it was asked for with. ``kind``:
    STARTED, IN_PROGRESS, TABLE_SCAN_COMPLETED, COMPLETED, ABORTED …"""

    signal_id: str
    kind: str
    details: Mapping[str, str]


def notification_of(value: bytes, registry: Registry | None) -> Notification | None:
    """None for one of something else, and for what cannot be read. Raises Transient if the registry does not
    answer."""
    match _record(value, registry):
        case {"aggregate_type": str(what), "id": str(signal_id), "type": str(kind), "additional_data": told}:
            details = {name: str(each) for name, each in told.items()} if isinstance(told, dict) else {}
            return Notification(signal_id, kind, details) if what == _INCREMENTAL else None
    return None


def _record(value: bytes, registry: Registry | None) -> Any:
    if value[:1] == b"\0":
        return _avro(value, registry)
    try:
        found = orjson.loads(value)
    except ValueError:
        return None
    return found["payload"] if isinstance(found, dict) and "payload" in found else found


def _avro(value: bytes, registry: Registry | None) -> Any:
    schema_id = int.from_bytes(value[1:HEADER_BYTES])
    text = None if registry is None else registry.schema(schema_id)
    if text is None:
        return None
    schema = fastavro.parse_schema(orjson.loads(text))
    try:
        return fastavro.schemaless_reader(io.BytesIO(value[HEADER_BYTES:]), schema, None)
    except (EOFError, IndexError, ValueError):
        return None
