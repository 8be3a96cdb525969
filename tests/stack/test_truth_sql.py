"""What PostgreSQL and MariaDB hold, read at a position while others write: real servers."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import polars as pl
import psycopg
import pytest

from cdc_platform.core.columns import POSITION
from cdc_platform.core.position import POSITIONS, Engine
from cdc_platform.verify.position import SourcePosition
from cdc_platform.verify.verdict import Cause, Unprovable
from tests.stack.conftest import eventually
from tests.stack.databases import Database, Session, database
from tests.stack.values import MARIADB, POSTGRESQL, POSTGRESQL_TYPES

pytestmark = pytest.mark.stack

ENGINES = [Engine.POSTGRESQL, Engine.MARIADB]


@pytest.fixture(params=ENGINES)
def db(request: pytest.FixtureRequest) -> Iterator[Database]:
    uri = request.getfixturevalue(f"{request.param}_uri")
    with database(request.param, uri) as made:
        yield made


@pytest.fixture
def pg(postgresql_uri: str) -> Iterator[Database]:
    with database(Engine.POSTGRESQL, postgresql_uri) as made:
        yield made


@pytest.fixture
def maria(mariadb_uri: str) -> Iterator[Database]:
    with database(Engine.MARIADB, mariadb_uri) as made:
        yield made


def held(db: Database, table: str) -> list[dict[str, Any]]:
    """The table's rows now, by the truth."""
    with closing(db.truth(table)) as truth:
        return list(truth.documents(truth.position()))


@dataclass(slots=True)
class Writer:
    """Changes ten keys of its own in one transaction after the other. ``committed``: the id of each and
    what its keys were after it."""

    db: Database
    number: int
    stop: threading.Event
    committed: list[tuple[str, dict[int, int | None]]] = field(default_factory=list)

    def write(self) -> None:
        chance = random.Random(self.number)
        now: dict[int, int | None] = {}
        with self.db.session() as session:
            while not self.stop.is_set():
                session.run("BEGIN")
                told = session.transaction_id() if self.db.engine is Engine.POSTGRESQL else ""
                after = self._changes(session, chance, dict(now))
                if chance.random() < 0.2:
                    session.run("ROLLBACK")
                    continue
                session.run("COMMIT")
                if after != now:
                    self.committed.append((told or session.transaction_id(), after))
                now = after

    def _changes(
        self, session: Session, chance: random.Random, now: dict[int, int | None]
    ) -> dict[int, int | None]:
        for _ in range(chance.randint(1, 4)):
            before = dict(now)
            session.run("SAVEPOINT s")
            self._change(session, self.number * 10 + chance.randrange(10), chance, now)
            if chance.random() < 0.2:
                session.run("ROLLBACK TO SAVEPOINT s")
                now = before
        return now

    @staticmethod
    def _change(session: Session, key: int, chance: random.Random, now: dict[int, int | None]) -> None:
        value = chance.randrange(10**9)
        if now.get(key) is None:
            session.run(f"INSERT INTO t VALUES ({key}, {value})")
            now[key] = value
        elif chance.random() < 0.3:
            session.run(f"DELETE FROM t WHERE id = {key}")
            now[key] = None
        else:
            session.run(f"UPDATE t SET v = {value} WHERE id = {key}")
            now[key] = value


def visible(at: SourcePosition, engine: Engine, ids: list[str]) -> list[bool]:
    name = "tx_id" if engine is Engine.POSTGRESQL else "gtid"
    values: list[Any] = [int(each) for each in ids] if engine is Engine.POSTGRESQL else ids
    dtype = POSITIONS[engine]
    assert isinstance(dtype, pl.Struct)
    rows = [{**dict.fromkeys(f.name for f in dtype.fields), name: value} for value in values]
    frame = pl.DataFrame({POSITION: rows}, schema={POSITION: dtype})
    return frame.with_columns(at.visible().alias("v"))["v"].to_list()


def test_a_position_shows_exactly_the_transactions_that_are_visible_at_it(db: Database) -> None:
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int)")
    stop = threading.Event()
    writers = [Writer(db, number, stop) for number in range(4)]
    threads = [threading.Thread(target=writer.write) for writer in writers]
    seen: list[tuple[SourcePosition, dict[int, int]]] = []
    for thread in threads:
        thread.start()
    try:
        with closing(db.truth("t")) as truth:
            eventually(lambda: all(len(writer.committed) > 3 for writer in writers))
            for _ in range(15):
                at = truth.position()
                first, again = dict(truth.digests(at)), dict(truth.digests(at))
                assert first == again
                seen.append((at, {row["id"]: row["v"] for row in truth.documents(at)}))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    for at, rows in seen:
        expected: dict[int, int] = {}
        for writer in writers:
            shown = visible(at, db.engine, [told for told, _ in writer.committed])
            assert shown == sorted(shown, reverse=True), "a writer's transactions follow one another"
            last = writer.committed[sum(shown) - 1][1] if any(shown) else {}
            expected |= {key: value for key, value in last.items() if value is not None}
        assert rows == expected
    assert len({str(at) for at, _ in seen}) > 5


