"""A source database and the tables captured from it, as declared in ``defs/<source>/defs.yaml``.

Invariant: everything that has a name elsewhere (connector, topics, tables, assets) derives its name here, so
that the connector writes to the topic the reader reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Final, Literal

import polars as pl
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from cdc_platform.core.declared import column_type
from cdc_platform.core.model import Format, Kind, Limits, Policy, Target
from cdc_platform.core.partitioning import Folder, PartitionBy
from cdc_platform.core.pattern import Carried, Glob, is_glob, matches
from cdc_platform.core.position import Engine
from cdc_platform.core.upkeep import Retention, Schedules

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]

MARKERS: Final = "cdc_markers"
"""Captured collection that verification writes a marker into, to know that the stream passed a position."""


def _known_type(text: str) -> str:
    column_type(text)
    return text


ColumnType = Annotated[str, AfterValidator(_known_type)]
"""A column's type as ``core.declared`` reads it."""


class Capture(BaseModel):
    """How the connector reads the database. The defaults suit most sources."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: Annotated[
        Literal["required", "lookup"],
        Field(
            description="required: each change carries the document before and after it, kept by MongoDB for "
            "every captured collection. lookup: for a database where that cannot be switched on; an update "
            "then carries the document as it is when read, not as the change left it, and nothing carries "
            "the document before; equality with the source can be proven only while it rests."
        ),
    ] = "required"
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
        int, Field(ge=1, description="Documents of the initial snapshot fetched at once.")
    ] = 10_000
    snapshot_threads: Annotated[
        int, Field(ge=1, le=64, description="Collections that the initial snapshot reads at the same time.")
    ] = 4

    @model_validator(mode="after")
    def _queue_holds_a_batch(self) -> Capture:
        if self.queue_size <= self.batch_size:
            raise ValueError("queue_size must be larger than batch_size")
        return self


Owner = Annotated[str, StringConstraints(pattern=r"^(team:[A-Za-z0-9_-]+|[^@\s]+@[^@\s]+\.[^@\s]+)$")]
"""As Dagster shows it: a person's e-mail address or a team."""


