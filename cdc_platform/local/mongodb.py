"""MongoDB as a replica set of one node, so that it has an oplog and change streams.

Invariants
----------
* Ready means: a primary that accepts writes, and whose replica set configuration names the port it listens
  on. A client that goes by the replica set's own addresses (Debezium does) would otherwise look for it
  elsewhere after a port change.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from cdc_platform.local import libraries
from cdc_platform.local.ports import HOST
from cdc_platform.local.process import Command, NotReadyError
from cdc_platform.local.service import Paths, Service
from cdc_platform.local.settings import StackSettings

NAME = "mongodb"
REPLICA_SET = "rs0"

_NOT_YET_INITIALIZED = 94  # error code of replSetGetConfig before replSetInitiate


def uri(port: int) -> str:
    """Works for pymongo and for Debezium: the one member is found at the same address by its set."""
    return f"mongodb://{HOST}:{port}/?replicaSet={REPLICA_SET}"


def service(settings: StackSettings, paths: Paths, mongod: Path, port: int) -> Service:
    """mongod, bound to the loopback interface."""
    data = paths.data(NAME)
    shim = paths.config / "lib"
    libraries_needed = libraries.environment_for(mongod, os.environ, shim)
    argv = (
        str(mongod),
        *("--dbpath", str(data)),
        *("--port", str(port)),
        *("--bind_ip", HOST),
        *("--replSet", REPLICA_SET),
        *("--oplogSize", "1024"),
        *("--wiredTigerCacheSizeGB", str(settings.mongodb_cache_gb)),
        *("--unixSocketPrefix", str(paths.run)),
        "--nounixsocket",
        *("--setParameter", "diagnosticDataCollectionEnabled=false"),
    )

    def prepare(_environment: Mapping[str, str]) -> None:
        data.mkdir(parents=True, exist_ok=True)

    return Service(
        title="MongoDB",
        command=Command(NAME, argv, libraries_needed, paths.log(NAME), port),
        prepare=prepare,
        ready=lambda: become_primary(port),
    )


def require_primary(port: int) -> None:
    """Raise `NotReadyError` unless this node is its set's primary. Changes nothing."""
    with _client(port) as client:
        try:
            if _is_primary(client, port):
                return
        except PyMongoError as error:
            raise _not_ready(port, error) from error
    raise NotReadyError(f"MongoDB on port {port} is not the primary of {REPLICA_SET}")


def become_primary(port: int) -> None:
    """Initiate or correct the replica set; raise `NotReadyError` until this node is its primary."""
    with _client(port) as client:
        try:
            if _is_primary(client, port):
                return
            _configure(client, port)
        except PyMongoError as error:
            raise _not_ready(port, error) from error
    raise NotReadyError(f"MongoDB on port {port} is not yet the primary of {REPLICA_SET}")


def _client(port: int) -> MongoClient[dict[str, Any]]:
    return MongoClient(
        HOST,
        port,
        directConnection=True,
        serverSelectionTimeoutMS=1000,
        connectTimeoutMS=1000,
        socketTimeoutMS=5000,
    )


def _is_primary(client: MongoClient[dict[str, Any]], port: int) -> bool:
    hello = client.admin.command("hello")
    return bool(hello.get("isWritablePrimary")) and hello.get("me") == f"{HOST}:{port}"


def _not_ready(port: int, error: PyMongoError) -> NotReadyError:
    return NotReadyError(f"MongoDB on port {port}: {str(error).partition(',')[0]}")


def _configure(client: MongoClient[dict[str, Any]], port: int) -> None:
    member = f"{HOST}:{port}"
    try:
        config = client.admin.command("replSetGetConfig")["config"]
    except OperationFailure as error:
        if error.code != _NOT_YET_INITIALIZED:
            raise
        client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": [{"_id": 0, "host": member}]})
        return
    if config["members"][0]["host"] != member:
        config["members"][0]["host"] = member
        config["version"] += 1
        client.admin.command("replSetReconfig", config, force=True)
