"""Debezium's change events of PostgreSQL, as JSON with its schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from tests.replicate.memory_log import Visible

Row = Mapping[str, Any]
PLACEHOLDER: Final = "__debezium_unavailable_value"
FIRST_MS: Final = 1_790_000_000_000


def described(kind: str, optional: bool = True, **more: Any) -> dict[str, Any]:
    return {"type": kind, "optional": optional, **more}


@dataclass
class SqlTable:
    """A table as its connector writes it. ``columns``: name → Connect's type, by default as below. The
    position grows with every event, or with every transaction (``with``)."""

    key: tuple[str, ...] = ("id",)
    columns: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {"id": described("int64"), "v": described("int64"), "t": described("string")}
    )
    lsn: int = 1_000
    prior: int = 900

    def event(
        self, operation: str, before: Row | None, after: Row | None, lsn: int | None = None, **source: Any
    ) -> Visible:
        if lsn is None:
            self.prior, self.lsn = self.lsn, self.lsn + 10
        at = self.lsn if lsn is None else lsn
        prior = source.pop("prior", self.prior if lsn is None else lsn - 10)
        told = {
            "ts_ms": FIRST_MS + at,
            "lsn": at,
            "txId": at,
            "sequence": orjson.dumps([None if prior is None else str(prior), str(at)]).decode(),
            **source,
        }
        row = after or before or {}
        value = {"before": before, "after": after, "op": operation, "source": told, "transaction": None}
        key = {name: row.get(name) for name in self.key} if self.key and row else None
        return _enveloped(key, self._key_schema()), _with_schema(value, self._schema())

    def created(self, **row: Any) -> Visible:
        return self.event("c", None, row)

    def updated(self, **row: Any) -> Visible:
        return self.event("u", None, row)

    def deleted(self, **row: Any) -> Visible:
        return self.event("d", row, None)

    def truncated(self, **source: Any) -> Visible:
        return self.event("t", None, None, **source)

    def _key_schema(self) -> dict[str, Any]:
        fields = [{**self.columns[name], "field": name} for name in self.key]
        return {"type": "struct", "fields": fields, "optional": False}

    def _schema(self) -> dict[str, Any]:
        row = [{**each, "field": name} for name, each in self.columns.items()]
        images = [described("struct", fields=row, field=name) for name in ("before", "after")]
        source = [
            described("int64", field="ts_ms"),
            described("int64", field="lsn"),
            described("int64", field="txId"),
            described("string", field="sequence"),
        ]
        return {
            "type": "struct",
            "optional": False,
            "fields": [
                *images,
                described("struct", fields=source, field="source"),
                described("string", field="op"),
                described(
                    "struct",
                    field="transaction",
                    fields=[described("string", field="id"), described("int64", field="total_order")],
                ),
            ],
        }


def _enveloped(key: Row | None, schema: dict[str, Any]) -> bytes:
    if key is None:
        return orjson.dumps({"schema": None, "payload": None})
    return _with_schema(key, schema)


def _with_schema(payload: Row, schema: dict[str, Any]) -> bytes:
    return orjson.dumps({"schema": schema, "payload": payload})
