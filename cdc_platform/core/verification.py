"""How a source is proven: how often its tables are read as a whole, and what that may cost the source."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from cdc_platform.core.position import Engine

Reading = Literal["primary", "primaryPreferred", "secondary", "secondaryPreferred", "nearest"]
"""Members of a replica set, as MongoDB's read preferences name them."""


class Verification(BaseModel):
    """What the proofs of a source read of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    full_hours: Annotated[
        float,
        Field(
            ge=0,
            description="Hours after which a check in Dagster reads every row of a table again. Between them "
            "it reads the keys that have changed since the last proof. 0: every check reads every row.",
        ),
    ] = 20
    incremental: Annotated[
        bool,
        Field(description="Whether cdc verify does the same; otherwise it reads every row unless asked."),
    ] = False
    prefilter: Annotated[
        bool,
        Field(
            description="Of PostgreSQL: the database itself names the rows that have changed since the last "
            "proof, whether their events came or not. So proofs that read only those prove the whole table."
        ),
    ] = False
    rows_per_second: Annotated[
        int | None,
        Field(ge=1, description="Rows that proofs read from the source a second, at most, all tables."),
    ] = None
    read_from: Annotated[
        Reading,
        Field(description="Of MongoDB: the members that documents are read from, as a read preference."),
    ] = "primary"

    @property
    def every(self) -> timedelta | None:
        """After how long all rows are read again; None for each time."""
        return timedelta(hours=self.full_hours) if self.full_hours else None

    def require_of(self, engine: Engine) -> None:
        """Raises ValueError for what a source of this engine cannot have."""
        if self.prefilter and engine is not Engine.POSTGRESQL:
            raise ValueError(f"verify.prefilter: {engine.called} does not tell which rows have changed")
        if self.read_from != "primary" and engine is not Engine.MONGODB:
            raise ValueError("verify.read_from: read preferences are MongoDB's")
