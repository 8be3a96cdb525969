"""PostgreSQL and MariaDB, through Debezium, Connect and Kafka into the lake, proven while they are written
to."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl
import pytest
from deltalake import DeltaTable

from cdc_platform.connect.client import ConnectClient
from cdc_platform.core.columns import KEY, OPERATION
from cdc_platform.core.model import Format, Kind
from cdc_platform.core.position import Engine
from cdc_platform.core.source import SIGNALS, Source
from cdc_platform.local.stack import Stack
from cdc_platform.operate.reconciling import reconcile
from cdc_platform.platform import lake_table
from cdc_platform.verify.verdict import Kind as Wrong
from cdc_platform.verify.verdict import Verdict
from tests.stack.conftest import eventually
from tests.stack.databases import Database, database
from tests.stack.sql_lake import SqlLake, captured, drop_slot
from tests.stack.values import KEYS, MARIADB, POSTGRESQL, POSTGRESQL_TYPES, UNSENT

pytestmark = pytest.mark.stack

TABLES = ("orders", "items", "sizes", "types", "keys")
"""One a test: all are captured by one connector, which takes its time to begin."""

COLUMNS = """
    region varchar(20), id int, status varchar(20), price decimal(10,2), at timestamp(6) NULL, note text,
    PRIMARY KEY (region, id)"""
ROWS = 40


@pytest.fixture(scope="module", params=[Engine.POSTGRESQL, Engine.MARIADB])
def db(request: pytest.FixtureRequest, registry_url: str) -> Iterator[Database]:
    """With a row in each table."""
    uri = request.getfixturevalue(f"{request.param}_uri")
    with database(request.param, uri) as made:
        if made.engine is Engine.POSTGRESQL:
            made.run(*POSTGRESQL_TYPES)
        edges = ", ".join(f"{name} {kind}" for name, (kind, _) in edges_of(made).items())
        made.run(f"CREATE TABLE types (id int PRIMARY KEY, changed int, {edges})")
        keys = {f"k{number}": kind for number, kind in enumerate(KEYS[made.engine])}
        columns = ", ".join(f"{name} {kind}" for name, kind in keys.items())
        made.run(f"CREATE TABLE {mark(made, 'keys')} ({columns}, v int, PRIMARY KEY ({', '.join(keys)}))")
        for table in TABLES[:3]:
            made.run(
                f"CREATE TABLE {table} ({COLUMNS})", f"INSERT INTO {table} (region, id) VALUES ('eu', 0)"
            )
        if made.engine is Engine.POSTGRESQL:
            made.run(*(f"ALTER TABLE {mark(made, table)} REPLICA IDENTITY FULL" for table in TABLES))
        yield made


def in_both(db: Database) -> tuple[str, ...]:
    """Tables that go into both formats. PyIceberg's statistics hold no years beyond Python's calendar, which
    PostgreSQL has."""
    return ("keys",) if db.engine is Engine.POSTGRESQL else ("keys", "types")


def edges_of(db: Database) -> dict[str, tuple[str, str]]:
    """Column → its type, and a value in SQL; without those that Debezium does not tell as they are."""
    values = POSTGRESQL if db.engine is Engine.POSTGRESQL else MARIADB
    sent = [(kind, value) for name, (kind, value, _) in values.items() if name not in UNSENT]
    return {f"c{number}": each for number, each in enumerate(sent)}


@pytest.fixture(scope="module")
def lake(
    stack: Stack, connect: ConnectClient, db: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SqlLake]:
    source = Source(
        name=db.space,
        engine=db.engine,
        uri=db.uri.rpartition("/")[0],
        database="shop" if db.engine is Engine.POSTGRESQL else db.space,
        collections=tuple(captured(db, table) for table in TABLES),
        collection_formats=dict.fromkeys((captured(db, table) for table in in_both(db)), tuple(Format)),
    )
    lake = SqlLake(stack, source, tmp_path_factory.mktemp("lake"))
    lake.deploy()
    yield lake
    connect.delete(source.connector)
    if db.engine is Engine.POSTGRESQL:
        drop_slot(db, source.slot)


@contextmanager
def written_to(db: Database) -> Iterator[None]:
    """Two writers insert, change, delete and move rows for as long as the block lasts."""
    stop = threading.Event()

    def write(number: int) -> None:
        chance = random.Random(number)
        with db.session() as session:
            while not stop.wait(0.02):
                session.run("BEGIN")
                for _ in range(chance.randint(1, 4)):
                    session.run(statement(chance, number))
                session.run("ROLLBACK" if chance.random() < 0.2 else "COMMIT")

    threads = [threading.Thread(target=write, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def statement(chance: random.Random, number: int) -> str:
    """Each writer has keys of its own, so that none waits for the other."""
    region, key, price = f"r{number}", chance.randrange(ROWS), chance.randrange(10_000) / 100
    where = f"region = '{region}' AND id = {key}"
    match chance.randrange(5):
        case 0:
            return f"DELETE FROM orders WHERE {where}"
        case 1:
            return f"UPDATE orders SET id = id + {ROWS * chance.randint(1, 10**6)} WHERE {where}"
        case 2:
            return f"UPDATE orders SET price = {price}, note = NULL WHERE {where}"
    return (
        f"DELETE FROM orders WHERE {where}"
        if chance.random() < 0.1
        else f"INSERT INTO orders SELECT '{region}', {key}, 'ß😀', {price}, CURRENT_TIMESTAMP(6), 'n' "
        f"FROM (SELECT 1 AS one) AS o WHERE NOT EXISTS (SELECT 1 FROM orders WHERE {where})"
    )


def test_the_lake_is_proven_while_the_source_is_written_to(lake: SqlLake, db: Database) -> None:
    orders = captured(db, "orders")
    with written_to(db):
        proofs = [lake.prove(orders) for _ in range(2)]
        db.run("TRUNCATE TABLE orders")
        read_again(lake, db, "orders")
        proofs.append(lake.prove(orders))
    last = lake.prove(orders)
    for each in (*proofs, last):
        assert each.verdict is Verdict.PASS, each.text
    assert last.counts.changelog["t"] == 1
    assert (last.counts.source, last.counts.reverted) == (last.counts.current, 0)
    assert any(proof.counts.reverted for proof in proofs), "no proof saw an event from after its position"


def test_what_differs_is_named_and_what_the_source_has_no_more_is_deleted(
    lake: SqlLake, db: Database
) -> None:
    items = captured(db, "items")
    db.run(*(f"INSERT INTO items (region, id, price) VALUES ('eu', {n}, {n}.50)" for n in range(1, 6)))
    assert lake.prove(items).verdict is Verdict.PASS
    delete_unseen(lake, db, "DELETE FROM items WHERE id = 3")
    table = lake_table(lake.settings, lake.source, items, Kind.CURRENT)
    DeltaTable(table.uri).update(predicate="id = 4", updates={"note": "'nobody wrote this'"})
    spoiled = lake.prove(items)
    assert spoiled.verdict is Verdict.FAIL, spoiled.text
    assert [(each.key, each.kind, each.columns) for each in spoiled.differing] == [
        ('{"region":"eu","id":3}', Wrong.EXTRA, ()),
        ('{"region":"eu","id":4}', Wrong.DIFFERENT, ("note",)),
    ]
    assert list(reconcile(lake.settings, lake.source, items).rows) == ['{"region":"eu","id":3}']
    db.run("UPDATE items SET note = 'written again' WHERE id = 4")
    mended = lake.prove(items)
    assert mended.verdict is Verdict.PASS, mended.text
    history = lake.changes(items).filter(pl.col(KEY).str.ends_with(":3}"))
    assert history[OPERATION].to_list() == ["c", "d"]


def test_columns_come_and_go_and_those_of_now_are_compared(lake: SqlLake, db: Database) -> None:
    sizes = captured(db, "sizes")
    db.run("INSERT INTO sizes (region, id, status) VALUES ('eu', 1, 'old')")
    assert lake.prove(sizes).verdict is Verdict.PASS
    db.run("ALTER TABLE sizes DROP COLUMN status")
    dropped = lake.prove(sizes)
    assert dropped.verdict is Verdict.PASS, dropped.text
    assert dropped.beyond == ("status",)
    assert "does not have them any more: status" in dropped.text
    db.run(
        "ALTER TABLE sizes ADD COLUMN size varchar(9) DEFAULT 'M'",
        "INSERT INTO sizes (region, id, size) VALUES ('eu', 2, 'L')",
    )
    added = lake.prove(sizes)
    assert added.verdict is Verdict.FAIL, added.text
    assert [each.key for each in added.differing] == ['{"region":"eu","id":0}', '{"region":"eu","id":1}']
    assert ("incremental snapshot" in added.text) == (db.engine is Engine.POSTGRESQL)
    read_again(lake, db, "sizes")
    eventually(lambda: lake.prove(sizes).verdict is Verdict.PASS)
    assert lake.changes(sizes)[OPERATION].to_list().count("r") >= 3


def read_again(lake: SqlLake, db: Database, table: str) -> None:
    """Ask the connector for an incremental snapshot of a table."""
    signals = lake.source.table(SIGNALS)
    asked = f'{{"data-collections": ["{db.space}.{table}"], "type": "incremental"}}'
    where = f"{signals.schema}.{signals.name}"
    db.run(f"INSERT INTO {where} VALUES ('{uuid.uuid4()}', 'execute-snapshot', '{asked}')")


def delete_unseen(lake: SqlLake, db: Database, statement: str) -> None:
    """As a delete is that was lost with the log: the stream does not tell of it."""
    with db.session() as session:
        if db.engine is Engine.POSTGRESQL:
            publication = f"ALTER PUBLICATION {lake.source.slot} SET (publish = 'insert, update"
            session.run(f"{publication}, truncate')")
            session.run(statement)
            session.run(f"{publication}, delete, truncate')")
        else:
            session.run("SET SESSION sql_log_bin = 0")
            session.run(statement)


def test_values_at_the_edges_of_their_types_arrive_as_they_are(lake: SqlLake, db: Database) -> None:
    """In a row that comes from the stream, one that is changed in it, and one without any value."""
    types = captured(db, "types")
    edges = edges_of(db)
    names, values = ", ".join(edges), ", ".join(value for _, value in edges.values())
    db.run(
        f"INSERT INTO types (id, {names}) VALUES (1, {values})",
        f"INSERT INTO types (id, {names}) VALUES (2, {values})",
        "UPDATE types SET changed = 1 WHERE id = 2",
    )
    for proof in lake.proofs(types):
        assert proof.verdict is Verdict.PASS, proof.text
        assert proof.counts.source == 2


def test_keys_of_every_type_are_the_same_on_both_sides(lake: SqlLake, db: Database) -> None:
    """A table has one key; its parts take each of their values once, the others staying as they are."""
    values = list(KEYS[db.engine].values())
    first = [each[0] for each in values]
    rows = [[*first[:at], value, *first[at + 1 :]] for at, each in enumerate(values) for value in each[1:]]
    keys = mark(db, "keys")
    db.run(*(f"INSERT INTO {keys} VALUES ({', '.join(row)}, 1)" for row in (first, *rows)))
    db.run(f"UPDATE {keys} SET v = 2", f"DELETE FROM {keys} WHERE k0 <> {first[0]}")
    for proof in lake.proofs(captured(db, "keys")):
        assert proof.verdict is Verdict.PASS, proof.text
        assert (proof.counts.source or 0) > 5


def mark(db: Database, name: str) -> str:
    """In quotes: a word of the language may be a name."""
    return f'"{name}"' if db.engine is Engine.POSTGRESQL else f"`{name}`"
