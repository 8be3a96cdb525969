"""Which columns a lake table may be partitioned by.

Invariant: such a column is there when the table is made, has few values, and each is a plain folder name. A
document's field is none of that: deltalake 1.6 makes a null of an empty text there, and cannot read the
change feed of a text that its folder's name has to escape.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator

from cdc_platform.core.columns import METADATA, TOPIC

Folder = Literal["_ingestion_date", "_cdc_operation", "_kafka_partition"]


def _why_not(name: Any) -> str:
    if name == TOPIC:
        return "all its rows have one"
    if name in METADATA:
        return "nearly every row has another value, and each would be a folder of its own"
    return "the fields of the documents are not known yet when it is made"


class PartitionBy(BaseModel):
    """Columns that the lake tables of a collection are partitioned by, outermost first; none by default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    changelog: Annotated[
        tuple[Folder, ...],
        Field(
            description="Of the changelog. [_ingestion_date] suits one that is read by the day. Every commit "
            "writes a file for each value it has, so _kafka_partition makes as many small files more."
        ),
    ] = ()
    current: Annotated[
        tuple[Folder, ...],
        Field(
            description="Of the current table. An update moves its row when the value changes, as "
            "_ingestion_date and _cdc_operation do."
        ),
    ] = ()

    @field_validator("changelog", "current", mode="before")
    @classmethod
    def _only_columns_that_can_be_folders(cls, names: Any) -> Any:
        for name in names if isinstance(names, list | tuple) else ():
            if name not in get_args(Folder):
                raise ValueError(
                    f"a table cannot be partitioned by {name!r}: {_why_not(name)}; choose of "
                    f"{', '.join(get_args(Folder))}"
                )
        return names

    @field_validator("changelog", "current")
    @classmethod
    def _are_distinct(cls, names: tuple[Folder, ...]) -> tuple[Folder, ...]:
        if len(set(names)) < len(names):
            raise ValueError(f"named twice: {', '.join(names)}")
        return names
