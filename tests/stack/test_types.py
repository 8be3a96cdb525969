"""Documents of any BSON shape, with MongoDB itself as the oracle: what it returns is what the lake holds."""

from __future__ import annotations

import json
import os
import random
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import polars as pl
import pytest
from bson import ObjectId
from bson.raw_bson import DEFAULT_RAW_BSON_OPTIONS
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.database import Database

from cdc_platform.connect.client import ConnectClient
from cdc_platform.core.model import Kind
from cdc_platform.core.source import Source
from cdc_platform.lake.delta.upkeep import compact
from cdc_platform.local.stack import Stack
from cdc_platform.platform import lake_table
from cdc_platform.replicate import Failure
from cdc_platform.verify.verdict import Verdict
from tests.corpus.generated import Program, Write, generated
from tests.corpus.oracle import CODEC, Form, LakeRows, form_of
from tests.corpus.raw import document
from tests.stack.conftest import Mongo, eventually
from tests.stack.lake import Lake

pytestmark = pytest.mark.stack

SEED = int(os.environ.get("CDC_TYPES_SEED", random.randrange(2**32)))
PROGRAMS = int(os.environ.get("CDC_TYPES_PROGRAMS", "20"))
ROUNDS = 3
COLLECTIONS = tuple(f"c{number}" for number in range(PROGRAMS))

Documents = Collection[dict[str, Any]]


@pytest.fixture(scope="module")
def lake(
    stack: Stack, mongo: Mongo, connect: ConnectClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lake]:
    """One captured source, a collection for each program."""
    name = f"t{uuid.uuid4().hex[:12]}"
    source = Source(
        name=name,
        uri=stack.endpoints.mongodb_uri,
        database=name,
        collections=("marks", "last", *COLLECTIONS),
        partitions=1,
    )
    lake = Lake(stack, source, tmp_path_factory.mktemp("types"))
    lake.deploy()
    yield lake
    connect.delete(source.connector)
    mongo.drop_database(name)


@pytest.fixture(scope="module")
def database(lake: Lake, stack: Stack) -> Iterator[Database[dict[str, Any]]]:
    """Python has no dates for all that MongoDB has, also not to answer with."""
    with MongoClient[dict[str, Any]](
        stack.endpoints.mongodb_uri, datetime_conversion="DATETIME_MS"
    ) as client:
        yield client[lake.source.database]


class Writer:
    """Writes a program to a collection, and notes what MongoDB returns for each document after each write."""

    def __init__(self, collection: Documents, program: Program) -> None:
        self._collection = collection
        self._raw = collection.with_options(codec_options=DEFAULT_RAW_BSON_OPTIONS)
        self._keys = program.keys
        self.images: list[Form] = []

    def write(self, write: Write) -> None:
        query = {"_id": self._keys[write.key]}
        before = self._found(query)
        if write.fields is None:
            self._collection.delete_one(query)
        elif before is None:
            self._collection.insert_one(document({**query, **write.fields}))
        else:
            # As literals: names with dots and dollars are no paths here.
            whole = {"$literal": document({**query, **write.fields})}
            merged = {"$mergeObjects": ["$$ROOT", {"$literal": document(write.fields)}]}
            self._collection.update_one(query, [{"$replaceWith": whole if write.whole else merged}])
        after = self._found(query)
        if before != after:  # a write that changes nothing is none to MongoDB
            self.images.append(read(after or before or b""))

    def state(self) -> list[Form]:
        return [read(each.raw) for each in self._raw.find()]

    def _found(self, query: dict[str, Any]) -> bytes | None:
        found = self._raw.find_one(query)
        return None if found is None else found.raw


def read(document: bytes) -> Form:
    return form_of(bson.decode(document, CODEC))


def drained(lake: Lake, *collections: str) -> None:
    """By a run of its own."""
    failures = [str(each.error) for each in lake.drain(*collections) if isinstance(each, Failure)]
    assert failures == []


def rows(lake: Lake, collection: str, kind: Kind) -> LakeRows:
    return LakeRows(lake_table(lake.settings, lake.source, collection, kind).uri)


def folder(lake: Lake, collection: str, kind: Kind) -> Path:
    return Path(lake_table(lake.settings, lake.source, collection, kind).uri)


