"""What people do to a collection, from MongoDB through Debezium and Kafka into Delta, each proven."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import polars as pl
import pytest
from bson import Decimal128, Int64, ObjectId
from confluent_kafka import Producer
from pymongo.collection import Collection

from cdc_platform.connect.client import ConnectClient
from cdc_platform.connect.deploy import snapshot
from cdc_platform.connect.status import Progress
from cdc_platform.core.errors import SchemaRefused
from cdc_platform.core.model import Policy
from cdc_platform.core.source import Source
from cdc_platform.local.stack import Stack
from cdc_platform.operate.reconciling import reconcile
from cdc_platform.orchestrate.reconciling import reconcile_job
from cdc_platform.platform import hold_what_is_gone, holds
from cdc_platform.replicate import Failure
from cdc_platform.verify.verdict import Result, Verdict
from tests.stack.conftest import Mongo, eventually
from tests.stack.lake import Lake

pytestmark = pytest.mark.stack

COLLECTIONS = (
    *("one", "hundred", "updates", "repeated", "deletes", "lifecycle", "evolving", "thousand"),
    *("mixed", "poisoned", "dropped", "renamed", "refused", "healthy", "again"),
    *("keys", "transactions", "snapshot", "returning"),
)
Documents = Collection[dict[str, Any]]


@pytest.fixture(scope="module")
def lake(
    stack: Stack, mongo: Mongo, connect: ConnectClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lake]:
    """One captured source for all scenarios, a collection each."""
    name = f"t{uuid.uuid4().hex[:12]}"
    source = Source(name=name, uri=stack.endpoints.mongodb_uri, database=name, collections=COLLECTIONS)
    mongo[name]["snapshot"].insert_many([{"_id": n, "text": f"before {n}"} for n in range(300)])
    lake = Lake(stack, source, tmp_path_factory.mktemp("scenarios"))
    lake.deploy()
    yield lake
    connect.delete(source.connector)
    mongo.drop_database(name)


@pytest.fixture
def database(lake: Lake, mongo: Mongo) -> Any:
    return mongo[lake.source.database]


def operations(lake: Lake, collection: str) -> dict[str, int]:
    return dict(Counter(lake.changes(collection)["_cdc_operation"]))


def passed(result: Result) -> bool:
    assert result.verdict is Verdict.PASS, result.text
    return True


def test_one_insert_arrives_with_all_its_values(lake: Lake, database: Any) -> None:
    identity = ObjectId()
    database.one.insert_one(
        {
            "_id": identity,
            "text": "Zoë 😀 \u0000 \n",
            "number": 7,
            "long": Int64(2**62),
            "real": -0.5,
            "price": Decimal128("19.90"),
            "when": datetime(1969, 7, 20, 20, 17, tzinfo=UTC),
            "flag": True,
            "nested": {"list": [{"a": 1}, {"a": 2, "b": "x"}], "empty": None},
        }
    )
    assert passed(lake.prove("one"))
    (row,) = lake.current("one").to_dicts()
    assert row["_key"] == f'{{"$oid": "{identity}"}}'
    assert row["_id"] == str(identity)
    assert row["text"] == "Zoë 😀 \u0000 \n"
    assert (row["number"], row["long"], row["real"], row["price"]) == (7, 2**62, -0.5, "19.90")
    assert row["when"] == datetime(1969, 7, 20, 20, 17, tzinfo=UTC)
    assert row["flag"] is True
    assert row["nested"]["list"] == [{"a": 1, "b": None}, {"a": 2, "b": "x"}]


def test_a_hundred_inserts_arrive_once_each(lake: Lake, database: Any) -> None:
    database.hundred.insert_many([{"_id": n, "n": n} for n in range(100)])
    assert passed(lake.prove("hundred"))
    assert operations(lake, "hundred") == {"c": 100}
    assert sorted(lake.current("hundred")["n"]) == list(range(100))


def test_single_and_multiple_updates_replace_their_rows(lake: Lake, database: Any) -> None:
    database.updates.insert_many([{"_id": n, "value": 0} for n in range(10)])
    database.updates.update_one({"_id": 3}, {"$set": {"value": 30}})
    database.updates.update_many({"_id": {"$gte": 7}}, {"$inc": {"value": 1}})
    assert passed(lake.prove("updates"))
    assert operations(lake, "updates") == {"c": 10, "u": 4}
    values = dict(lake.current("updates").select("_id", "value").sort("_id").iter_rows())
    assert values == {0: 0, 1: 0, 2: 0, 3: 30, 4: 0, 5: 0, 6: 0, 7: 1, 8: 1, 9: 1}


def test_repeated_updates_of_one_document_leave_its_last_state(lake: Lake, database: Any) -> None:
    database.repeated.insert_one({"_id": "x", "n": 0})
    for n in range(1, 51):
        database.repeated.update_one({"_id": "x"}, {"$set": {"n": n}})
    assert passed(lake.prove("repeated"))
    assert lake.changes("repeated")["n"].to_list() == list(range(51))
    assert lake.current("repeated")["n"].to_list() == [50]


def test_single_and_many_deletes_remove_their_rows_and_stay_in_the_changelog(
    lake: Lake, database: Any
) -> None:
    database.deletes.insert_many([{"_id": n, "n": n} for n in range(30)])
    database.deletes.delete_one({"_id": 29})
    database.deletes.delete_many({"_id": {"$lt": 20}})
    assert passed(lake.prove("deletes"))
    assert operations(lake, "deletes") == {"c": 30, "d": 21}
    assert sorted(lake.current("deletes")["_id"]) == list(range(20, 29))
    deleted = lake.changes("deletes").filter(pl.col("_cdc_operation") == "d")
    assert sorted(deleted["n"]) == [*range(20), 29], "a delete carries the row as it was"


def test_a_lifecycle_of_inserts_updates_and_deletes_across_batches(lake: Lake, database: Any) -> None:
    documents: Documents = database.lifecycle
    documents.insert_many([{"_id": n, "state": "new"} for n in range(50)])
    assert passed(lake.prove("lifecycle"))
    documents.update_many({"_id": {"$lt": 5}}, {"$set": {"state": "changed"}})
    assert passed(lake.prove("lifecycle"))
    documents.delete_many({"_id": {"$gte": 45}})
    assert passed(lake.prove("lifecycle"))
    assert operations(lake, "lifecycle") == {"c": 50, "u": 5, "d": 5}
    assert Counter(lake.current("lifecycle")["state"]) == {"new": 40, "changed": 5}


def test_new_fields_nested_ones_too_appear_in_the_middle_of_the_stream(lake: Lake, database: Any) -> None:
    documents: Documents = database.evolving
    documents.insert_many([{"_id": n, "a": {"b": n}, "items": [{"x": n}]} for n in range(10)])
    assert passed(lake.prove("evolving"))
    documents.insert_one(
        {"_id": 10, "a": {"b": 1, "c": {"d": "deep"}}, "items": [{"x": 1, "y": 2.5}], "top": True}
    )
    documents.update_one({"_id": 0}, {"$set": {"a.c": {"d": "late"}}})
    assert passed(lake.prove("evolving"))
    rows = {row["_id"]: row for row in lake.current("evolving").to_dicts()}
    assert rows[0]["a"] == {"b": 0, "c": {"d": "late"}}
    assert rows[1]["a"] == {"b": 1, "c": None}
    assert rows[10]["items"] == [{"x": 1, "y": 2.5}]
    assert rows[10]["top"] is True


def test_a_thousand_documents_are_in_the_lake_within_a_minute(lake: Lake, database: Any) -> None:
    began = time.monotonic()
    database.thousand.insert_many([{"_id": n, "text": f"document {n}" * 10} for n in range(1000)])
    assert passed(lake.prove("thousand"))
    assert time.monotonic() - began < 60


def test_a_value_of_another_type_is_kept_beside_its_field_and_proven(lake: Lake, database: Any) -> None:
    database.mixed.insert_many([{"_id": n, "quantity": n, "tags": []} for n in range(5)])
    assert passed(lake.prove("mixed"))
    database.mixed.insert_one({"_id": 5, "quantity": "five", "tags": ["a"]})
    database.mixed.insert_one({"_id": 6, "quantity": {"whole": 6, "unit": ObjectId()}, "tags": "none"})
    database.mixed.update_one({"_id": 0}, {"$set": {"quantity": 0.5, "Quantity": 1}})
    assert passed(lake.prove("mixed"))
    rows = {row["_id"]: row for row in lake.current("mixed").to_dicts()}
    assert (rows[4]["quantity"], rows[4]["quantity__json"], rows[4]["tags__json"]) == (4, None, "[]")
    assert (rows[5]["quantity"], rows[5]["quantity__json"], rows[5]["tags"]) == (None, '"five"', ["a"])
    assert rows[0]["quantity__json"] == '{"$numberDouble":"0.5"}'
    assert rows[0]["_others"] == '{"Quantity":{"$numberInt":"1"}}'


def test_under_the_policy_refuse_a_value_stops_its_table_alone_before_it(lake: Lake, database: Any) -> None:
    database.refused.insert_many([{"_id": n, "quantity": n} for n in range(5)])
    assert passed(lake.prove("refused"))
    strict = lake.declared(values=Policy.REFUSE)
    database.refused.insert_many([{"_id": 5, "quantity": 5}, {"_id": 6, "quantity": "six"}])
    database.healthy.insert_one({"_id": 1})
    assert passed(lake.prove("healthy"))
    result = strict.prove("refused", deadline=20)
    assert result.verdict is Verdict.UNKNOWN
    (failure,) = [each for each in strict.drain("refused", "healthy") if isinstance(each, Failure)]
    assert failure.table == "refused"
    assert isinstance(failure.error, SchemaRefused)
    text = str(failure.error)
    assert "quantity" in text
    assert f"topic {lake.source.topic('refused')}" in text
    assert "offset" in text
    assert failure.error.remedy
    assert set(range(5)) <= set(lake.current("refused")["_id"]) <= set(range(6))
    assert passed(lake.prove("refused")), "the default policy takes it"


def test_an_event_that_cannot_be_decoded_fails_the_proof_until_it_is_settled(
    lake: Lake, database: Any, stack: Stack
) -> None:
    database.poisoned.insert_many([{"_id": n, "v": n} for n in range(20)])
    assert passed(lake.prove("poisoned"))
    producer = Producer({"bootstrap.servers": stack.endpoints.kafka_bootstrap, "log_level": 2})
    for n in range(30):
        producer.produce(lake.source.topic("poisoned"), key=b'{"id":"%d"}' % n, value=b"no json")
    assert producer.flush(20) == 0
    database.poisoned.update_many({}, {"$inc": {"v": 100}})
    result = lake.prove("poisoned")
    assert result.verdict is Verdict.FAIL
    assert "30 dead letters" in result.text, result.text
    assert "not a JSON object" in result.text
    assert sorted(lake.current("poisoned")["v"]) == list(range(100, 120)), "good events went on"
    lake.discard("poisoned", "a test")
    assert passed(lake.prove("poisoned"))


def test_keys_with_quotes_and_of_any_script_stay_apart(lake: Lake, database: Any) -> None:
    keys = ["1", "it's", 'a "quoted" one', "back\\slash", "ключ 🗝", ""]
    database.keys.insert_many([{"_id": key, "n": n} for n, key in enumerate(keys)])
    database.keys.delete_one({"_id": "it's"})
    database.keys.update_one({"_id": 'a "quoted" one'}, {"$set": {"n": 20}})
    assert passed(lake.prove("keys"))
    found = dict(lake.current("keys").select("_id", "n").iter_rows())
    assert found == {"1": 0, 'a "quoted" one': 20, "back\\slash": 3, "ключ 🗝": 4, "": 5}


def test_a_transaction_over_two_collections_arrives_whole(lake: Lake, database: Any, mongo: Mongo) -> None:
    with mongo.start_session() as session, session.start_transaction():
        database.transactions.insert_many([{"_id": n} for n in range(20)], session=session)
        database.transactions.delete_one({"_id": 0}, session=session)
    with mongo.start_session() as session:
        session.start_transaction()
        database.transactions.insert_one({"_id": 99}, session=session)
        session.abort_transaction()
    assert passed(lake.prove("transactions"))
    assert sorted(lake.current("transactions")["_id"]) == list(range(1, 20))
    orders = lake.changes("transactions")["_cdc_position"].struct.field("total_order")
    assert orders.n_unique() == 21


def test_rows_of_the_initial_snapshot_and_the_stream_after_it_make_one_table(
    lake: Lake, database: Any
) -> None:
    database.snapshot.update_one({"_id": 0}, {"$set": {"text": "after"}})
    database.snapshot.delete_one({"_id": 1})
    assert passed(lake.prove("snapshot"))
    assert operations(lake, "snapshot") == {"r": 300, "u": 1, "d": 1}
    assert lake.current("snapshot").height == 299


def test_a_document_deleted_and_inserted_again_lives_in_one_batch_and_across_batches(
    lake: Lake, database: Any
) -> None:
    documents: Documents = database.returning
    documents.insert_one({"_id": 1, "life": 1})
    documents.delete_one({"_id": 1})
    documents.insert_one({"_id": 1, "life": 2})
    documents.insert_one({"_id": 2, "life": 1})
    documents.delete_one({"_id": 2})
    assert passed(lake.prove("returning"))
    assert lake.current("returning").select("_id", "life").rows() == [(1, 2)]
    documents.delete_one({"_id": 1})
    assert passed(lake.prove("returning"))
    documents.insert_one({"_id": 1, "life": 3})
    assert passed(lake.prove("returning"))
    assert lake.current("returning").select("_id", "life").rows() == [(1, 3)]


def test_a_collection_that_is_dropped_or_renamed_holds_its_table_back_with_a_remedy(
    lake: Lake, database: Any
) -> None:
    database.dropped.insert_one({"_id": 1})
    database.renamed.insert_one({"_id": 1})
    assert passed(lake.prove("dropped"))
    assert hold_what_is_gone(lake.settings, lake.source) == {}
    database.drop_collection("dropped")
    database.renamed.rename("renamed_away")
    found = hold_what_is_gone(lake.settings, lake.source)
    assert set(found) == {"dropped", "renamed"}
    held = holds(lake.settings, lake.source)
    assert "declare its new name" in held.all()["renamed"].reason
    assert lake.current("dropped").height == 1, "the lake keeps what it had"
    assert held.release("dropped")
    assert hold_what_is_gone(lake.settings, lake.source) == {}, "who lets it go on is not asked again"


def test_rows_deleted_while_nothing_was_captured_are_reconciled_after_a_new_snapshot(
    lake: Lake, database: Any, connect: ConnectClient
) -> None:
    database.again.insert_many([{"_id": n, "v": n} for n in range(50)])
    assert passed(lake.prove("again"))
    connect.pause(lake.source.connector)
    database.again.delete_many({"_id": {"$lt": 5}})
    database.again.update_many({"_id": {"$gte": 40}}, {"$set": {"v": -1}})
    snapshot(lake.source, connect)
    eventually(lambda: connect.progress(lake.source.connector) is Progress.STREAM)
    result = lake.prove("again")
    assert result.verdict is Verdict.FAIL
    assert {each.key for each in result.differing} == {str(n) for n in range(5)}
    found = reconcile(lake.settings, lake.source, "again", dry_run=True)
    assert set(found.rows) == {str(n) for n in range(5)}
    assert lake.current("again").height == 50
    job = reconcile_job(lake.source, lake.settings)
    config = {"ops": {f"{lake.source.name}_reconcile": {"config": {"tables": ["again"]}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        done = job.execute_in_process(config, instance=instance)
        [seen] = done.get_asset_observation_events()
    assert seen.asset_observation_data.asset_observation.metadata["cdc/reconciled_rows"].value == 5
    assert passed(lake.prove("again"))
    assert lake.current("again").height == 45
    database.again.insert_one({"_id": 0, "v": "back"})
    assert passed(lake.prove("again"))
