"""A source database and the tables captured from it, as declared in ``defs/<source>/defs.yaml``.

Invariant: everything that has a name elsewhere (connector, topics, tables, assets) derives its name here, so
that the connector writes to the topic the reader reads.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from cdc_platform.core.model import Limits

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]

MARKERS: Final = "cdc_markers"
"""Captured collection that verification writes a marker into, to know that the stream has passed a position."""


class Source(BaseModel):
    """One MongoDB database whose collections are captured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[Name, Field(description="Name of the source; prefix of its topics and assets.")]
    engine: Annotated[Literal["mongodb"], Field(description="Database engine.")] = "mongodb"
    uri: Annotated[str, Field(description="Connection string, as MongoDB drivers take it.")]
    database: Annotated[str, Field(description="Database to capture.")]
    collections: Annotated[
        tuple[str, ...], Field(description="Collections to capture, by their names.", min_length=1)
    ]
    partitions: Annotated[int, Field(ge=1, le=1000, description="Partitions of each topic.")] = 3
    limits: Annotated[Limits, Field(description="Batch sizes and commit cadence of every table.")] = Limits()

    @field_validator("collections")
    @classmethod
    def _collections_are_distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if doubled := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"named twice: {', '.join(sorted(doubled))}")
        if MARKERS in names:
            raise ValueError(f"{MARKERS} is the platform's own collection and is captured by itself")
        return names

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
