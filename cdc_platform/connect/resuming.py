"""Whether a source can still go on from the place in its history that a connector has come to.

A connector of MongoDB whose database was dropped, or whose server was restored to an earlier state, runs on
and hears nothing (Debezium 3.4): its stream has ended, or waits for a time that may be long in coming. One of
PostgreSQL leaves out what a restored server writes at places that it has passed before. Connect tells no
failure of either.

Invariant: what is told here is seen in the server itself, never concluded from silence.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, assert_never

import bson
from bson.errors import BSONError
from bson.timestamp import Timestamp
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from cdc_platform.connect import mongodb, postgresql
from cdc_platform.core.position import Engine
from cdc_platform.core.source import Source

LOOK: Final = 1.0
"""Seconds that the server is asked for what ended a stream, at most."""

AHEAD: Final = 60
"""Seconds of cluster time. A token may stand a little past the last write: that of a stream at rest does."""

REMEDY: Final = (
    "if that is the database that is meant, read everything anew with cdc connector snapshot, and remove "
    "with cdc reconcile what it does not have"
)

_RESTORED: Final = "the database was restored to an earlier state, or is another one"
_ENDING: Final = ("dropDatabase", "invalidate")
_GONE: Final = frozenset({260, 280, 286})
"""InvalidResumeToken, ChangeStreamFatalError, ChangeStreamHistoryLost."""


def ended(
    source: Source, position: Mapping[str, object], clock: Callable[[], float] = time.monotonic
) -> str | None:
    """Why the stream cannot go on from a connector's committed position; None if nothing is against it.

    ``position``: as Connect tells it. Raises CdcError if the server does not answer.
    """
    match source.engine:
        case Engine.MONGODB:
            token = _token(position.get("resume_token"))
            return None if token is None else _ended_stream(source, token, clock)
        case Engine.POSTGRESQL:
            lsn = position.get("lsn")
            return _ahead(source, lsn) if isinstance(lsn, int) else None
        case Engine.MARIADB | Engine.MYSQL:
            return None
        case _:
            assert_never(source.engine)


def _ahead(source: Source, lsn: int) -> str | None:
    with postgresql.opened(source) as connection:
        [(written,)] = postgresql.rows(connection, "SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint")
    if lsn <= written:
        return None
    return f"it has come to LSN {_lsn(lsn)}, and the server only to {_lsn(written)}: {_RESTORED}"


def _lsn(place: int) -> str:
    return f"{place >> 32:X}/{place & 0xFFFFFFFF:X}"


def _ended_stream(source: Source, token: Mapping[str, Any], clock: Callable[[], float]) -> str | None:
    with mongodb.opened(source) as client:
        reached: Timestamp = client.admin.command("hello")["lastWrite"]["opTime"]["ts"]
        at = _time(token)
        if at is not None and at.time > reached.time + AHEAD:
            return (
                f"it has come to cluster time {at.time}.{at.inc}, and the server only to "
                f"{reached.time}.{reached.inc}: {_RESTORED}"
            )
        try:
            return _ending(client, source.database, token, reached, clock)
        except OperationFailure as error:
            if error.code not in _GONE:
                raise
            said = (error.details or {}).get("errmsg") or str(error)
            return f"the server cannot go on from its resume token: {said}"


def _ending(
    client: MongoClient[dict[str, Any]],
    database: str,
    token: Mapping[str, Any],
    reached: Timestamp,
    clock: Callable[[], float],
) -> str | None:
    """Looks from the token on up to what the server had ``reached``."""
    wanted = [{"$match": {"operationType": {"$in": list(_ENDING)}}}]
    end = clock() + LOOK
    with client[database].watch(wanted, resume_after=token, max_await_time_ms=100) as stream:
        while clock() < end:
            if stream.try_next() is not None:
                return f"the database {database} was dropped, which ended its stream"
            at = _time(stream.resume_token or {})
            if at is not None and at >= reached:
                break
    return None


def _token(told: object) -> Mapping[str, Any] | None:
    """A token as the connector commits it: BSON in base64."""
    if not isinstance(told, str):
        return None
    try:
        return bson.decode(base64.b64decode(told))
    except (binascii.Error, BSONError):
        return None


def _time(token: Mapping[str, Any]) -> Timestamp | None:
    """The cluster time that a token begins with, after a byte that says so; None of another token."""
    data = str(token.get("_data", ""))
    try:
        return Timestamp(int(data[2:10], 16), int(data[10:18], 16)) if data.startswith("82") else None
    except ValueError:
        return None