def test_a_table_that_was_emptied_since_is_no_empty_table(db: Database) -> None:
    db.run("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1), (2)")
    with closing(db.truth("t")) as truth:
        at = truth.position()
        db.run("TRUNCATE TABLE t")
        with pytest.raises(Unprovable) as raised:
            list(truth.digests(at))
    assert raised.value.cause is Cause.SNAPSHOT_EXPIRED


@pytest.mark.parametrize("change", ["ADD COLUMN w int DEFAULT 5", "DROP COLUMN v", "ADD UNIQUE (v)"])
def test_a_table_may_be_altered_while_a_position_is_held_after_it_was_read(db: Database, change: str) -> None:
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int)", "INSERT INTO t VALUES (1, 1)")
    with closing(db.truth("t")) as truth:
        at = truth.position()
        assert len(list(truth.digests(at))) == 1
        db.run(f"ALTER TABLE t {change}")  # waits for two seconds at most
        if change != "ADD UNIQUE (v)" or db.engine is Engine.MARIADB:
            with pytest.raises(Unprovable, match="prove again"):
                list(truth.digests(at))
        assert len(list(truth.digests(truth.position()))) == 1


def test_a_new_column_under_an_old_one_s_name_is_not_taken_for_it(db: Database) -> None:
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int)", "INSERT INTO t VALUES (1, 1)")
    with closing(db.truth("t")) as truth:
        at = truth.position()
        time.sleep(1)  # MariaDB tells the second in which a table was altered
        db.run("ALTER TABLE t DROP COLUMN v", "ALTER TABLE t ADD COLUMN v int DEFAULT 9")
        with pytest.raises(Unprovable, match="prove again"):
            list(truth.digests(at))


def test_a_position_is_not_kept_beyond_the_next_one(db: Database) -> None:
    db.run("CREATE TABLE t (id int PRIMARY KEY)")
    with closing(db.truth("t")) as truth:
        first = truth.position()
        db.run("INSERT INTO t VALUES (1)")
        second = truth.position()
        assert len(list(truth.digests(second))) == 1
        with pytest.raises(Unprovable, match="not held open"):
            list(truth.digests(first))
    with pytest.raises(Unprovable, match="not held open"):
        list(truth.digests(second))


def test_a_reading_that_is_left_in_the_middle_leaves_the_position_usable(db: Database) -> None:
    rows = ", ".join(f"({n})" for n in range(5_000))
    db.run("CREATE TABLE t (id int PRIMARY KEY)", f"INSERT INTO t VALUES {rows}")
    with closing(db.truth("t")) as truth:
        at = truth.position()
        reading = truth.digests(at)
        next(reading)
        reading.close()  # type: ignore[attr-defined]
        assert len(list(truth.digests(at))) == 5_000
        assert 0 < len(list(truth.digests(at, frozenset({1, 2})))) < 200


def test_what_is_not_there_or_not_let_in_is_unknown(db: Database) -> None:
    with pytest.raises(Unprovable, match="the table does not exist"):
        db.truth("nowhere").position()
    with pytest.raises(Unprovable) as raised:
        db.truth("nowhere").mark("m")
    assert "deploying the connector" in raised.value.remedy
    for wrong in ("nobody:secret@127.0.0.1:1", "nobody:secret@127.0.0.1:"):
        port = db.uri.rpartition(":")[2] if wrong.endswith(":") else "/x"
        elsewhere = Database(db.engine, f"{db.uri.partition('://')[0]}://{wrong}{port}", db.space)
        with pytest.raises(Unprovable) as raised:
            elsewhere.truth("t").position()
        assert raised.value.cause is Cause.SOURCE_UNREACHABLE
        assert "secret" not in str(raised.value)


def test_markers_are_written_again_and_old_ones_removed(db: Database) -> None:
    written = "timestamptz" if db.engine is Engine.POSTGRESQL else "timestamp(6)"
    db.run(f"CREATE TABLE cdc_markers (id varchar(255) PRIMARY KEY, written {written} NOT NULL)")
    truth = db.truth("t")
    with db.session() as session:
        for old in ("'2020-01-01 00:00:00'", "CURRENT_TIMESTAMP - INTERVAL '30' MINUTE"):
            session.run(f"INSERT INTO cdc_markers VALUES ('{len(old)}', {old})")
        truth.mark("m")
        [(first,)] = session.run("SELECT written FROM cdc_markers WHERE id = 'm'")
        truth.mark("m")
        [(second,)] = session.run("SELECT written FROM cdc_markers WHERE id = 'm'")
        assert second > first
        assert len(session.run("SELECT id FROM cdc_markers")) == 2


