"""Three databases into two formats, from one environment: counts and digests agree at each stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc_platform.connect.client import ConnectClient
from cdc_platform.core.model import Format
from cdc_platform.core.position import Engine
from cdc_platform.local.stack import Stack
from cdc_platform.verify.verdict import Result, Verdict
from tests.stack.conftest import Declare, Mongo
from tests.stack.databases import database
from tests.stack.lake import Lake
from tests.stack.sql_lake import captured, sql_lake

pytestmark = pytest.mark.stack

BOTH = (Format.DELTA, Format.ICEBERG)
ROWS, CHANGED, GONE = 50, 5, 5


def test_every_database_is_in_both_formats_as_it_is(
    stack: Stack,
    declare: Declare,
    mongo: Mongo,
    connect: ConnectClient,
    postgresql_uri: str,
    mariadb_uri: str,
    registry_url: str,
    tmp_path: Path,
) -> None:
    orders = declare("orders", formats=BOTH)
    documents = Lake(stack, orders, tmp_path)
    documents.deploy()
    collection = mongo[orders.database]["orders"]
    collection.insert_many([{"_id": n, "v": n, "t": "ß😀"} for n in range(ROWS)])
    collection.update_many({"_id": {"$lt": CHANGED}}, {"$set": {"v": -1}})
    collection.delete_many({"_id": {"$gte": ROWS - GONE}})
    alike(documents.proofs("orders"))
    for engine, uri in ((Engine.POSTGRESQL, postgresql_uri), (Engine.MARIADB, mariadb_uri)):
        with database(engine, uri) as db:
            db.run("CREATE TABLE orders (id int PRIMARY KEY, v bigint, t varchar(9))")
            values = ", ".join(f"({n}, {n}, 'ß😀')" for n in range(ROWS))
            # One lake, in which each source has its own folder.
            with sql_lake(stack, connect, db, tmp_path, ["orders"], formats=BOTH) as lake:
                db.run(
                    f"INSERT INTO orders VALUES {values}",
                    f"UPDATE orders SET v = -1 WHERE id < {CHANGED}",
                    f"DELETE FROM orders WHERE id >= {ROWS - GONE}",
                )
                alike(lake.proofs(captured(db, "orders")))


def alike(proofs: list[Result]) -> None:
    """Source, topic, changelog and current state, in both formats."""
    assert [each.format for each in proofs] == list(BOTH)
    for proof in proofs:
        assert proof.verdict is Verdict.PASS, proof.text
        assert proof.counts.changelog == {"c": ROWS, "u": CHANGED, "d": GONE}
        counts = proof.counts
        assert counts.source == counts.folded == counts.lake == counts.current == ROWS - GONE
        assert proof.source_digest == proof.lake_digest == proofs[0].source_digest
