"""The lake of a source of tables: captured from a database that a test has for itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cdc_platform.connect.client import ConnectClient
from cdc_platform.core.position import Engine
from cdc_platform.core.source import Source
from cdc_platform.local.stack import Stack
from tests.stack.conftest import eventually
from tests.stack.databases import Database
from tests.stack.lake import Lake


class SqlLake(Lake):
    """Of one database, whose schema registry is the stack's."""

    def __init__(self, stack: Stack, source: Source, root: Path) -> None:
        super().__init__(stack, source, root)
        self.settings = self.settings.model_copy(update={"registry_url": stack.endpoints.registry_url})


@contextmanager
def sql_lake(
    stack: Stack, connect: ConnectClient, db: Database, root: Path, tables: Sequence[str], **declared: Any
) -> Iterator[SqlLake]:
    """Captures these tables; afterwards connector and slot are gone. ``declared``: more of the source."""
    source = Source.model_validate(
        {
            "name": db.space,
            "engine": db.engine,
            "uri": db.uri.rpartition("/")[0],
            "database": "shop" if db.engine is Engine.POSTGRESQL else db.space,
            "collections": [captured(db, table) for table in tables],
            **declared,
        }
    )
    lake = SqlLake(stack, source, root)
    lake.deploy()
    try:
        yield lake
    finally:
        connect.delete(source.connector)
        if db.engine is Engine.POSTGRESQL:
            drop_slot(db, source.slot)


def drop_slot(db: Database, slot: str) -> None:
    """Once its connector has let go of it: a slot holds back what the server may forget."""
    active = f"SELECT 1 FROM pg_replication_slots WHERE slot_name = '{slot}' AND active"
    with db.session() as session:
        eventually(lambda: not session.run(active))
        session.run(f"SELECT pg_drop_replication_slot('{slot}')")
        session.run(f"DROP PUBLICATION {slot}")


def captured(db: Database, table: str) -> str:
    return f"{db.space}.{table}" if db.engine is Engine.POSTGRESQL else table
