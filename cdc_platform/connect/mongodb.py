"""Connections to a MongoDB source, for preparing it and for what is said to its connector.

Invariant: the driver's errors leave as the platform's, without a password; what a person has to do is in
their remedy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from pymongo import MongoClient
from pymongo.errors import ConfigurationError, ConnectionFailure, OperationFailure, PyMongoError
from pymongo.uri_parser import parse_uri

from cdc_platform.core.errors import Terminal, Transient
from cdc_platform.core.source import Source

UNAUTHORIZED: Final = 13
_AUTHENTICATION_FAILED: Final = 18


@contextmanager
def opened(source: Source, patience: float = 10.0) -> Iterator[MongoClient[dict[str, Any]]]:
    """``patience``: seconds to find the server. Raises Transient if it does not answer in time, Terminal for
    what a person has to change.
    """
    with _named(source), _client(source, patience) as client:
        yield client


def _client(source: Source, patience: float) -> MongoClient[dict[str, Any]]:
    try:
        return MongoClient(source.uri, serverSelectionTimeoutMS=int(patience * 1000))
    except ValueError as error:  # a port that is no number
        raise ConfigurationError(str(error)) from error


@contextmanager
def _named(source: Source) -> Iterator[None]:
    """The driver's errors as the platform's."""
    try:
        yield
    except ConfigurationError as error:
        raise Terminal(
            f"the connection string of source {source.name} cannot be used: {error}",
            where=f"source {source.name}",
            remedy="correct uri in the declaration of the source",
        ) from error
    except ConnectionFailure as error:
        raise Transient(
            f"MongoDB does not answer: {error}",
            where=where(source),
            remedy="start it, or correct uri in the declaration of the source",
        ) from error
    except OperationFailure as error:
        raise _refused(source, error) from error
    except PyMongoError as error:
        raise Terminal(
            f"MongoDB fails: {error}", where=where(source), remedy="correct what MongoDB names"
        ) from error


def _refused(source: Source, error: OperationFailure) -> Terminal:
    if error.code == _AUTHENTICATION_FAILED:
        remedy = "correct the user, its password or authSource in uri"
    elif error.code == UNAUTHORIZED:
        remedy = (
            f"grant the user of the source find, changeStream, listCollections, createCollection and "
            f"collMod on {source.database}: the roles readWrite and dbAdmin of that database"
        )
    else:
        remedy = "correct what MongoDB names"
    said = (error.details or {}).get("errmsg") or str(error)
    return Terminal(f"MongoDB refuses: {said}", where=where(source), remedy=remedy)


def where(source: Source) -> str:
    """Source and servers; never the connection string, which may hold a password."""
    nodes = ", ".join(f"{host}:{port}" for host, port in parse_uri(source.uri, warn=True)["nodelist"])
    return f"source {source.name}, database {source.database} at {nodes}"
