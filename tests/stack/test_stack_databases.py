"""The databases of the local stack that have tables, each as its own process, without Kafka."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pymysql
import pytest

from cdc_platform.local import artifacts, mariadb, packaged, postgresql, sweep
from cdc_platform.local.bundles import MARIADB
from cdc_platform.local.ports import PortClaim, choose
from cdc_platform.local.process import ProcessRecord, load_records, stop
from cdc_platform.local.service import Paths, Service
from cdc_platform.local.settings import StackSettings
from cdc_platform.local.stack import silent
from cdc_platform.local.starting import Starter

pytestmark = pytest.mark.stack

BringUp = Callable[[Service], ProcessRecord]


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A state directory with a path longer than that of any socket may be."""
    paths = Paths(tmp_path / ("long" * 30))
    paths.run.mkdir(parents=True)
    return paths


@pytest.fixture
def stack_id() -> Iterator[str]:
    stack_id = uuid.uuid4().hex
    yield stack_id
    assert sweep.end_all(stack_id) == []


@pytest.fixture
def bring_up(paths: Paths, stack_id: str) -> BringUp:
    return Starter(paths.run, stack_id, 60, silent).bring_up


@pytest.fixture
def port() -> int:
    claim = PortClaim("database", "PORT", 0)
    return choose(claim, previous=None, taken=(), chance=random.SystemRandom())


@pytest.fixture
def postgres(paths: Paths, port: int) -> Service:
    return postgresql.service(paths, packaged.postgresql(), port)


@pytest.fixture
def maria(paths: Paths, port: int) -> Service:
    base = artifacts.ensure_bundle(MARIADB, StackSettings().cache_dir, silent)
    return mariadb.service(paths, base, port)


def ask(port: int, statement: str) -> list[tuple[Any, ...]]:
    """Of PostgreSQL."""
    with psycopg.connect(postgresql.uri(port), autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def ask_maria(port: int, statement: str) -> list[tuple[Any, ...]]:
    with (
        pymysql.connect(
            host="127.0.0.1", port=port, user="cdc", password="cdc", database="shop", autocommit=True
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
        return list(cursor.fetchall())


def kill(record: ProcessRecord) -> None:
    process = record.process
    assert process is not None
    process.kill()
    psutil.wait_procs([process], timeout=10)


def at_work_in(directory: Path) -> list[psutil.Process]:
    return [each for each in psutil.process_iter(["cwd"]) if each.info["cwd"] == str(directory)]


def test_postgresql_decodes_logically_and_bounds_what_a_slot_keeps(
    postgres: Service, bring_up: BringUp, port: int
) -> None:
    bring_up(postgres)
    names = ("wal_level", "max_replication_slots", "max_wal_senders", "max_slot_wal_keep_size", "fsync")
    shown = {name: ask(port, f"show {name}")[0][0] for name in names}
    assert shown == {
        "wal_level": "logical",
        "max_replication_slots": "40",
        "max_wal_senders": "40",
        "max_slot_wal_keep_size": "4GB",
        "fsync": "on",
    }
    ask(port, "select pg_create_logical_replication_slot('one', 'pgoutput')")


def test_postgresql_that_was_killed_has_what_was_committed(
    postgres: Service, bring_up: BringUp, port: int, paths: Paths
) -> None:
    killed = bring_up(postgres)
    ask(port, "create table kept (id int primary key)")
    ask(port, "insert into kept values (1)")
    kill(killed)

    again = bring_up(postgres)  # at once: what the killed one had started may still be there

    assert again.pid != killed.pid
    assert ask(port, "select id from kept") == [(1,)]


def test_postgresql_ends_at_once_and_in_order_though_a_client_is_connected(
    postgres: Service, bring_up: BringUp, port: int, paths: Paths
) -> None:
    record = bring_up(postgres)
    with psycopg.connect(postgresql.uri(port)):
        began = time.monotonic()
        stop(record, grace_s=20)
        assert time.monotonic() - began < 10
    assert at_work_in(paths.data("postgresql")) == []
    assert "database system is shut down" in paths.log("postgresql").read_text()


def test_all_of_postgresql_is_found_by_the_cookie_of_its_stack(
    postgres: Service, bring_up: BringUp, port: int, paths: Paths, stack_id: str
) -> None:
    bring_up(postgres)
    with psycopg.connect(postgresql.uri(port)):
        assert len(sweep.members(stack_id)) == len(at_work_in(paths.data("postgresql"))) > 4
        assert sweep.end_all(stack_id, 5) == []
    assert at_work_in(paths.data("postgresql")) == []


def test_mariadb_has_a_row_binlog_and_one_user(maria: Service, bring_up: BringUp, port: int) -> None:
    bring_up(maria)
    variables = ("binlog_format", "binlog_row_image", "binlog_row_metadata", "gtid_strict_mode", "log_bin")
    shown = {name: ask_maria(port, f"select @@{name}")[0][0] for name in variables}
    assert shown == {
        "binlog_format": "ROW",
        "binlog_row_image": "FULL",
        "binlog_row_metadata": "FULL",
        "gtid_strict_mode": 1,
        "log_bin": 1,
    }
    users = ask_maria(port, "select User, Host from mysql.user where User <> 'mariadb.sys' order by Host")
    assert users == [("cdc", "%"), ("cdc", "localhost")]


def test_mariadb_that_was_killed_has_what_was_committed(
    maria: Service, bring_up: BringUp, port: int, paths: Paths
) -> None:
    killed = bring_up(maria)
    ask_maria(port, "create table kept (id int primary key)")
    ask_maria(port, "insert into kept values (1)")
    kill(killed)

    bring_up(maria)

    assert ask_maria(port, "select id from kept") == [(1,)]
    stop(load_records(paths.run)["mariadb"], grace_s=20)
    assert "Shutdown complete" in paths.log("mariadb").read_text()
