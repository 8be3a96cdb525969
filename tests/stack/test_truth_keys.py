"""Rows of a source read by their keys, counted by the database, and named by it as changed: real servers."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from bson import ObjectId
from pymongo import MongoClient

from cdc_platform.core.position import Engine
from cdc_platform.verify.truth import NotByKey
from cdc_platform.verify.truth.mongodb import MongoTruth
from cdc_platform.verify.verdict import Cause, Unprovable
from tests.stack.databases import Database, database
from tests.stack.values import KEYS, POSTGRESQL_TYPES

pytestmark = pytest.mark.stack


@pytest.fixture(params=[Engine.POSTGRESQL, Engine.MARIADB])
def db(request: pytest.FixtureRequest) -> Iterator[Database]:
    uri = request.getfixturevalue(f"{request.param}_uri")
    with database(request.param, uri) as made:
        if made.engine is Engine.POSTGRESQL:
            made.run(*POSTGRESQL_TYPES)
        yield made


@pytest.fixture
def pg(postgresql_uri: str) -> Iterator[Database]:
    with database(Engine.POSTGRESQL, postgresql_uri) as made:
        yield made


ASKED_FOR = {
    Engine.POSTGRESQL: {
        *("numeric", "numeric(10,2)", "timestamptz", "timestamp", "date", "uuid", "boolean", "text"),
        *("char(5)", "bigint"),
    },
    Engine.MARIADB: {
        "decimal(38,10)",
        "bigint unsigned",
        "bigint",
        "boolean",
        "varchar(20)",
        "char(5)",
        "uuid",
    },
}
"""Key types whose rows can be read by the keys' texts."""


def test_rows_are_read_by_keys_of_the_types_whose_texts_are_exact(db: Database) -> None:
    asked = set()
    for number, (kind, values) in enumerate(KEYS[db.engine].items()):
        table = f"k{number}"
        db.run(
            f"CREATE TABLE {table} (id {kind}, n int, PRIMARY KEY (id, n))",
            *(f"INSERT INTO {table} VALUES ({value}, {n})" for n, value in enumerate((*values, *values))),
        )
        with closing(db.truth(table)) as truth:
            at = truth.position()
            every = dict(truth.digests(at))
            wanted = frozenset(sorted(every)[::2])
            absent = frozenset(key.replace('"n":', '"n":9') for key in every)
            try:
                found = dict(truth.of_keys(at, wanted | absent))
            except NotByKey:
                continue
        assert {key: found[key] for key in wanted} == {key: every[key] for key in wanted}, kind
        assert not absent & found.keys()
        asked.add(kind)
    assert asked == ASKED_FOR[db.engine] & KEYS[db.engine].keys()


def test_many_rows_are_read_by_their_keys_and_counted_at_the_position(db: Database) -> None:
    db.run("CREATE TABLE t (id int PRIMARY KEY, v varchar(9))")
    rows = ", ".join(f"({n}, 'v%{n}')" for n in range(5_000))
    db.run(f"INSERT INTO t VALUES {rows}")
    with closing(db.truth("t")) as truth:
        at = truth.position()
        every = dict(truth.digests(at))
        db.run("DELETE FROM t WHERE id < 100", "UPDATE t SET v = 'other' WHERE id < 300")
        assert truth.rows(at) == 5_000
        wanted = frozenset(f'{{"id":{n}}}' for n in range(0, 6_000, 2))
        assert dict(truth.of_keys(at, wanted)) == {key: every[key] for key in wanted & every.keys()}
        [cells] = truth.cells(at, frozenset({'{"id":7}'})).values()
        assert "v%7" in cells["v"]


def test_a_table_altered_since_the_position_is_not_read_by_keys(db: Database) -> None:
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int)", "INSERT INTO t VALUES (1, 1)")
    with closing(db.truth("t")) as truth:
        at = truth.position()
        db.run("ALTER TABLE t ADD COLUMN w int DEFAULT 5")
        with pytest.raises(Unprovable) as caught:
            list(truth.of_keys(at, frozenset({'{"id":1}'})))
    assert caught.value.cause is Cause.SNAPSHOT_EXPIRED


