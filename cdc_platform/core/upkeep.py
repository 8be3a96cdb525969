"""When a source's upkeep runs, and what it leaves, as declared."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import available_timezones

from pydantic import BaseModel, ConfigDict, Field, field_validator

from cdc_platform.core.cron import Cron


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
        Cron | None,
        Field(
            description="When all tables are looked at by every check, and proven against the source: with "
            "every row if the last time is verify.full_hours ago."
        ),
    ] = "11 4 * * *"
    prove: Annotated[
        Cron | None,
        Field(
            description="When tables that have changed since their last proof are proven again, by the keys "
            "that have changed."
        ),
    ] = "*/15 * * * *"
    reconcile: Annotated[
        Cron | None,
        Field(
            description="When rows are deleted that the source has no more: deletes that were never "
            "streamed leave them. Only if it is declared; the check `content` names such rows."
        ),
    ] = None
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
