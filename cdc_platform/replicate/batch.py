"""Records of one topic on their way into its lake tables.

Invariant: tables with the same columns get the same rows, and decoding is done once for all of them. A table
whose columns differ, as it is behind or has just gained some, has them decoded for itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock

import polars as pl

from cdc_platform.core.model import Records
from cdc_platform.core.offsets import Range
from cdc_platform.decode.decoded import Decoded, Decoder, Rules
from cdc_platform.decode.documents import Layout


@dataclass(slots=True, eq=False)
class Batch:
    """Several tables' workers may share one. Of those that ask at the same time, one decodes."""

    records: Records
    _lock: Lock = field(default_factory=Lock)
    _columns: pl.Schema | None = None
    _rules: Rules | None = None
    _decoded: Decoded | None = None

    def decoded(self, decode: Decoder, columns: pl.Schema, rules: Rules, layout: Layout) -> Decoded:
        """For a table with these columns. ``decode``: of the records' source. ``layout``: what earlier
        documents looked like, to parse faster."""
        with self._lock:
            if self._decoded is None or (self._columns, self._rules) != (columns, rules):
                self._decoded = decode(self.records, columns, rules, layout)
                self._columns, self._rules = columns, rules
            return self._decoded


def joined(batches: list[Records]) -> Records:
    """Consecutive records of one stream as one."""
    ranges: dict[int, Range] = {}
    for batch in batches:
        for partition, covered in batch.ranges.items():
            start = ranges[partition].start if partition in ranges else covered.start
            ranges[partition] = Range(start, covered.end)
    return Records(batches[0].stream, pl.concat([batch.frame for batch in batches], rechunk=True), ranges)