class Source(BaseModel):
    """One database whose collections (of PostgreSQL, MariaDB and MySQL: tables) are captured.

    Neither its repr nor what is said of a wrong declaration shows a value: ``uri`` may hold a password.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: Annotated[Name, Field(description="Name of the source; prefix of its topics and assets.")]
    engine: Annotated[Engine, Field(description="Database engine.")] = Engine.MONGODB
    uri: Annotated[
        str,
        Field(
            description="Connection string: mongodb://…, postgresql://user:password@host:5432, "
            "mariadb:// or mysql://user:password@host:3306.",
            repr=False,
        ),
    ]
    database: Annotated[Carried, Field(description="Database to capture.")]
    collections: Annotated[
        tuple[Glob, ...],
        Field(
            description="Collections to capture, by their names, or by globs as audit_*: collections that "
            "match are captured as they are created.",
            json_schema_extra={"minItems": 1},
        ),
    ]
    globs: Annotated[
        tuple[Glob, ...],
        Field(description="The globs among collections; they are written there, rather than here."),
    ] = ()
    partitions: Annotated[int, Field(ge=1, le=1000, description="Partitions of each topic.")] = 3
    capture: Annotated[Capture, Field(description="How the connector reads the database.")] = Capture()
    values: Annotated[
        Policy,
        Field(
            description="What becomes of a value that does not fit its column. json: it goes as canonical "
            "extended JSON text beside its field, into <field>__json. quarantine: its event becomes a dead "
            "letter. refuse: its table stops before the event, and before an event that cannot be decoded."
        ),
    ] = Policy.JSON
    columns: Annotated[
        Mapping[Carried, Mapping[str, ColumnType]],
        Field(
            description="Types of fields, by collection, where the first values would tell too little: "
            "{orders: {price: double, tags: list<string>}}. Such columns exist from the first commit."
        ),
    ] = {}
    lag_seconds: Annotated[
        float,
        Field(
            gt=0,
            description="Seconds from the source's commit to the changelog's that 95 of 100 changes may "
            "take, and that a change may wait in Kafka; the check `lag` fails beyond. What ends a rest may "
            "take 10 s more, the time that a run needs to start.",
        ),
    ] = 5.0
    limits: Annotated[Limits, Field(description="Batch sizes and commit cadence of every table.")] = Limits()
    owners: Annotated[
        tuple[Owner, ...], Field(description="Who answers for its tables: e-mail addresses, or team:<name>.")
    ] = ()
    schedules: Annotated[Schedules, Field(description="When the source's upkeep runs.")] = Schedules()
    retention: Annotated[Retention, Field(description="How long old files and runs stay.")] = Retention()
    formats: Annotated[
        tuple[Format, ...],
        Field(
            min_length=1,
            description="Formats of the lake tables: delta, iceberg, or both, which are filled by one read.",
        ),
    ] = (Format.DELTA,)
    collection_formats: Annotated[
        Mapping[Carried, tuple[Format, ...]],
        Field(description="The same for single collections, in place of formats: {orders: [iceberg]}."),
    ] = {}
    partition_by: Annotated[
        PartitionBy, Field(description="Columns that the lake tables are partitioned by when they are made.")
    ] = PartitionBy()
    partition_collections_by: Annotated[
        Mapping[Carried, PartitionBy],
        Field(description="The same for single collections, in place of partition_by."),
    ] = {}

    @model_validator(mode="before")
    @classmethod
    def _globs_are_no_names(cls, given: object) -> object:
        """What is known by its name stays in ``collections``, so that everything there is one collection."""
        if not isinstance(given, Mapping) or not isinstance(named := given.get("collections"), list | tuple):
            return given
        globs = [name for name in named if isinstance(name, str) and is_glob(name)]
        if not globs:
            return given
        names = [name for name in named if name not in globs]
        return {**given, "collections": names, "globs": [*given.get("globs", ()), *globs]}

    @model_validator(mode="after")
    def _captures_something(self) -> Source:
        if not self.collections and not self.globs:
            raise ValueError("collections: name one, at least")
        return self

    @field_validator("collections")
    @classmethod
    def _collections_are_distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if doubled := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"named twice: {', '.join(sorted(doubled))}")
        if len({name.replace(".", "_") for name in names}) < len(names):
            raise ValueError("two names differ only in '.' and '_': Kafka does not create topics for both")
        if MARKERS in names:
            raise ValueError(f"{MARKERS} is the platform's own collection and is captured by itself")
        return names

    @model_validator(mode="after")
    def _single_collections_are_captured(self) -> Source:
        for field in ("partition_collections_by", "collection_formats"):
            named = getattr(self, field).keys() - set(self.collections)
            if unknown := sorted(name for name in named if not matches(self.globs, name)):
                raise ValueError(f"{field} names what is no collection here: {', '.join(unknown)}")
        return self

    @model_validator(mode="after")
    def _columns_are_of_captured_collections(self) -> Source:
        if unknown := sorted(self.columns.keys() - set(self.collections)):
            raise ValueError(f"columns names what is no collection here: {', '.join(unknown)}")
        return self

    @field_validator("formats")
    @classmethod
    def _formats_are_distinct(cls, formats: tuple[Format, ...]) -> tuple[Format, ...]:
        return tuple(dict.fromkeys(formats))

    def formats_of(self, collection: str) -> tuple[Format, ...]:
        """Formats that a collection's lake tables are stored in."""
        return self.collection_formats.get(collection, self.formats)

    def declared(self, collection: str) -> pl.Schema:
        """Columns that the collection's changelog has from the beginning, by their logical types."""
        return pl.Schema({name: column_type(text) for name, text in self.columns.get(collection, {}).items()})

    def partitioned_by(self, collection: str, kind: Kind) -> tuple[Folder, ...]:
        """Columns that a lake table is partitioned by."""
        chosen = self.partition_collections_by.get(collection, self.partition_by)
        return {Kind.CHANGELOG: chosen.changelog, Kind.CURRENT: chosen.current}.get(kind, ())

    def with_collections(self, names: Iterable[str]) -> Source:
        """The source with collections that its globs take, beside those it names."""
        more = sorted(name for name in names if self.takes(name) and name not in self.collections)
        return self.model_copy(update={"collections": (*self.collections, *more)})

    def takes(self, name: str) -> bool:
        """Whether a collection is one that the globs are for."""
        return name != MARKERS and matches(self.globs, name)

    @property
    def targets(self) -> tuple[Target, ...]:
        """Every collection in each of its formats."""
        return tuple(Target(name, each) for name in self.collections for each in self.formats_of(name))

    @property
    def connector(self) -> str:
        """Name of the connector in Kafka Connect."""
        return f"cdc-{self.name}"

    def topic(self, collection: str) -> str:
        """The Kafka topic Debezium writes this collection's events to."""
        return f"{self.name}.{self.qualified(collection)}"

    def qualified(self, collection: str) -> str:
        """The name with its database before it, of PostgreSQL with its schema: ``public`` if it has none."""
        if self.engine is Engine.POSTGRESQL:
            return collection if "." in collection else f"public.{collection}"
        return f"{self.database}.{collection}"

    @property
    def captured(self) -> tuple[str, ...]:
        """All collections the connector includes: the declared ones and the markers."""
        return (*self.collections, MARKERS)