def sent(lake: Lake, database: Database[dict[str, Any]]) -> None:
    """Return when all that was written is in Kafka: the connector sends a database's changes in order."""
    before = _waiting(lake)
    database["last"].insert_one({})
    eventually(lambda: _waiting(lake) > before)


def _waiting(lake: Lake) -> int:
    try:
        return lake.waiting("last")
    except KeyError:  # the topic comes with its first event
        return 0


def test_whatever_is_written_to_mongodb_is_in_the_lake_as_mongodb_returns_it(
    lake: Lake, database: Database[dict[str, Any]]
) -> None:
    print(f"again with CDC_TYPES_SEED={SEED} CDC_TYPES_PROGRAMS={PROGRAMS}")
    programs = generated(SEED, PROGRAMS)
    writers = {
        name: Writer(database[name], program) for name, program in zip(COLLECTIONS, programs, strict=False)
    }
    for number in range(ROUNDS):
        for program, writer in zip(programs, writers.values(), strict=True):
            for write in program.rounds[number] if number < len(program.rounds) else ():
                writer.write(write)
        sent(lake, database)
        drained(lake, *writers)
        for name in writers if number == 1 else ():
            compact(folder(lake, name, Kind.CHANGELOG))
            compact(folder(lake, name, Kind.CURRENT))
    for name, writer in writers.items():
        changes = [image for _, image in rows(lake, name, Kind.CHANGELOG).rows()]
        assert changes == writer.images, name
        current = [image for _, image in rows(lake, name, Kind.CURRENT).rows()]
        assert ordered(current) == ordered(writer.state()), name
    provable = [name for name, program in zip(writers, programs, strict=True) if not program.outdated]
    for name in provable[:3]:
        result = lake.prove(name)
        assert result.verdict is Verdict.PASS, result


def ordered(forms: list[Form]) -> list[str]:
    return sorted(json.dumps(form, sort_keys=True) for form in forms)


def test_a_column_remembers_what_its_texts_are_across_runs_and_compaction(
    lake: Lake, database: Database[dict[str, Any]]
) -> None:
    first, second, third = ObjectId(), ObjectId(), ObjectId()
    documents: Documents = database["marks"]
    documents.insert_one({"_id": 1, "v": first, "d": {"v": first}, "l": [first]})
    sent(lake, database)
    drained(lake, "marks")
    documents.insert_one({"_id": 2, "v": str(second), "d": {"v": str(second)}, "l": [str(second)]})
    sent(lake, database)
    drained(lake, "marks")
    for kind in Kind:
        compact(folder(lake, "marks", kind))
    documents.insert_many([{"_id": 3, "v": third, "d": {"v": third}, "l": [third]}, {"_id": 4, "v": "x"}])
    documents.update_one({"_id": 1}, {"$set": {"v": "now a text"}})
    documents.delete_one({"_id": 2})
    sent(lake, database)
    drained(lake, "marks")
    for kind in Kind:
        marks = rows(lake, "marks", kind).marks()
        assert marks == {"v": "objectId", "l[]": "objectId"}
        metadata = {each["name"]: each for each in rows(lake, "marks", kind).fields("d")}
        assert metadata["v"]["metadata"] == {"cdc.type": "objectId"}
    found = lake.current("marks").sort("_id").select("_id", "v", "v__json", "d", "l", "l__json").to_dicts()
    assert found == [
        {
            "_id": 1,
            "v": None,
            "v__json": '"now a text"',
            "d": {"v": str(first), "v__json": None},
            "l": [str(first)],
            "l__json": None,
        },
        {
            "_id": 3,
            "v": str(third),
            "v__json": None,
            "d": {"v": str(third), "v__json": None},
            "l": [str(third)],
            "l__json": None,
        },
        {"_id": 4, "v": None, "v__json": '"x"', "d": None, "l": None, "l__json": None},
    ]
    (deleted,) = lake.changes("marks").filter(pl.col("_cdc_operation") == "d").to_dicts()
    assert (deleted["v"], deleted["v__json"]) == (None, f'"{second}"')
    assert deleted["d"] == {"v": None, "v__json": f'"{second}"'}
    assert deleted["l__json"] == f'["{second}"]'
