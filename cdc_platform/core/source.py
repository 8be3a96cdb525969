"""A source database and the tables captured from it, as declared in ``defs/<source>/defs.yaml``.

Invariant: everything that has a name elsewhere (connector, topics, tables, assets) derives its name here, so
that the connector writes to the topic the reader reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal
from zoneinfo import available_timezones

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from cdc_platform.core.cron import Cron
from cdc_platform.core.model import Kind, Limits, Policy
from cdc_platform.core.partitioning import Folder, PartitionBy

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]

MARKERS: Final = "cdc_markers"
"""Captured collection that verification writes a marker into, to know that the stream passed a position."""


Carried = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+$")]
"""A name that reaches Kafka unchanged. Debezium 3.4 writes any other character of a topic's name as ``_``, so
two collections could share a topic; and it never streams a collection with a comma in its name."""


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
    batch_size: Annotated[int, Field(ge=1, description="Events handed on at once, at most.")] = 2_048
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


class Schedules(BaseModel):
    """When a source's upkeep runs, each as a cron expression; ``null`` leaves one out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    compact: Annotated[Cron | None, Field(description="When many small files of each table become few.")] = (
        "17 * * * *"
    )
    vacuum: Annotated[
        Cron | None, Field(description="When files go that no version within retention.files_hours needs.")
    ] = "41 2 * * *"
    verify: Annotated[
        Cron | None, Field(description="When the lake is proven against the source, which is read in full.")
    ] = "11 4 * * *"
    retention: Annotated[Cron | None, Field(description="When old runs leave Dagster's event log.")] = (
        "47 * * * *"
    )
    timezone: Annotated[str, Field(description="Time zone of the above, by its IANA name.")] = "UTC"

    @field_validator("timezone")
    @classmethod
    def _timezone_is_known(cls, name: str) -> str:
        if name != "UTC" and name not in available_timezones():
            raise ValueError(f"{name} is no time zone; one is, for example, Europe/Berlin")
        return name


class Retention(BaseModel):
    """How long what is no longer needed stays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files_hours: Annotated[
        int,
        Field(
            ge=1, description="Hours that files of older table versions stay, for readers and time travel."
        ),
    ] = 168
    runs_hours: Annotated[
        int, Field(ge=1, description="Hours that ended runs stay in Dagster, with their events.")
    ] = 72
    runs_kept: Annotated[
        int, Field(ge=1, description="Newest ended runs of each job that stay however old they are.")
    ] = 25


class Source(BaseModel):
    """One MongoDB database whose collections are captured.

    Neither its repr nor what is said of a wrong declaration shows a value: ``uri`` may hold a password.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: Annotated[Name, Field(description="Name of the source; prefix of its topics and assets.")]
    engine: Annotated[Literal["mongodb"], Field(description="Database engine.")] = "mongodb"
    uri: Annotated[str, Field(description="Connection string, as MongoDB drivers take it.", repr=False)]
    database: Annotated[Carried, Field(description="Database to capture.")]
    collections: Annotated[
        tuple[Carried, ...], Field(description="Collections to capture, by their names.", min_length=1)
    ]
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
    lag_seconds: Annotated[
        float,
        Field(
            gt=0,
            description="Seconds from the source's commit to the changelog's that 95 of 100 changes may "
            "take, and that a change may wait in Kafka; the check `lag` fails beyond.",
        ),
    ] = 5.0
    limits: Annotated[Limits, Field(description="Batch sizes and commit cadence of every table.")] = Limits()
    schedules: Annotated[Schedules, Field(description="When the source's upkeep runs.")] = Schedules()
    retention: Annotated[Retention, Field(description="How long old files and runs stay.")] = Retention()
    partition_by: Annotated[
        PartitionBy, Field(description="Columns that the lake tables are partitioned by when they are made.")
    ] = PartitionBy()
    partition_collections_by: Annotated[
        Mapping[Carried, PartitionBy],
        Field(description="The same for single collections, in place of partition_by."),
    ] = {}

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
    def _partitioned_collections_are_captured(self) -> Source:
        if unknown := sorted(self.partition_collections_by.keys() - set(self.collections)):
            raise ValueError(
                f"partition_collections_by names what is no collection here: {', '.join(unknown)}"
            )
        return self

    def partitioned_by(self, collection: str, kind: Kind) -> tuple[Folder, ...]:
        """Columns that a lake table is partitioned by."""
        chosen = self.partition_collections_by.get(collection, self.partition_by)
        return {Kind.CHANGELOG: chosen.changelog, Kind.CURRENT: chosen.current}.get(kind, ())

    @property
    def connector(self) -> str:
        """Name of the connector in Kafka Connect."""
        return f"cdc-{self.name}"

    def topic(self, collection: str) -> str:
        """The Kafka topic Debezium writes this collection's events to."""
        return f"{self.name}.{self.database}.{collection}"

    @property
    def captured(self) -> tuple[str, ...]:
        """All collections the connector includes: the declared ones and the markers."""
        return (*self.collections, MARKERS)
