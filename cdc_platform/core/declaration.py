"""The fields of ``defs/<source>/defs.yaml``: what a person may say of a source. What follows from it is
``core.source``'s.

Invariant: what is declared is either known here or refused, by its name and without its value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)

from cdc_platform.core.capture import Capture, Wire
from cdc_platform.core.declared import column_type
from cdc_platform.core.model import Format, Limits, Policy
from cdc_platform.core.naming import SYNONYMS
from cdc_platform.core.partitioning import PartitionBy
from cdc_platform.core.pattern import Carried, Glob, Named
from cdc_platform.core.position import Engine
from cdc_platform.core.row_schema import Compatibility
from cdc_platform.core.upkeep import Retention, Schedules
from cdc_platform.core.verification import Verification

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


def _known_type(text: str) -> str:
    column_type(text)
    return text


ColumnType = Annotated[str, AfterValidator(_known_type)]
"""A column's type as ``core.declared`` reads it."""


_Any = WithJsonSchema({"type": "string", "minLength": 1})
_Known = Annotated[Carried, _Any]
_Listed = Annotated[Glob, _Any]
"""In YAML these may be any names: of tables, what is declared is not yet what they are known by."""

Owner = Annotated[str, StringConstraints(pattern=r"^(team:[A-Za-z0-9_-]+|[^@\s]+@[^@\s]+\.[^@\s]+)$")]
"""As Dagster shows it: a person's e-mail address or a team."""


def _with_synonyms(schema: dict[str, Any]) -> None:
    """Of the fields as they may be declared: ``dg check yaml`` looks at nothing else."""
    fields = schema["properties"]
    fields |= {other: fields[field] for other, field in SYNONYMS.items()}
    schema["required"].remove("collections")
    schema["oneOf"] = [{"required": ["collections"]}, {"required": ["tables"]}]


class Declaration(BaseModel):
    """One database whose collections (of PostgreSQL, MariaDB and MySQL: tables) are captured."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, json_schema_extra=_with_synonyms
    )

    name: Annotated[Name, Field(description="Name of the source; prefix of its topics and assets.")]
    engine: Annotated[Engine, Field(description="Database engine.")] = Engine.MONGODB
    uri: Annotated[
        str,
        Field(
            description="Connection string: mongodb://…, postgresql://user:password@host:5432, "
            "mariadb:// or mysql://user:password@host:3306. User and password are %-encoded in it where they "
            "hold other than letters and digits.",
            repr=False,
        ),
    ]
    database: Annotated[Named, Field(description="Database to capture.")]
    collections: Annotated[
        tuple[_Listed, ...],
        Field(
            description="Collections to capture, by their names, or by globs as audit_*: collections that "
            "match are captured as they are created. Tables are declared as `tables`; those of PostgreSQL "
            "that are not in the schema public with theirs: [orders, sales.invoices].",
            json_schema_extra={"minItems": 1},
        ),
    ]
    globs: Annotated[
        tuple[Glob, ...],
        Field(description="The globs among collections; they are written there, rather than here."),
    ] = ()
    originals: Annotated[
        Mapping[Carried, Named],
        Field(
            description="Names in the database of the tables that are known by others, as they hold "
            "characters that no topic's name can; filled in from tables, rather than here."
        ),
    ] = {}
    keys: Annotated[
        Mapping[_Known, tuple[Named, ...]],
        Field(
            description="Columns that identify a row of a table without a primary key: {visits: [day, "
            "page]}; or none, {log: []}: then the table has a changelog and no current state."
        ),
    ] = {}
    renamed: Annotated[
        Mapping[_Known, Mapping[Named, Named]],
        Field(
            description="Columns of tables that were renamed in the source and go on in the lake by their "
            "former names: {orders: {customer_name: name}}. Without it a renamed column is a new one, and "
            "the former one stays as it was."
        ),
    ] = {}
    wire: Annotated[
        Wire | None,
        Field(
            description="How events are written in Kafka: avro (with the schema registry), json_with_schema, "
            "or json, which has no types. By default json of MongoDB, and avro of other databases."
        ),
    ] = None
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
        Mapping[_Known, Mapping[str, ColumnType]],
        Field(
            description="Types of fields, by collection, where the first values would tell too little: "
            "{orders: {price: double, tags: list<string>}}. Such columns exist from the first commit."
        ),
    ] = {}
    compatibility: Annotated[
        Compatibility,
        Field(
            description="Which changes of a table's schema are taken, as the schema registry names them: "
            "none (all), backward, forward, full. Any other stops its table, and no other, before its first "
            "event, until it is accepted (cdc schema accept). Of MongoDB a value of another type than its "
            "field's stops the collection's table unless this is none."
        ),
    ] = Compatibility.NONE
    collection_compatibility: Annotated[
        Mapping[_Known, Compatibility],
        Field(description="The same for single collections, in place of compatibility: {orders: full}."),
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
    verify: Annotated[
        Verification, Field(description="How often proofs read whole tables, and how fast.")
    ] = Verification()
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
        Mapping[_Known, PartitionBy],
        Field(description="The same for single collections, in place of partition_by."),
    ] = {}
