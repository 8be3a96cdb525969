"""The truth: what a MongoDB collection held at a cluster time, read from MongoDB itself.

Independent on purpose: nothing here is shared with the code that decodes events, so that one mistake cannot
hide itself by being made on both sides. What is shared is the canonical form (``core.digest``).

Invariants
- Every read names its cluster time (``atClusterTime``), so two passes see the same documents while writers
  go on.
- Documents are streamed: one batch is held at a time.
- Values take the shape the lake keeps them in: ObjectId, UUID and Decimal128 as text, dates as UTC times,
  integers as integers, plain binary data as bytes, every other BSON type as the document that Debezium's
  legacy extended JSON makes of it. So an ObjectId and its text are equal here, as they are in the lake;
  pymongo gives BSON symbols as text and undefined as null.
- The server forgets a cluster time after 300 seconds by default (``minSnapshotHistoryWindowInSeconds``). A
  read that comes too late, or finds the collection dropped, is an error, never an empty collection.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from bson import (
    Binary,
    Code,
    DatetimeMS,
    DBRef,
    Decimal128,
    Int64,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
)
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError
from pymongo import MongoClient, ReadPreference
from pymongo.errors import OperationFailure, PyMongoError

from cdc_platform.core.digest import Adapters, bucket_of, encoder, row_digest
from cdc_platform.core.errors import SchemaRefused
from cdc_platform.core.scalars import Moment
from cdc_platform.core.source import MARKERS
from cdc_platform.core.verification import Reading
from cdc_platform.verify.key import id_of, key_text, regex_options
from cdc_platform.verify.position import ClusterTime, SourcePosition
from cdc_platform.verify.shape import DOCUMENTS, Shape
from cdc_platform.verify.truth import MARKER_LIFE, NotByKey
from cdc_platform.verify.truth.pace import Pace
from cdc_platform.verify.verdict import Cause, Unprovable

Document = dict[str, Any]

BATCH_ROWS: Final = 5_000
PACE_ROWS: Final = 500

# Given to the database, not to the command: the command's options are used for its first batch only.
_CODEC: Final[CodecOptions[Document]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)
_MEMBERS: Final[Mapping[Reading, Any]] = {
    "primary": ReadPreference.PRIMARY,
    "primaryPreferred": ReadPreference.PRIMARY_PREFERRED,
    "secondary": ReadPreference.SECONDARY,
    "secondaryPreferred": ReadPreference.SECONDARY_PREFERRED,
    "nearest": ReadPreference.NEAREST,
}
_FORGOTTEN: Final = frozenset({239, 246})
"""SnapshotTooOld and SnapshotUnavailable (MongoDB's error_codes.yml)."""


def connect(uri: str, timeout: float = 10.0) -> MongoClient[Document]:
    """A client that gives up on an unreachable server after ``timeout`` seconds. No connection is made
    yet."""
    milliseconds = int(timeout * 1000)
    return MongoClient(uri, serverSelectionTimeoutMS=milliseconds, connectTimeoutMS=milliseconds)


class MongoTruth:
    """One collection. The client is the caller's, who closes it. Every method may raise Unprovable.

    ``reading``: the members that documents are read from; positions are asked of the primary.
    """

    def __init__(
        self,
        client: MongoClient[Document],
        database: str,
        collection: str,
        pace: Pace | None = None,
        reading: Reading = "primary",
    ) -> None:
        self._pace = pace or Pace()
        self._reading = _MEMBERS[reading]
        self._database = client.get_database(database, codec_options=_CODEC)
        self._collection = collection
        self._where = f"MongoDB, collection {database}.{collection}"

    def position(self) -> ClusterTime:
        """The primary's majority-committed cluster time: at or after all that any change stream has
        delivered."""
        time = self._look({"level": "snapshot"})
        return ClusterTime(time.time, time.inc)

    def shape(self) -> Shape:
        return DOCUMENTS

    def digests(self, at: SourcePosition, buckets: Set[int] | None = None) -> Iterator[tuple[str, int]]:
        for key, digest in _digests(self.documents(at)):
            if buckets is None or bucket_of(key) in buckets:
                yield key, digest

    def of_keys(self, at: SourcePosition, keys: Set[str]) -> Iterator[tuple[str, int]]:
        try:
            ids = [id_of(key) for key in sorted(keys)]
        except SchemaRefused as error:
            raise NotByKey(error.what, where=self._where) from error
        parts = [ids[start : start + BATCH_ROWS] for start in range(0, len(ids), BATCH_ROWS)]
        with self._complete(at) as concern:
            for part in parts:
                find = {"find": self._collection, "filter": {"_id": {"$in": part}}}
                yield from _digests(self._read(at, find, concern))

    def documents(self, at: SourcePosition) -> Iterator[Document]:
        """Every document as of ``at``, in batches of 5,000."""
        with self._complete(at) as concern:
            yield from self._read(at, {"find": self._collection}, concern)

    def rows(self, at: SourcePosition) -> int:
        count = {"aggregate": self._collection, "pipeline": [{"$count": "rows"}], "cursor": {}}
        with self._complete(at) as concern:
            found = list(self._read(at, count, concern, sized=False))
        return int(found[0]["rows"]) if found else 0

    def ground(self) -> None:
        """MongoDB keeps no sign of when a document changed, and its hash takes 2.2 for 2.9."""
        return

    def changed(self, at: SourcePosition, ground: str) -> None:
        del at, ground

    @contextmanager
    def _complete(self, at: SourcePosition) -> Iterator[Document]:
        """The read concern of a reading at ``at``, which is known to be whole at its end."""
        assert isinstance(at, ClusterTime)
        concern = {"level": "snapshot", "atClusterTime": Timestamp(at.seconds, at.ord)}
        yield concern
        # A collection dropped during the read just ends; only this call tells it from one that is complete.
        self._look(concern, at)

    def _read(
        self, at: SourcePosition, command: Document, concern: Document, *, sized: bool = True
    ) -> Iterator[Document]:
        assert isinstance(at, ClusterTime)
        size = {"batchSize": BATCH_ROWS} if sized else {}
        with self._translated(at), self._database.client.start_session(causal_consistency=False) as session:
            cursor = self._database.cursor_command(
                {**command, **size, "readConcern": concern},
                read_preference=self._reading,
                codec_options=_CODEC,
                session=session,
            ).batch_size(BATCH_ROWS)
            with cursor:
                for number, document in enumerate(cursor):
                    if number % PACE_ROWS == 0:
                        self._pace.take(PACE_ROWS)
                    yield document

    def cells(self, at: SourcePosition, keys: Set[str]) -> Mapping[str, Mapping[str, str]]:
        del at, keys
        return {}

    def mark(self, marker: str) -> None:
        """Upsert a document whose ``_id`` is the marker, and remove those older than MARKER_LIFE.

        Age is the server's clock. Markers of other proofs are left alone.
        """
        with self._translated():
            markers = self._database[MARKERS]
            markers.update_one({"_id": marker}, [{"$set": {"written": "$$NOW"}}], upsert=True)
            oldest: Document = {"$subtract": ["$$NOW", int(MARKER_LIFE.total_seconds() * 1000)]}
            markers.delete_many({"$expr": {"$lt": ["$written", oldest]}})

    def close(self) -> None:
        """The client is not closed: it is the caller's."""

    def _look(self, concern: Document, at: ClusterTime | None = None) -> Timestamp:
        with self._translated(at):
            reply = self._database.command(
                {
                    "find": self._collection,
                    "limit": 1,
                    "singleBatch": True,
                    "projection": {"_id": 1},
                    "readConcern": concern,
                },
                codec_options=_CODEC,
            )
        time: Timestamp | None = reply["cursor"].get("atClusterTime")
        # The server answers for a collection that is not there as for an empty one, but without a time.
        if time is None:
            raise Unprovable(
                Cause.SOURCE_UNREACHABLE,
                "the collection does not exist",
                where=self._where,
                remedy="create the collection or take it out of the source's declaration",
            )
        return time

    @contextmanager
    def _translated(self, at: ClusterTime | None = None) -> Iterator[None]:
        where = self._where if at is None else f"{self._where}, cluster time {at}"
        try:
            yield
        except OperationFailure as error:
            if error.code in _FORGOTTEN:
                raise Unprovable(
                    Cause.SNAPSHOT_EXPIRED,
                    "MongoDB no longer keeps that cluster time, or the collection was altered since",
                    where=where,
                    remedy="prove again; if reading the collection takes longer than the history lasts, "
                    "raise the server parameter minSnapshotHistoryWindowInSeconds",
                ) from error
            raise self._unreachable(error, where) from error
        except (PyMongoError, BSONError) as error:
            raise self._unreachable(error, where) from error

    def _unreachable(self, error: Exception, where: str) -> Unprovable:
        return Unprovable(
            Cause.SOURCE_UNREACHABLE,
            f"MongoDB could not be read: {error}",
            where=where,
            remedy="check that the replica set has a primary and that the user may read the database "
            f"and write {MARKERS}",
        )


def _digests(documents: Iterable[Document]) -> Iterator[tuple[str, int]]:
    encode = encoder(ADAPTERS)
    for document in documents:
        key = key_text(document["_id"])
        yield key, row_digest(key, encode(document))


def _binary(value: Binary) -> bytes | str | Document:
    match value.subtype:
        case 0:
            return bytes(value)
        case 4 if len(value) == 16:
            return str(UUID(bytes=bytes(value)))
    return {"$binary": b64encode(value).decode(), "$type": f"{value.subtype:02X}"}


@lru_cache(maxsize=65_536)
def _decimal(bid: bytes) -> str:
    # Half the time of encoding a document goes into decimals otherwise, and prices repeat.
    return str(Decimal128.from_bid(bid))


def _regex(value: Regex[Any]) -> Document:
    return {"$regex": value.pattern, "$options": regex_options(value)}


def _code(value: Code) -> Document:
    scope: Document = {} if value.scope is None else {"$scope": dict(value.scope)}
    return {"$code": str(value), **scope}


ADAPTERS: Final[Adapters] = {
    ObjectId: str,
    Int64: int,
    DatetimeMS: lambda value: Moment(int(value) * 1000),
    Decimal128: lambda value: _decimal(value.bid),
    Binary: _binary,
    Regex: _regex,
    Timestamp: lambda value: {"$timestamp": {"t": value.time, "i": value.inc}},
    Code: _code,
    MinKey: lambda _: {"$minKey": 1},
    MaxKey: lambda _: {"$maxKey": 1},
    DBRef: lambda value: dict(value.as_doc()),
}
"""BSON type → the shape the lake keeps. Shapes as written by the Java driver's JsonMode.STRICT."""
