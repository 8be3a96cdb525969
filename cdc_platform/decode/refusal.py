"""Why a record was refused, before topic, partition and offset are put to it."""

from __future__ import annotations

from dataclasses import dataclass

from cdc_platform.core.errors import EventRefused, SchemaRefused, Terminal
from cdc_platform.core.model import Records


@dataclass(frozen=True, slots=True)
class Refusal:
    """``row``: index in the records' frame. ``schema``: the event is sound, a value of it has no column."""

    row: int
    what: str
    remedy: str
    schema: bool = False

    def error(self, records: Records) -> Terminal:
        partition, offset = records.frame.select("partition", "offset").row(self.row)
        where = f"topic {records.stream.topic}, partition {partition}, offset {offset}"
        kind = SchemaRefused if self.schema else EventRefused
        return kind(self.what, where=where, remedy=self.remedy)
