"""What becomes of the recorded events: the rows as they are stored, as plain values to compare with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pyarrow as pa

from cdc_platform.core.columns import METADATA
from cdc_platform.core.logical import stored
from cdc_platform.core.model import RECORD_SCHEMA, Records
from cdc_platform.core.offsets import Range, Stream
from cdc_platform.core.schema import conform, fit
from cdc_platform.decode.mongodb import decode

CORPUS = Path(__file__).parent / "mongodb"


@dataclass(frozen=True, slots=True)
class At:
    """A point in time, in milliseconds, as Python has no dates beyond the year 9999."""

    ms: int


def recorded(name: str) -> Records:
    events = [orjson.loads(line) for line in (CORPUS / f"{name}.jsonl").read_bytes().splitlines()]
    rows = [
        (e["partition"], e["offset"], 0, e["key"].encode(), e["value"] and e["value"].encode())
        for e in events
    ]
    frame = pl.DataFrame(rows, schema=RECORD_SCHEMA, orient="row").sort("partition", "offset")
    return Records(Stream("cluster", "topic", "id", 3), frame, {p: Range(0, 1_000) for p in range(3)})


def lake(records: Records, table: pl.Schema | None = None) -> pa.Table:
    """The rows as they are stored, without the platform's columns."""
    rows = stored(decode(records, table or pl.Schema()).frame)
    return rows.drop_columns([name for name in METADATA if name in rows.column_names])


def value(scalar: pa.Scalar) -> Any:
    """Without fields that are null: they are missing."""
    if not scalar.is_valid:
        return None
    if pa.types.is_struct(scalar.type):
        found = {name: value(each) for name, each in scalar.items()}
        return {name: each for name, each in found.items() if each is not None}
    if pa.types.is_list(scalar.type):
        return [value(each) for each in scalar.values]
    if pa.types.is_timestamp(scalar.type):
        assert scalar.value % 1000 == 0
        return At(scalar.value // 1000)
    return scalar.as_py()


def rows(table: pa.Table) -> list[dict[str, Any]]:
    """By ``_id``, null fields left out."""
    found = [value(each) for each in table.to_struct_array().combine_chunks()]
    return sorted(found, key=lambda row: int(row["_id"]))


def same(found: Any, expected: Any) -> None:
    """1, 1.0 and True are three values here, and so are 0.0 and -0.0; NaN is equal to itself."""
    assert repr(found) == repr(expected)


def one_by_one(name: str) -> pa.Table:
    """The rows of a stream that commits every event by itself, in the order of ``_id``."""
    whole = recorded(name)
    keys = whole.frame["key"].to_list()
    table = pl.DataFrame()
    for key in sorted(keys, key=lambda key: int(json.loads(json.loads(key)["id"]))):
        event = whole.frame.filter(pl.col("key") == key)
        decoded = decode(Records(whole.stream, event, whole.ranges), table.schema).frame
        fitted = fit(decoded, table.schema, where="test")
        table = pl.concat([conform(table, fitted.schema), fitted]) if table.height else fitted
    rows = stored(table)
    return rows.drop_columns([name for name in METADATA if name in rows.column_names])
