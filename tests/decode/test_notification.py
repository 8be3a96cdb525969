from __future__ import annotations

import io

import fastavro
import orjson
import pytest

from cdc_platform.decode.notification import Notification, notification_of

SCHEMA = {
    "type": "record",
    "name": "Notification",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "aggregate_type", "type": "string"},
        {"name": "type", "type": "string"},
        {"name": "additional_data", "type": ["null", {"type": "map", "values": "string"}], "default": None},
        {"name": "timestamp", "type": "long"},
    ],
}


class Registry:
    def schema(self, schema_id: int) -> str | None:
        return orjson.dumps(SCHEMA).decode() if schema_id == 7 else None


def told(**more: object) -> dict[str, object]:
    return {
        "id": "s",
        "aggregate_type": "Incremental Snapshot",
        "type": "COMPLETED",
        "additional_data": {"connector_name": "shop"},
        "timestamp": 1,
        **more,
    }


def avro(record: dict[str, object], schema_id: int = 7) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(SCHEMA), record)
    return b"\0" + schema_id.to_bytes(4) + out.getvalue()


@pytest.mark.parametrize(
    "value",
    [orjson.dumps(told()), orjson.dumps({"schema": {"type": "struct"}, "payload": told()}), avro(told())],
    ids=["json", "json with schema", "avro"],
)
def test_a_notification_reads_alike_in_every_wire_format(value: bytes) -> None:
    assert notification_of(value, Registry()) == Notification("s", "COMPLETED", {"connector_name": "shop"})


@pytest.mark.parametrize(
    "value",
    [
        orjson.dumps(told(aggregate_type="Initial Snapshot")),
        avro(told(), schema_id=8),
        avro(told())[:9],
        b"{",
        b"[]",
        b'{"payload":null}',
    ],
)
def test_what_is_no_notification_of_an_incremental_snapshot_is_passed_over(value: bytes) -> None:
    assert notification_of(value, Registry()) is None


def test_one_without_details_has_none() -> None:
    found = notification_of(avro(told(additional_data=None)), Registry())
    assert found is not None
    assert found.details == {}
