"""Rows that connectors of real databases read again while they stream, when that is done, and damaged rows of
the lake that are mended so."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from bson import Binary, Decimal128, Int64, ObjectId
from deltalake import DeltaTable, write_deltalake

from cdc_platform.connect import signals
from cdc_platform.connect.client import ConnectClient
from cdc_platform.connect.config import notifying
from cdc_platform.connect.deploy import snapshot
from cdc_platform.connect.signals import read_again
from cdc_platform.connect.status import Progress
from cdc_platform.core.columns import KEY, OFFSET, OPERATION, PARTITION, READ
from cdc_platform.core.errors import Terminal, Transient
from cdc_platform.core.model import Format, Kind
from cdc_platform.core.position import Engine
from cdc_platform.core.source import Source, Wire
from cdc_platform.lake.iceberg.catalog import embedded
from cdc_platform.local.stack import Stack
from cdc_platform.operate.repairing import Done, repair
from cdc_platform.operate.rereading import reread
from cdc_platform.orchestrate.repairing import repair_job
from cdc_platform.platform import lake_table, table_name
from cdc_platform.verify.patience import Patience
from cdc_platform.verify.verdict import Verdict
from tests.stack.conftest import Mongo, eventually
from tests.stack.databases import Database, database
from tests.stack.lake import Lake
from tests.stack.sql_lake import captured, sql_lake
from tests.stack.values import KEYS

pytestmark = pytest.mark.stack

IDS: list[Any] = [
    1,
    Int64(2**40),
    1.5,
    'it\'s "a" \\ ß😀 ?',
    ObjectId("65a1f0000000000000000001"),
    ObjectId("65a1f0000000000000000002"),
    Decimal128("1.10"),
    Binary.from_uuid(uuid.UUID("123e4567-e89b-12d3-a456-426655440000")),
    Binary.from_uuid(uuid.UUID("00000000-0000-0000-0000-000000000000")),
]
UNREADABLE = {"time", "bit(5)"}
"""Of PostgreSQL: types of a key by which Debezium cannot go on reading."""
NAMES = ("my-orders.all", "empty", "keys")
ENGINES = [Engine.MONGODB, Engine.POSTGRESQL, pytest.param(Engine.MARIADB, marks=pytest.mark.matrix)]
WIRES = {Engine.POSTGRESQL: Wire.AVRO, Engine.MARIADB: Wire.JSON_WITH_SCHEMA}


@dataclass
class Captured:
    """``orders``: 12 rows, the numbers 0 to 11 as keys. ``empty``: without rows. ``keys``: of all types."""

    lake: Lake
    orders: str
    empty: str
    keys: str
    delete: Callable[[int], None]
    seen: dict[str, int] = field(default_factory=dict)

    def key(self, number: int) -> str:
        return str(number) if self.lake.source.engine is Engine.MONGODB else f'{{"id":{number}}}'

    def again(self, *names: str, keys: Sequence[str] | None = None) -> list[str]:
        """Keys of the rows that were read, all below the ends that are told."""
        ends = reread(self.lake.settings, self.lake.source, names, patience=patience(), keys=keys)
        found: list[str] = []
        for name in names:
            rows = self.new(name)
            assert set(rows[OPERATION]) <= {READ}
            assert all(offset < ends[name][p] for p, offset in rows.select(PARTITION, OFFSET).iter_rows())
            found.extend(rows[KEY].to_list())
        return sorted(found)

    def new(self, name: str) -> pl.DataFrame:
        """Rows of the changelog that have come since the last look."""
        self.lake.drain(name)
        rows = self.lake.changes(name).sort(OFFSET).sort("_ingestion_timestamp", maintain_order=True)
        since, self.seen[name] = self.seen.get(name, 0), rows.height
        return rows.slice(since)


def patience(seconds: float = 60.0) -> Patience:
    return Patience(time.monotonic, time.sleep, time.monotonic() + seconds)


@pytest.fixture(scope="module", params=ENGINES)
def there(
    request: pytest.FixtureRequest,
    stack: Stack,
    connect: ConnectClient,
    mongo: Mongo,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Captured]:
    root = tmp_path_factory.mktemp("lake")
    if request.param is Engine.MONGODB:
        yield from documents(stack, connect, mongo, root)
        return
    request.getfixturevalue("registry_url")
    with database(request.param, request.getfixturevalue(f"{request.param}_uri")) as db:
        fill(db)
        names = tuple(captured(db, name) for name in ("orders", "empty", "keys"))
        more = {"wire": WIRES[db.engine], "collection_formats": {names[0]: tuple(Format)}}
        with sql_lake(stack, connect, db, root, ("orders", "empty", "keys"), **more) as lake:
            delete = "DELETE FROM orders WHERE id = {}"
            yield from looked_at(Captured(lake, *names, lambda number: db.run(delete.format(number))))


def documents(stack: Stack, connect: ConnectClient, mongo: Mongo, root: Path) -> Iterator[Captured]:
    name = f"t{uuid.uuid4().hex[:12]}"
    given = {"name": name, "uri": stack.endpoints.mongodb_uri, "database": name, "collections": NAMES}
    source = Source.model_validate({**given, "collection_formats": {NAMES[0]: tuple(Format)}})
    orders = mongo[name][NAMES[0]]
    orders.insert_many([{"_id": n, "v": n} for n in range(12)])
    mongo[name]["keys"].insert_many([{"_id": each, "v": 1} for each in IDS])
    lake = Lake(stack, source, root)
    try:
        lake.deploy()
        yield from looked_at(Captured(lake, *NAMES, lambda number: void(orders.delete_one({"_id": number}))))
    finally:
        connect.delete(source.connector)
        mongo.drop_database(name)


def void(_: object) -> None:
    """Of what is done for its effect."""


def looked_at(there: Captured) -> Iterator[Captured]:
    """Once all that the first snapshot read is in the lake."""
    there.lake.proofs(there.orders)
    for name in (there.orders, there.keys):
        assert there.new(name).height
    yield there


def fill(db: Database) -> None:
    if db.engine is Engine.POSTGRESQL:
        db.run("CREATE TYPE mood AS ENUM ('so so')")
    quote = '"' if db.engine is Engine.POSTGRESQL else "`"
    readable = {kind: each for kind, each in KEYS[db.engine].items() if kind not in UNREADABLE}
    kinds = {f"k{number}": kind for number, kind in enumerate(readable)}
    columns = ", ".join(f"{name} {kind}" for name, kind in kinds.items())
    keys = f"{quote}keys{quote}"
    db.run(f"CREATE TABLE {keys} ({columns}, v int, PRIMARY KEY ({', '.join(kinds)}))")
    # a day that the calendar left out comes from a snapshot as another one
    values = [[each for each in some if "1582" not in each] for some in readable.values()]
    first = [each[0] for each in values]
    rows = [[*first[:at], value, *first[at + 1 :]] for at, each in enumerate(values) for value in each[1:]]
    db.run(*(f"INSERT INTO {keys} VALUES ({', '.join(row)}, 1)" for row in (first, *rows)))
    for table in ("orders", "empty"):
        db.run(f"CREATE TABLE {table} (id int PRIMARY KEY, v int)")
    db.run(*(f"INSERT INTO orders VALUES ({n}, {n})" for n in range(12)))


def test_whole_tables_are_read_again_and_an_empty_one_too(there: Captured) -> None:
    assert there.again(there.orders, there.empty) == sorted(there.key(n) for n in range(12))
    assert signals.there(there.lake.source) == [], "all of them were heard"


def test_exactly_the_rows_with_these_keys_are_read_and_none_for_keys_that_are_not_there(
    there: Captured,
) -> None:
    wanted = [there.key(n) for n in (3, 7, 1000)]
    assert there.again(there.orders, keys=wanted) == wanted[:2]
    assert there.again(there.orders, keys=wanted[2:]) == []
    assert there.again(there.empty, keys=wanted) == []


def test_keys_of_every_type_find_their_rows(there: Captured) -> None:
    keys = sorted(there.lake.current(there.keys)[KEY])
    assert len(keys) > 5
    assert there.again(there.keys, keys=keys) == keys
    assert [there.again(there.keys, keys=[key]) for key in keys[:2]] == [[key] for key in keys[:2]]
    assert there.again(there.keys) == keys


def test_more_keys_than_fit_in_one_signal_are_read_one_part_after_the_other(there: Captured) -> None:
    wanted = [there.key(n) for n in (*range(1000, 1600), 3, 7)]
    assert there.again(there.orders, keys=wanted) == wanted[-2:]


def test_what_is_asked_for_while_another_reading_goes_on_is_read_all_the_same(there: Captured) -> None:
    read_again(there.lake.source, [there.orders, there.keys], uuid.uuid4().hex)
    found = there.again(there.orders, keys=[there.key(5)])
    assert there.key(5) in found


def test_a_connector_that_rests_or_knows_no_signals_is_told(there: Captured, connect: ConnectClient) -> None:
    lake, name = there.lake, there.lake.source.connector
    connect.pause(name)
    with pytest.raises(Transient, match="does not run"):
        reread(lake.settings, lake.source, [there.orders], patience=patience())
    settings = connect.config(name)
    connect.resume(name)
    connect.apply(name, {key: value for key, value in settings.items() if "signal" not in key})
    try:
        with pytest.raises(Terminal, match="deployed before") as refusal:
            reread(lake.settings, lake.source, [there.orders], patience=patience())
        assert f"cdc connector apply {lake.source.name}" in refusal.value.remedy
    finally:
        lake.deploy()
    assert there.again(there.orders, keys=[there.key(5)]) == [there.key(5)]


def test_a_connector_that_tells_of_its_readings_is_silent_again_before_a_new_initial_snapshot(
    there: Captured, connect: ConnectClient
) -> None:
    source = there.lake.source
    there.again(there.orders, keys=[there.key(5)])
    assert notifying(source).items() <= connect.config(source.connector).items()
    snapshot(source, connect)
    assert not notifying(source).keys() & connect.config(source.connector).keys()
    eventually(lambda: connect.progress(source.connector) is Progress.STREAM)
    assert there.again(there.orders, keys=[there.key(5)]).count(there.key(5)) == 2, "by both readings"


class Damage:
    """What others did to the current table of one format, behind the platform's back."""

    def __init__(self, there: Captured, stored: Format) -> None:
        lake, name = there.lake, there.orders
        self._delta = lake_table(lake.settings, lake.source, name, Kind.CURRENT, Format.DELTA).uri
        catalog = embedded(lake.settings.lake_root.absolute())
        self._iceberg = catalog.load_table(table_name(lake.source, name, Kind.CURRENT))
        self._stored = stored

    def rows(self) -> pa.Table:
        if self._stored is Format.DELTA:
            return DeltaTable(self._delta).to_pyarrow_table()
        return self._iceberg.refresh().scan().to_arrow()

    def lose(self, key: str) -> None:
        if self._stored is Format.DELTA:
            DeltaTable(self._delta).delete(f"{KEY} = '{key}'")
        else:
            self._iceberg.refresh().delete(f"{KEY} = '{key}'")

    def put(self, rows: pa.Table) -> None:
        if self._stored is Format.DELTA:
            write_deltalake(self._delta, rows, mode="append")
        else:
            self._iceberg.refresh().append(rows)


