"""Proofs of a Delta lake against a real MongoDB, through real Debezium, Connect and Kafka, while writers
write."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import polars as pl
import pytest
from bson import Binary, Code, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from deltalake import DeltaTable
from pymongo import MongoClient
from pymongo.database import Database

from cdc_platform.connect.client import ConnectClient
from cdc_platform.connect.deploy import deploy
from cdc_platform.core.model import Kind, Stopped
from cdc_platform.core.offsets import Stream
from cdc_platform.core.source import MARKERS, Source
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.lake.delta.table import DeltaLakeTable
from cdc_platform.local.stack import Endpoints, Stack
from cdc_platform.prove import prove
from cdc_platform.replicate import Replica, replicate
from cdc_platform.verify.key import key_text
from cdc_platform.verify.position import ClusterTime
from cdc_platform.verify.subject import Subject
from cdc_platform.verify.truth.mongodb import BATCH_ROWS, MongoTruth
from cdc_platform.verify.verdict import Cause, Result, Unprovable, Verdict
from cdc_platform.verify.verdict import Kind as Wrong

pytestmark = pytest.mark.stack

Client = MongoClient[dict[str, Any]]
Shop = Database[dict[str, Any]]
COLLECTIONS = ("orders", "keys", "damaged", "quiet", "paused")


@pytest.fixture(scope="module")
def endpoints(stack: Stack) -> Endpoints:
    return stack.endpoints


@pytest.fixture(scope="module")
def client(mongo: Client) -> Client:
    return mongo


@pytest.fixture(scope="module")
def source(stack: Stack, client: Client, connect: ConnectClient) -> Iterator[Source]:
    """A captured database whose connector streams."""
    name = f"t{uuid.uuid4().hex[:12]}"
    source = Source(name=name, uri=stack.endpoints.mongodb_uri, database=name, collections=COLLECTIONS)
    deploy(source, connect)
    yield source
    connect.delete(source.connector)
    client.drop_database(name)


@pytest.fixture
def database(client: Client, source: Source) -> Shop:
    return client[source.database]


class Proving:
    """The tables and the topic of one collection, and a way to prove them."""

    def __init__(
        self, endpoints: Endpoints, client: Client, source: Source, collection: str, lake: Path
    ) -> None:
        self.log = KafkaLog(endpoints.kafka_bootstrap)
        topic = source.topic(collection)
        eventually(lambda: topic in self.log.streams([topic]))
        self.stream: Stream = self.log.streams([topic])[topic]
        self.replica = Replica(
            name=collection,
            stream=self.stream,
            changelog=DeltaLakeTable(lake / f"{collection}_changes", Kind.CHANGELOG),
            current=DeltaLakeTable(lake / collection, Kind.CURRENT),
            letters=DeltaLakeTable(lake / f"{collection}_deadletters", "dead_letters"),
            now=lambda: datetime.now(UTC),
        )
        self.subject = Subject(
            table=collection,
            stream=self.stream,
            truth=MongoTruth(client, source.database, collection),
            log=self.log,
            changelog=self.replica.changelog,
            current=self.replica.current,
            markers=source.topic(MARKERS),
        )

    def drain(self) -> None:
        replicate(self.replica, self.log)

    def prove(self, deadline: float = 60, *, drain: bool = True) -> Result:
        return prove(
            self.subject,
            marker=uuid.uuid4().hex,
            deadline=deadline,
            clock=time.monotonic,
            sleep=time.sleep,
            drain=self.drain if drain else None,
        )


@pytest.fixture
def proving(endpoints: Endpoints, client: Client, source: Source, tmp_path: Path) -> Callable[[str], Proving]:
    return lambda collection: Proving(endpoints, client, source, collection, tmp_path)


def eventually(condition: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "not in time"
        time.sleep(0.1)


def document(chance: random.Random) -> dict[str, Any]:
    """Every type that a column can hold, every field missing now and then."""
    whole = {
        "customer": {
            "ref": ObjectId(),
            "name": chance.choice(["Zoë", "李", "😀 \0 \u2028", ""]),
            "tags": ["a", None],
        },
        "total": chance.choice([0.5, -0.0, 1e300, 5.0, 5, 0.1 + 0.2]),
        "count": chance.choice([7, Int64(2**53 + 1), Int64(-(2**63))]),
        "price": Decimal128(f"{chance.randint(0, 999)}.50"),
        "at": datetime(1969, 1, 1, tzinfo=UTC) + timedelta(milliseconds=chance.randrange(10**13)),
        "lines": [{"sku": "x", "qty": chance.randint(1, 9)}, {"sku": "y"}][: chance.randint(1, 2)],
        "paid": chance.random() < 0.5,
        "blob": Binary(chance.randbytes(3), chance.choice([0, 4 + 124])),
        "clock": Timestamp(chance.randint(1, 2**31), 1),
        "pattern": Regex("a/b", chance.choice(["", "i", "mx"])),
        "nothing": None,
    }
    return {name: value for name, value in whole.items() if chance.random() < 0.9}


@contextmanager
def writers(database: Shop, collection: str, count: int = 3, keys: int = 300) -> Iterator[None]:
    """Insert, update, replace and delete among a few keys, some in transactions and some of those aborted."""
    stop = threading.Event()
    table = database[collection]

    def write(seed: int) -> None:
        chance = random.Random(seed)
        while not stop.is_set():
            key = chance.randrange(keys) * count + seed
            match chance.randrange(6):
                case 0 | 1:
                    table.replace_one({"_id": key}, document(chance), upsert=True)
                case 2 | 3:
                    table.update_one(
                        {"_id": key}, {"$set": {"count": Int64(chance.randrange(99))}}, upsert=True
                    )
                case 4:
                    table.delete_one({"_id": key})
                case _:
                    with database.client.start_session() as session:
                        session.start_transaction()
                        for step in range(3):
                            other = ((key // count + step) % keys) * count + seed
                            table.replace_one({"_id": other}, document(chance), upsert=True, session=session)
                        (session.commit_transaction if chance.random() < 0.8 else session.abort_transaction)()
            time.sleep(0.002)

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_every_proof_of_several_batches_passes_while_writers_write(
    database: Shop, proving: Callable[[str], Proving]
) -> None:
    """More proofs, of all engines: tests/stack/test_concurrent_proofs.py."""
    chance = random.Random(1)
    database.orders.insert_many([{"_id": key, **document(chance)} for key in range(2 * BATCH_ROWS + 1)])
    with writers(database, "orders"):
        orders = proving("orders")
        results = [orders.prove() for _ in range(3)]
    assert [(result.verdict, result.text) for result in results if result.verdict is not Verdict.PASS] == []
    assert sum(result.counts.reverted or 0 for result in results) > 0
    last = orders.prove()
    assert last.verdict is Verdict.PASS
    assert last.counts.source == last.counts.current == database.orders.count_documents({})
    assert last.counts.reverted == 0


KEYS = [
    1,
    -5,
    Int64(2**40),
    1.5,
    1e7,
    -0.5,
    9.9e-4,
    True,
    None,
    "",
    "abc",
    "quote \" \\ / \b\f\n\r\t\0 é 😀 \u0301 \u02b0 \u200b \u00a0 \u2028 \ue000 <>&'",
    ObjectId(),
    {"a": 1, "b": {"c": ["x", 2.5, {}]}, "d": None},
    {},
    datetime(1960, 1, 1, tzinfo=UTC),
    datetime(2026, 1, 1, 0, 0, 0, 120_000, UTC),
    DatetimeMS(2**55),
    float("nan"),
    float("-inf"),
    -0.0,
    b"\x00\xff",
    Binary(b"\x01", 0x80),
    Binary.from_uuid(uuid.UUID(int=7)),
    Timestamp(1_700_000_000, 3),
    Decimal128("7.50"),
    Decimal128("1E+3"),
    MinKey(),
    MaxKey(),
    {"code": Code("f('x')"), "scoped": Code("g()", {"x": Int64(1)}), "pattern": Regex("a/b", "xi")},
]


def test_a_key_of_any_type_has_the_text_the_connector_gives_it(
    database: Shop, proving: Callable[[str], Proving]
) -> None:
    database.keys.insert_many([{"_id": key} for key in KEYS])
    keys = proving("keys")
    truth = MongoTruth(database.client, database.name, "keys")
    expected = {key_text(found["_id"]) for found in truth.documents(truth.position())}
    written: set[str] = set()
    reader = keys.log.reader({keys.stream: {}})
    until = time.monotonic() + 30
    while len(written) < len(KEYS) and time.monotonic() < until:
        for batch in reader.poll(0.2, 1000):
            assert not isinstance(batch, Stopped)
            written |= {orjson.loads(key)["id"] for key in batch.frame["key"]}
    reader.close()
    assert written == expected


def test_damage_in_the_delta_table_is_named(database: Shop, proving: Callable[[str], Proving]) -> None:
    database.damaged.insert_many([{"_id": key, "v": 0.5} for key in range(100)])
    damaged = proving("damaged")
    assert damaged.prove().verdict is Verdict.PASS
    table = DeltaTable(damaged.replica.current.uri)
    table.delete("`_id` = 7")
    table.update(updates={"v": "0.25"}, predicate="`_id` = 8")
    row = pl.scan_delta(table).filter(pl.col("_id") == 9).with_columns(_key=pl.lit("1009")).collect()
    row.write_delta(table, mode="append")
    database.damaged.delete_one({"_id": 50})
    result = damaged.prove()
    assert result.verdict is Verdict.FAIL
    assert {key.key: key.kind for key in result.differing} == {
        "7": Wrong.MISSING,
        "8": Wrong.DIFFERENT,
        "1009": Wrong.EXTRA,
    }
    assert all(key.offset is not None for key in result.differing if key.key != "1009")


def test_a_lake_that_does_not_follow_is_unknown(database: Shop, proving: Callable[[str], Proving]) -> None:
    database.quiet.insert_one({"_id": 1, "v": 1})
    quiet = proving("quiet")
    assert quiet.prove().verdict is Verdict.PASS
    database.quiet.insert_one({"_id": 2, "v": 1})
    result = quiet.prove(deadline=5, drain=False)
    assert (result.verdict, result.cause) == (Verdict.UNKNOWN, Cause.LAGGING)


def test_a_paused_connector_is_unknown_and_passes_when_it_goes_on(
    database: Shop, endpoints: Endpoints, source: Source, proving: Callable[[str], Proving]
) -> None:
    database.paused.insert_one({"_id": 1, "v": 1})
    paused = proving("paused")
    assert paused.prove().verdict is Verdict.PASS
    connector = f"{endpoints.connect_url}/connectors/{source.connector}"
    httpx.put(f"{connector}/pause").raise_for_status()
    eventually(lambda: httpx.get(f"{connector}/status").json()["tasks"][0]["state"] == "PAUSED")
    database.paused.insert_one({"_id": 2, "v": 1})
    result = paused.prove(deadline=5)
    assert (result.verdict, result.cause) == (Verdict.UNKNOWN, Cause.CONNECTOR_SILENT)
    httpx.put(f"{connector}/resume").raise_for_status()
    assert paused.prove().verdict is Verdict.PASS


def test_a_position_is_read_again_as_it_was_over_several_batches(client: Client) -> None:
    rows = 2 * BATCH_ROWS + 1
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    client.other.t.insert_many([{"_id": key, "at": moment, "n": Int64(1)} for key in range(rows)])
    truth = MongoTruth(client, "other", "t")
    at = truth.position()
    before = dict(truth.digests(at))
    client.other.t.update_many({}, {"$inc": {"n": Int64(1)}})
    client.other.t.delete_many({"_id": {"$lt": 10}})
    assert len(before) == rows
    assert dict(truth.digests(at)) == before
    now = dict(truth.digests(truth.position()))
    assert len(now) == rows - 10
    assert set(now.items()).isdisjoint(before.items())


@pytest.mark.parametrize("again", [False, True])
def test_a_collection_dropped_since_the_position_is_not_read_as_empty(client: Client, again: bool) -> None:
    name = f"dropped_{again}".lower()
    client.other[name].insert_one({"_id": 1})
    truth = MongoTruth(client, "other", name)
    at = truth.position()
    client.other[name].drop()
    if again:
        client.other[name].insert_one({"_id": 1})
    with pytest.raises(Unprovable) as caught:
        list(truth.digests(at))
    assert caught.value.cause in (Cause.SNAPSHOT_EXPIRED, Cause.SOURCE_UNREACHABLE)


def test_a_forgotten_position_is_snapshot_expired(client: Client) -> None:
    client.other.old.insert_one({"_id": 1})
    truth = MongoTruth(client, "other", "old")
    with pytest.raises(Unprovable) as caught:
        list(truth.digests(ClusterTime(truth.position().seconds - 3_600, 1)))
    assert caught.value.cause is Cause.SNAPSHOT_EXPIRED


def test_markers_are_removed_when_they_are_old(client: Client) -> None:
    truth = MongoTruth(client, "marked", "t")
    truth.mark("old")
    client.marked[MARKERS].update_one({"_id": "old"}, {"$set": {"written": datetime(2020, 1, 1, tzinfo=UTC)}})
    truth.mark("new")
    truth.mark("new")
    assert [marker["_id"] for marker in client.marked[MARKERS].find()] == ["new"]