def test_keys_and_names_are_as_they_are_in_the_database(db: Database) -> None:
    mark = '"' if db.engine is Engine.POSTGRESQL else "`"
    name, column = f"Zeilen {mark * 2}ß{mark * 2} 日本", f"größe {mark * 2}x"
    texts = "text" if db.engine is Engine.POSTGRESQL else "varchar(9)"
    db.run(
        f"CREATE TABLE {mark}{name}{mark} (a int, {mark}{column}{mark} {texts}, v int, "
        f"PRIMARY KEY ({mark}{column}{mark}, a))",
        f"INSERT INTO {mark}{name}{mark} VALUES (1, 'x', 5)",
    )
    plain = column.replace(mark * 2, mark)
    with closing(db.truth(name.replace(mark * 2, mark))) as truth:
        at = truth.position()
        quoted = plain.replace('"', '\\"')
        assert [key for key, _ in truth.digests(at)] == [f'{{"{quoted}":"x","a":1}}']
        assert set(truth.shape().columns or ()) == {"a", plain, "v"}


def test_a_table_without_a_key_has_none_unless_one_is_declared(db: Database) -> None:
    db.run("CREATE TABLE t (a int, b int)", "INSERT INTO t VALUES (1, 2)")
    with closing(db.truth("t")) as truth:
        truth.position()
        assert not truth.shape().keyed
    with closing(db.truth("t", ("b", "a"))) as truth:
        assert [key for key, _ in truth.digests(truth.position())] == ['{"b":2,"a":1}']
        assert truth.shape().keyed


def exactly(value: Any) -> tuple[type, Any]:
    """Apart from what Python takes for equal: 1 and true, -0.0 and 0.0; and NaN is itself."""
    return type(value), repr(value) if isinstance(value, float | Decimal) else value


def test_the_values_of_postgresql_have_the_shape_that_the_lake_keeps(pg: Database) -> None:
    columns = ", ".join(f'"{name}" {kind}' for name, (kind, _, _) in POSTGRESQL.items())
    values = ", ".join(value for _, value, _ in POSTGRESQL.values())
    pg.run(
        *POSTGRESQL_TYPES,
        f"CREATE TABLE t (id int PRIMARY KEY, {columns}, made int GENERATED ALWAYS AS (id * 2) STORED)",
        f"INSERT INTO t VALUES (1, {values})",
        "INSERT INTO t (id) VALUES (2)",
    )
    full, empty = held(pg, "t")
    found = {name: exactly(full[name]) for name in POSTGRESQL}
    assert found == {name: exactly(value) for name, (_, _, value) in POSTGRESQL.items()}
    assert {name for name, value in empty.items() if value is not None} == {"id"}
    assert "made" not in full


def test_the_values_of_mariadb_have_the_shape_that_the_lake_keeps(maria: Database) -> None:
    columns = ", ".join(f"`{name}` {kind}" for name, (kind, _, _) in MARIADB.items())
    values = ", ".join(value for _, value, _ in MARIADB.values())
    maria.run(
        f"CREATE TABLE t (id int PRIMARY KEY, {columns}, made int AS (id * 2) VIRTUAL)",
        f"INSERT INTO t VALUES (1, {values}, DEFAULT)",
    )
    [row] = held(maria, "t")
    found = {name: exactly(row[name]) for name in MARIADB}
    assert found == {name: exactly(value) for name, (_, _, value) in MARIADB.items()}
    assert row["made"] == 2


def test_a_table_whose_engine_keeps_no_snapshots_cannot_be_proven(maria: Database) -> None:
    maria.run("CREATE TABLE t (id int PRIMARY KEY) ENGINE=MyISAM")
    with pytest.raises(Unprovable, match="keeps no snapshots"):
        maria.truth("t").position()


def test_partitions_are_read_as_the_table_that_they_are_of(pg: Database) -> None:
    pg.run(
        "CREATE TABLE t (id int, at int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)",
        *(f"CREATE TABLE t{n} PARTITION OF t FOR VALUES FROM ({n}) TO ({n + 1})" for n in range(2)),
        "INSERT INTO t VALUES (1, 0), (2, 1)",
    )
    assert len(held(pg, "t")) == 2
    with closing(pg.truth("t")) as truth:
        at = truth.position()
        pg.run("TRUNCATE TABLE t1")
        with pytest.raises(Unprovable, match="truncated"):
            list(truth.digests(at))


def test_defaults_of_columns_that_were_added_later_are_told_of(pg: Database) -> None:
    pg.run(
        "CREATE TABLE t (id int PRIMARY KEY)",
        "INSERT INTO t VALUES (1)",
        "ALTER TABLE t ADD COLUMN size text DEFAULT 'M'",
        "ALTER TABLE t ADD COLUMN note text",
        "ALTER TABLE t ADD COLUMN moods text[]",
    )
    with closing(pg.truth("t")) as truth:
        truth.position()
        [remark] = truth.shape().remarks
    assert "size" in remark
    assert "note" not in remark


def test_a_reading_does_not_wait_for_a_lock_for_ever(pg: Database) -> None:
    pg.run("CREATE TABLE t (id int PRIMARY KEY)")
    with closing(pg.truth("t")) as truth, pg.session() as session:
        at = truth.position()
        session.run("BEGIN")
        session.run("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Unprovable) as raised:
            list(truth.digests(at))
        session.run("ROLLBACK")
    assert isinstance(raised.value.__cause__, psycopg.errors.LockNotAvailable)
    assert "locked" in raised.value.remedy
