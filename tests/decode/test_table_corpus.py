"""Events of PostgreSQL and MariaDB that were recorded from Debezium 3.4, in Avro and in JSON with their
schemas: every type at its edges, every operation, schemas that change. Both give the same rows."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cdc_platform.core.columns import KEY, METADATA, OFFSET, OPERATION
from cdc_platform.core.model import RECORD_SCHEMA, Records
from cdc_platform.core.offsets import Stream
from cdc_platform.core.position import Engine
from cdc_platform.decode.decoded import Decoded
from cdc_platform.decode.sql import SqlDecoder

CORPUS = Path(__file__).parents[1] / "corpus" / "tables"
ENGINES = (Engine.POSTGRESQL, Engine.MARIADB)
OTHERWISE = {"a_text", "c_sparsevec"}
"""The first has arrays of two dimensions, of which Debezium sends the addresses of Java's objects; in the
text of a map, as the second has one, JSON does not tell 1.0 from 1."""
TABLES = ("types", "types_required", "ops", "composite", "nokey", "part")


@dataclass(frozen=True)
class Recorded:
    """``schemas``: of the registry, by id. ``records``: by table, in RECORD_SCHEMA's order."""

    schemas: dict[str, Any]
    records: dict[str, list[tuple[Any, ...]]]

    def schema(self, schema_id: int) -> str | None:
        found = self.schemas.get(str(schema_id))
        return None if found is None else json.dumps(found)

    def decoded(self, engine: Engine, table: str) -> Decoded:
        frame = pl.DataFrame(sorted(self.records[table]), schema=RECORD_SCHEMA, orient="row")
        return SqlDecoder(engine, self)(Records(Stream("c", table, "t", 3), frame, {}))


def recorded(engine: Engine, form: str) -> Recorded:
    found = json.loads(gzip.decompress((CORPUS / f"{engine}-{form}.json.gz").read_bytes()))
    records: dict[str, list[tuple[Any, ...]]] = {}
    for table, partition, offset, timestamp, key, value in found["records"]:
        raw = (None if each is None else base64.b64decode(each) for each in (key, value))
        records.setdefault(table, []).append((partition, offset, timestamp, *raw))
    return Recorded(found.get("schemas", {}), records)


@pytest.fixture(scope="module", params=ENGINES)
def both(request: pytest.FixtureRequest) -> tuple[Engine, Recorded, Recorded]:
    return request.param, recorded(request.param, "avro"), recorded(request.param, "json")


def rows(decoded: Decoded) -> list[str]:
    """What each event tells but its place and time, which differ between two recordings."""
    fields = [column for column in decoded.frame if column.name not in {*METADATA, *OTHERWISE}]
    told = [decoded.frame[KEY], decoded.frame[OPERATION], *fields]
    plain = [each.to_physical() for each in told]
    return sorted(map(str, zip(*(each.to_list() for each in plain), strict=True)))


@pytest.mark.parametrize("table", TABLES)
def test_both_wire_formats_give_the_same_columns_and_rows(
    both: tuple[Engine, Recorded, Recorded], table: str
) -> None:
    engine, avro, json_ = both
    one, other = avro.decoded(engine, table), json_.decoded(engine, table)
    assert one.letters.is_empty(), one.letters["reason"].to_list()
    assert other.letters.is_empty(), other.letters["reason"].to_list()
    fields = {name: dtype for name, dtype in one.frame.schema.items() if name not in METADATA}
    assert fields == {name: dtype for name, dtype in other.frame.schema.items() if name not in METADATA}
    assert rows(one) == rows(other)
    assert one.frame.height == len(avro.records[table])


def test_a_row_that_was_read_by_the_snapshot_is_the_one_that_was_streamed(
    both: tuple[Engine, Recorded, Recorded],
) -> None:
    """Row 1000 + n was inserted with the values of row n; what differs is Debezium's doing."""
    engine, avro, _ = both
    frame = avro.decoded(engine, "types").frame
    known = {
        Engine.POSTGRESQL: {"c_date", "c_date__json", "c_ts", "c_ts0", "c_ts3", "c_tstz", "c_money", "a_date",
                            "a_date__json", "a_ts", "a_tstz", "c_text", "a_text", "a_int4", "c_timetz"},
        Engine.MARIADB: {"c_float", "c_uuid", "c_enum", "c_year", "c_date", "c_datetime", "c_datetime3",
                         "c_datetime6", "c_ts", "c_ts6", "c_virtual", "c_stored"},
    }[engine]  # fmt: skip
    read = frame.filter(pl.col("id") < 1000).sort("id")
    streamed = frame.filter(pl.col(OPERATION) == "c", pl.col("id") >= 1000).with_columns(pl.col("id") - 1000)
    pairs = read.select("id").join(streamed.select("id"), on="id").unique()["id"]
    assert len(pairs) > 3
    for name in set(frame.columns) - set(METADATA) - known:
        one, other = (
            each.filter(pl.col("id").is_in(pairs.implode())).unique("id").sort("id")[name].to_physical()
            for each in (read, streamed)
        )
        assert str(one.to_list()) == str(other.to_list()), name


def test_a_record_that_is_damaged_is_a_letter_and_no_other_is_lost(
    both: tuple[Engine, Recorded, Recorded],
) -> None:
    engine, avro, _ = both
    records = sorted(avro.records["ops"])
    spoiled = [(*r[:4], r[4][:-3] if n % 5 == 2 and r[4] else r[4]) for n, r in enumerate(records)]
    damaged = Recorded(avro.schemas, {"ops": spoiled}).decoded(engine, "ops")
    whole = avro.decoded(engine, "ops").frame
    assert damaged.frame.height + damaged.letters.height == whole.height
    assert damaged.letters.height >= len(records) // 5 - 1
    kept = whole.join(damaged.frame.select("_kafka_partition", OFFSET), on=["_kafka_partition", OFFSET])
    assert rows(damaged) == rows(Decoded(kept, *[damaged.letters] * 2, 0, {}, damaged.layout))


def test_an_unknown_schema_id_names_the_id_and_the_registry(
    both: tuple[Engine, Recorded, Recorded],
) -> None:
    engine, avro, _ = both
    letters = Recorded({}, avro.records).decoded(engine, "composite").letters
    assert letters.height == len(avro.records["composite"])
    assert "is not in the registry" in letters["reason"][0]
    assert "CDC_REGISTRY_URL" in letters["remedy"][0]