def changed(db: Database, ground: str | None) -> set[str] | None:
    assert ground is not None
    with closing(db.truth("t")) as truth:
        found = truth.changed(truth.position(), ground)
        return None if found is None else set(found)


def ground(db: Database) -> str | None:
    with closing(db.truth("t")) as truth:
        truth.position()
        return truth.ground()


@pytest.fixture
def filled(pg: Database) -> Database:
    pg.run("CREATE TABLE t (k text DEFAULT '%', id int, v int, PRIMARY KEY (k, id))")
    pg.run("INSERT INTO t (id, v) SELECT n, n FROM generate_series(1, 99) n")
    return pg


def named(*ids: int) -> set[str]:
    return {f'{{"k":"%","id":{each}}}' for each in ids}


def test_postgresql_names_the_rows_that_have_changed(filled: Database) -> None:
    before = ground(filled)
    assert changed(filled, before) == set()
    filled.run(
        "UPDATE t SET v = 0 WHERE id = 5",
        "INSERT INTO t (id, v) VALUES (100, 1)",
        "DELETE FROM t WHERE id = 7",
    )
    filled.run("VACUUM (FREEZE) t")
    assert changed(filled, before) == named(5, 100)


def test_what_ran_at_the_earlier_position_has_changed_since_in_subtransactions_too(filled: Database) -> None:
    with filled.session() as session:
        session.run("BEGIN")
        session.run("UPDATE t SET v = 0 WHERE id = 1")
        session.run("SAVEPOINT one")
        session.run("UPDATE t SET v = 0 WHERE id = 2")
        filled.run("UPDATE t SET v = 0 WHERE id = 3")
        before = ground(filled)
        session.run("RELEASE SAVEPOINT one")
        session.run("COMMIT")
    found = changed(filled, before)
    assert found is not None
    assert named(1, 2) <= found <= named(1, 2, 3)


@pytest.mark.parametrize(
    "statement",
    [
        "TRUNCATE t",
        "ALTER TABLE t ADD COLUMN w int DEFAULT 5",
        "ALTER TABLE t ALTER COLUMN v TYPE bigint USING v + 1",
        "VACUUM FULL t",
        "CREATE TYPE mood AS ENUM ('so so')",
    ],
)
def test_what_changes_rows_without_new_versions_leaves_no_ground(filled: Database, statement: str) -> None:
    before = ground(filled)
    filled.run(statement)
    assert changed(filled, before) is None


def test_a_user_who_may_only_read_has_a_ground_too(filled: Database, postgresql_uri: str) -> None:
    user = f"u{uuid.uuid4().hex[:12]}"
    filled.run(
        f"CREATE ROLE {user} LOGIN PASSWORD 'x'",
        f"GRANT USAGE ON SCHEMA {filled.space} TO {user}",
        f"GRANT SELECT ON t TO {user}",
    )
    try:
        uri = psycopg.conninfo.make_conninfo(postgresql_uri, user=user, password="x")
        with closing(filled.truth("t")) as truth:
            truth.uri = uri
            truth.position()
            assert truth.ground() is not None
    finally:
        filled.run(f"DROP OWNED BY {user}", f"DROP ROLE {user}")


def test_mongodb_reads_documents_by_their_keys_and_counts_them(mongo: MongoClient[dict[str, Any]]) -> None:
    collection = mongo["other"][f"c{uuid.uuid4().hex[:12]}"]
    ids = [1, 2.5, "a", "1", ObjectId(), {"a": 1, "b": [2.0]}, True, None, b"x", 2**40]
    collection.insert_many([{"_id": each, "v": number} for number, each in enumerate(ids)])
    truth = MongoTruth(mongo, "other", collection.name, reading="secondaryPreferred")
    at = truth.position()
    every = dict(truth.digests(at))
    collection.delete_many({"v": {"$lt": 3}})
    assert truth.rows(at) == len(ids)
    assert dict(truth.of_keys(at, frozenset(every) | {"7", '"b"'})) == every
    some = frozenset(sorted(every)[:3])
    assert dict(truth.of_keys(at, some)) == {key: every[key] for key in some}
    assert truth.ground() is None
    with pytest.raises(NotByKey):
        list(truth.of_keys(at, frozenset({"1.00"})))
    collection.drop()
