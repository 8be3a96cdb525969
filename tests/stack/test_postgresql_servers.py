"""PostgreSQL servers that cannot be captured, or from which a slot was lost: each a process of its own."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from cdc_platform.connect.collections import identities
from cdc_platform.connect.prepare import prepare
from cdc_platform.connect.slots import drop_slot
from cdc_platform.core.errors import Terminal
from cdc_platform.core.source import Source
from cdc_platform.local import packaged, postgresql, sweep
from cdc_platform.local.ports import PortClaim, choose
from cdc_platform.local.service import Paths
from cdc_platform.local.stack import silent
from cdc_platform.local.starting import Starter

pytestmark = pytest.mark.stack

Start = Callable[..., Source]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a server with these settings, and declares a source of its table ``orders``."""
    stack_id = uuid.uuid4().hex

    def started(**settings: str) -> Source:
        paths = Paths(tmp_path / uuid.uuid4().hex)
        paths.run.mkdir(parents=True)
        port = choose(PortClaim("database", "PORT", 0), previous=None, taken=(), chance=random.SystemRandom())
        service = postgresql.service(paths, packaged.postgresql(), port)
        argv = (*service.command.argv, *(f"--{name}={value}" for name, value in settings.items()))
        Starter(paths.run, stack_id, 60, silent).bring_up(
            replace(service, command=replace(service.command, argv=argv))
        )
        uri = postgresql.uri(port)
        run(uri, "create table orders (id int primary key)")
        given = {"name": "shop", "engine": "postgresql", "uri": uri, "database": "shop", "tables": ["orders"]}
        return Source.model_validate(given)

    yield started
    assert sweep.end_all(stack_id) == []


def run(uri: str, *statements: str) -> None:
    with psycopg.connect(uri, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def test_a_server_whose_log_is_not_logical_is_refused_with_what_to_set(start: Start) -> None:
    source = start(wal_level="replica")
    with pytest.raises(Terminal, match="wal_level is replica") as refusal:
        prepare(source)
    assert "ALTER SYSTEM SET wal_level = 'logical';" in refusal.value.remedy


def test_a_slot_needs_room_a_plugin_and_its_log(start: Start) -> None:
    small = {"max_slot_wal_keep_size": "2MB", "max_wal_size": "32MB", "min_wal_size": "32MB"}
    source = start(max_replication_slots="1", **small)
    run(source.uri, "select pg_create_logical_replication_slot('other', 'pgoutput')")
    with pytest.raises(Terminal, match="all 1 replication slots of the server are taken") as refusal:
        prepare(source)
    assert "max_replication_slots = 11" in refusal.value.remedy
    run(source.uri, "select pg_drop_replication_slot('other')")
    run(source.uri, f"select pg_create_logical_replication_slot('{source.slot}', 'test_decoding')")
    with pytest.raises(Terminal, match="is another's: of plugin test_decoding"):
        prepare(source)
    drop_slot(source)
    prepare(source)
    run(source.uri, f"select pg_create_logical_replication_slot('{source.slot}', 'pgoutput')")
    prepare(source)
    for _ in range(4):
        run(
            source.uri,
            "select pg_logical_emit_message(false, '', repeat('x', 1000000))",
            "select pg_switch_wal()",
        )
    run(source.uri, "checkpoint")
    for look in (prepare, identities):
        with pytest.raises(Terminal, match="changes are missing from the stream") as refusal:
            look(source)
        assert "cdc connector snapshot shop" in refusal.value.remedy
    drop_slot(source, publication=True)
    prepare(source)
