"""What a MongoDB database needs before it can be captured.

Invariant: after ``prepare`` every captured collection exists and, unless the source does without, keeps the
documents before and after each change. A collection without them is captured with empty images, silently:
its updates would look like changes to nothing.
"""

from __future__ import annotations

from typing import Any, Final

from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure

from cdc_platform.connect import mongodb
from cdc_platform.core.errors import Terminal
from cdc_platform.core.source import Source

_NAMESPACE_EXISTS: Final = 48

_KEEPS_IMAGES: Final = {"enabled": True}
_WITHOUT_IMAGES: Final = (
    "or declare capture.images: lookup, which costs this: an update carries the document as it is when read, "
    "not as the change left it, nothing carries the document before, and equality with the source can be "
    "proven only while it rests"
)

_Database = Database[dict[str, Any]]


def prepare(source: Source, patience: float) -> None:
    """Create the collections that are missing, switch on their images, and check that changes can be read.

    May be repeated; changes nothing that is already so. ``patience``: seconds to find the server. Raises
    Transient if it does not answer, Terminal with a remedy for everything that a person has to change.
    """
    with mongodb.opened(source, patience) as client:
        database = client[source.database]
        _require_replica_set(source, client)
        images = source.capture.images == "required"
        if images:
            _require_images_known(source, client.server_info()["versionArray"])
        _prepare_collections(source, database, images)
        with database.watch(max_await_time_ms=1):
            pass  # opening it shows whether this user may read changes


def _require_replica_set(source: Source, client: MongoClient[dict[str, Any]]) -> None:
    hello = client.admin.command("hello")
    where = mongodb.where(source)
    if hello.get("msg") == "isdbgrid":
        raise Terminal(
            "the server is the router of a sharded cluster, whose changes have no order across shards",
            where=where,
            remedy="capture each shard's replica set as a source of its own",
        )
    name = hello.get("setName")
    if name is None:
        raise Terminal(
            "the server is not a member of a replica set, so it has no change streams",
            where=where,
            remedy="start mongod with --replSet rs0 and run rs.initiate() once; one member is enough",
        )
    if client.options.replica_set_name != name:
        raise Terminal(
            f"the connection string does not name the server's replica set, {name}",
            where=where,
            remedy=f"add replicaSet={name} to the connection string of the source",
        )


def _require_images_known(source: Source, version: tuple[int, ...] | list[int]) -> None:
    if tuple(version) < (6, 0):
        raise Terminal(
            f"MongoDB {'.'.join(map(str, version[:3]))} keeps no documents before and after a change",
            where=mongodb.where(source),
            remedy=f"use MongoDB 6.0 or newer, {_WITHOUT_IMAGES}",
        )


def _prepare_collections(source: Source, database: _Database, images: bool) -> None:
    wanted = {"$in": list(source.captured)}
    found = {entry["name"]: entry for entry in database.list_collections(filter={"name": wanted})}
    for name in source.captured:
        entry = found.get(name)
        if entry is None:
            _create(source, database, name, images)
        elif entry["type"] != "collection":
            raise Terminal(
                f"{source.database}.{name} is a {entry['type']}; MongoDB streams changes of collections only",
                where=mongodb.where(source),
                remedy="capture the collection it is made from",
            )
        elif images and entry["options"].get("changeStreamPreAndPostImages") != _KEEPS_IMAGES:
            _keep_images(source, database, name)


def _create(source: Source, database: _Database, name: str, images: bool) -> None:
    command = {"create": name, **({"changeStreamPreAndPostImages": _KEEPS_IMAGES} if images else {})}
    try:
        database.command(command)
    except OperationFailure as error:
        if error.code != _NAMESPACE_EXISTS:
            raise
        if images:  # somebody created it meanwhile, perhaps with a first insert
            _keep_images(source, database, name)


def _keep_images(source: Source, database: _Database, name: str) -> None:
    try:
        database.command({"collMod": name, "changeStreamPreAndPostImages": _KEEPS_IMAGES})
    except OperationFailure as error:
        if error.code != mongodb.UNAUTHORIZED:
            raise
        enable = f'db.runCommand({{collMod: "{name}", changeStreamPreAndPostImages: {{enabled: true}}}})'
        raise Terminal(
            f"{source.database}.{name} does not keep documents before and after a change, "
            f"and the user of the source has no right to switch that on (collMod)",
            where=mongodb.where(source),
            remedy=f"run {enable} on {source.database} with such a right, {_WITHOUT_IMAGES}",
        ) from error
