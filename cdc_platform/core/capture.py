"""How a connector reads a database and how it writes to Kafka, as declared."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cdc_platform.core.position import Engine


class Wire(StrEnum):
    """How events are written in Kafka.

    JSON has no types: numbers, texts, and what the connector makes of all others (decimals are base64, dates
    are numbers). JSON_WITH_SCHEMA carries the types in each event, AVRO in the schema registry.
    """

    AVRO = "avro"
    JSON = "json"
    JSON_WITH_SCHEMA = "json_with_schema"


class Capture(BaseModel):
    """How the connector reads the database. The defaults suit most sources."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: Annotated[
        Literal["required", "lookup"],
        Field(
            description="MongoDB only. required: each change carries the document before and after it, kept "
            "by MongoDB for every captured collection. lookup: for a database where that cannot be switched "
            "on; an update then carries the document as it is when read, not as the change left it, and "
            "nothing carries the document before; equality with the source can be proven only while it rests."
        ),
    ] = "required"
    replica_identity: Annotated[
        Literal["full", "keep"],
        Field(
            description="PostgreSQL only. full: every captured table gets REPLICA IDENTITY FULL, so that "
            "each change carries the whole row before and after it. keep: tables stay as they are; with the "
            "default identity a large unchanged value is not in an update's event, and the changelog has no "
            "row before a change."
        ),
    ] = "full"
    server_id: Annotated[
        int | None,
        Field(
            ge=1,
            lt=2**32,
            description="MariaDB and MySQL only. The connector's id among the server's replicas, if the one "
            "that is made from the source's name is taken.",
        ),
    ] = None
    poll_interval_ms: Annotated[
        int, Field(ge=1, le=60_000, description="How often the connector hands on what it has read.")
    ] = 50
    batch_size: Annotated[
        int,
        Field(
            ge=1,
            description="Events handed on at once, at most. The worker's heap must hold as many: 4 suits "
            "documents of up to 16 MB.",
        ),
    ] = 2_048
    queue_size: Annotated[
        int, Field(ge=2, description="Events read ahead of Kafka, at most; more than batch_size.")
    ] = 16_384
    snapshot_fetch_size: Annotated[
        int, Field(ge=1, description="Documents or rows of the initial snapshot fetched at once.")
    ] = 10_000
    snapshot_threads: Annotated[
        int | None,
        Field(
            ge=1,
            le=64,
            description="Collections or tables that the initial snapshot reads at the same time; by default "
            "4 of MongoDB and 1 of other databases, where each is a connection of its own.",
        ),
    ] = None

    @model_validator(mode="after")
    def _queue_holds_a_batch(self) -> Capture:
        if self.queue_size <= self.batch_size:
            raise ValueError("queue_size must be larger than batch_size")
        return self

    def require_of(self, engine: Engine) -> None:
        """Raise ValueError for what was declared and does not apply to this engine."""
        foreign = [
            f"{name} ({'MongoDB' if owners == (Engine.MONGODB,) else ' and '.join(owners)} only)"
            for name, owners in _OWNERS.items()
            if engine not in owners and getattr(self, name) != type(self).model_fields[name].default
        ]
        if foreign:
            raise ValueError(f"capture: a source with engine {engine} has no {', '.join(foreign)}")


_OWNERS = {
    "images": (Engine.MONGODB,),
    "replica_identity": (Engine.POSTGRESQL,),
    "server_id": (Engine.MARIADB, Engine.MYSQL),
}
