"""Records that cannot become rows, each with why and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cdc_platform.core.errors import EventRefused, SchemaRefused, Terminal
from cdc_platform.core.model import Records


@dataclass(frozen=True, slots=True)
class Refusal:
    """``row``: index in the records' frame. ``schema``: the event is sound, a value of it has no column.
    ``stops``: the table, whatever its policy for single events."""

    row: int
    what: str
    remedy: str
    schema: bool = False
    stops: bool = False

    def error(self, records: Records) -> Terminal:
        partition, offset = records.frame.select("partition", "offset").row(self.row)
        where = f"topic {records.stream.topic}, partition {partition}, offset {offset}"
        kind = SchemaRefused if self.schema else EventRefused
        return kind(self.what, where=where, remedy=self.remedy)


def sift(rows: int, fault: Callable[[int, int], str | None]) -> Iterator[tuple[int, str]]:
    """Each of ``rows`` rows that is at fault by itself, and why, in order.

    ``fault(start, stop)``: what is wrong with these rows, None if nothing is. It is asked about halves of
    halves, so k faults cost about k log2(rows) questions, most of them about few rows.
    """
    spans = [(0, rows)] if rows else []
    while spans:
        start, stop = spans.pop()
        reason = fault(start, stop)
        if reason is None:
            continue
        if stop - start == 1:
            yield start, reason
            continue
        middle = (start + stop) // 2
        spans += [(middle, stop), (start, middle)]