def of_key(rows: pa.Table, key: str) -> pa.Table:
    return rows.filter(pa.compute.equal(rows[KEY], key))


def with_value(rows: pa.Table, value: int) -> pa.Table:
    at = rows.schema.get_field_index("v")
    return rows.set_column(
        at, rows.schema.field(at), pa.array([value] * rows.num_rows, rows.schema.field(at).type)
    )


def test_rows_that_the_current_table_lost_has_wrong_or_too_many_are_mended(there: Captured) -> None:
    lake, (lost, stale, risen) = there.lake, map(there.key, (2, 4, 9))
    damages = [Damage(there, each) for each in Format]
    there.lake.drain(there.orders)
    before = [each.rows() for each in damages]
    there.delete(9)
    assert [each.verdict for each in lake.proofs(there.orders)] == [Verdict.PASS] * 2
    for each, rows in zip(damages, before, strict=True):
        each.lose(lost)
        each.lose(stale)
        each.put(with_value(of_key(rows, stale), 999))
        each.put(of_key(rows, risen))
    for proof in lake.proofs(there.orders):
        assert proof.verdict is Verdict.FAIL
        assert [each.key for each in proof.differing] == sorted((lost, stale, risen))
    found = repair(lake.settings, lake.source, there.orders)
    assert found.keys == {lost: Done.READ, stale: Done.READ, risen: Done.DELETED}
    assert [each.verdict for each in found.results] == [Verdict.PASS] * 2, found.results
    assert not found.more
    for each in damages:
        assert sorted(each.rows()["v"].to_pylist()) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11]
    whole = repair(lake.settings, lake.source, there.orders)
    assert (whole.keys, whole.verdict) == ({}, Verdict.PASS)


def test_keys_that_are_named_are_read_again_and_one_that_is_nowhere_is_said_to_be(there: Captured) -> None:
    lake, (key, nowhere) = there.lake, map(there.key, (5, 1000))
    found = repair(lake.settings, lake.source, there.orders, [key, nowhere])
    assert found.keys == {key: Done.READ, nowhere: Done.ABSENT}
    assert found.verdict is Verdict.PASS
    job = repair_job(lake.source, lake.settings)
    config = {"tables": [there.orders], "keys": [key]}
    assert job.execute_in_process({"ops": {f"{lake.source.name}_repair": {"config": config}}}).success


def test_a_changelog_that_lost_rows_is_not_mended(there: Captured) -> None:
    lake = there.lake
    catalog = embedded(lake.settings.lake_root.absolute())
    changes = catalog.load_table(table_name(lake.source, there.orders, Kind.CHANGELOG))
    changes.delete(f"{KEY} = '{there.key(6)}'")
    found = repair(lake.settings, lake.source, there.orders)
    assert found.keys == {}
    assert {each.format: each.verdict for each in found.results} == {
        Format.DELTA: Verdict.PASS,
        Format.ICEBERG: Verdict.FAIL,
    }
