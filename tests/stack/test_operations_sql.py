"""Dead letters, replays, resends, lag, wire formats: what collections of MongoDB can, tables can."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from cdc_platform.connect.client import ConnectClient
from cdc_platform.core.columns import KEY, RESENT
from cdc_platform.core.errors import Terminal
from cdc_platform.core.model import Format, Kind, Target
from cdc_platform.core.offsets import Range
from cdc_platform.core.position import Engine
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.local.stack import Stack
from cdc_platform.operate.checking import verify
from cdc_platform.platform import lake_table, replicas
from cdc_platform.replicate import Replica
from cdc_platform.replicate.letters import read_letters
from cdc_platform.replicate.replay import replay, replay_letters
from cdc_platform.verify.finding import checks_of
from cdc_platform.verify.verdict import Verdict
from tests.stack.databases import database
from tests.stack.sql_lake import SqlLake, captured, sql_lake
from tests.stack.topics import read, send_again

pytestmark = pytest.mark.stack

COLUMNS = "id int PRIMARY KEY, v int, t varchar(20)"
PAIRS = [
    pytest.param(Engine.POSTGRESQL, Format.ICEBERG, "avro"),
    pytest.param(Engine.MARIADB, Format.DELTA, "json_with_schema"),
    *(
        pytest.param(engine, stored, wire, marks=pytest.mark.matrix)
        for engine, stored, wire in (
            (Engine.POSTGRESQL, Format.DELTA, "avro"),
            (Engine.POSTGRESQL, Format.DELTA, "json_with_schema"),
            (Engine.POSTGRESQL, Format.ICEBERG, "json_with_schema"),
            (Engine.MARIADB, Format.DELTA, "avro"),
            (Engine.MARIADB, Format.ICEBERG, "avro"),
            (Engine.MARIADB, Format.ICEBERG, "json_with_schema"),
        )
    ),
]
"""Each value with each other of another kind once; the others are played by `make test-matrix`."""


def replica_of(lake: SqlLake, table: str) -> Replica:
    log = KafkaLog(lake.settings.kafka_bootstrap)
    [found] = replicas(lake.settings, lake.source, log, {table: frozenset(Kind)})
    return found


@pytest.mark.parametrize(("engine", "stored", "wire"), PAIRS)
def test_what_is_undecodable_sent_again_and_replayed_leaves_the_lake_equal_to_the_source(
    stack: Stack,
    connect: ConnectClient,
    request: pytest.FixtureRequest,
    registry_url: str,
    tmp_path: Path,
    engine: Engine,
    stored: Format,
    wire: str,
) -> None:
    with database(engine, request.getfixturevalue(f"{engine}_uri")) as db:
        db.run(f"CREATE TABLE orders ({COLUMNS})", "INSERT INTO orders VALUES (0, 0, 'first')")
        with sql_lake(stack, connect, db, tmp_path, ["orders"], formats=[stored], wire=wire) as lake:
            orders, bootstrap = captured(db, "orders"), lake.settings.kafka_bootstrap
            topic = lake.source.topic(orders)
            db.run(
                *(f"INSERT INTO orders VALUES ({n}, {n}, 'n')" for n in range(1, 20)),
                "UPDATE orders SET v = v + 1 WHERE id < 10",
                "DELETE FROM orders WHERE id = 5",
            )
            events = read(bootstrap, topic, 31)
            assert lake.prove(orders).verdict is Verdict.PASS

            last = max(each.offset for each in events if each.partition == events[-1].partition)
            again = [each for each in events if each.partition == events[-1].partition][-4:]
            broken = replace(again[0], key=b"\0\0\0\0\1", value=b"no event")
            send_again(bootstrap, topic, [*again, broken])
            db.run("INSERT INTO orders VALUES (100, 100, 'after')")
            spoiled = lake.prove(orders)
            assert (spoiled.verdict, len(spoiled.letters)) == (Verdict.FAIL, 1)
            table = lake_table(lake.settings, lake.source, orders, Kind.CHANGELOG, stored)
            marked = table.rows().filter(pl.col(RESENT)).collect()
            assert marked.height == len(again)
            assert set(marked[KEY]) <= set(table.rows().select(KEY).collect()[KEY])

            replica = replica_of(lake, orders)
            [letter] = read_letters(replica.letters, replica.stream)
            assert letter.offset > last
            still = replay_letters(replica, [letter], {})
            assert len(still.dead) == 1
            lake.discard(orders, "a test wrote it")
            done = replay(replica, KafkaLog(bootstrap), {letter.partition: Range(0, letter.offset)})
            assert (done.added, done.dead) == (0, ())
            proven = lake.prove(orders)
            assert proven.verdict is Verdict.PASS, proven.text
            target = Target(orders, stored)
            for finding in verify(lake.settings, lake.source, {target: checks_of([stored])}):
                assert finding.verdict is Verdict.PASS, f"{finding.check}: {finding.text}"


@pytest.mark.parametrize("engine", [Engine.POSTGRESQL, Engine.MARIADB])
def test_a_null_in_a_column_with_a_default_stays_a_null_or_is_not_captured(
    stack: Stack,
    connect: ConnectClient,
    request: pytest.FixtureRequest,
    registry_url: str,
    tmp_path: Path,
    engine: Engine,
) -> None:
    with database(engine, request.getfixturevalue(f"{engine}_uri")) as db:
        db.run("CREATE TABLE orders (id int PRIMARY KEY, v int DEFAULT 7, t varchar(9) DEFAULT 'new')")
        with pytest.raises(Terminal) as refused, sql_lake(stack, connect, db, tmp_path, ["orders"]):
            pass
        assert "orders.v" in refused.value.what
        assert "wire: json_with_schema" in refused.value.remedy
        with sql_lake(stack, connect, db, tmp_path, ["orders"], wire="json_with_schema") as lake:
            orders = captured(db, "orders")
            db.run(
                "INSERT INTO orders VALUES (1, NULL, NULL)",
                "INSERT INTO orders (id) VALUES (2)",
                "UPDATE orders SET v = NULL WHERE id = 2",
            )
            proven = lake.prove(orders)
            assert proven.verdict is Verdict.PASS, proven.text
            found = lake.current(orders).sort("id").select("v", "t").rows()
            assert found == [(None, None), (None, "new")]
