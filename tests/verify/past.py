"""The past of a lake table in memory: what each of its commits changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from cdc_platform.core.columns import KEY
from cdc_platform.core.history import CHANGE, COMMIT, DELETE, INSERT, Commit, Forgotten
from cdc_platform.lake.memory import MemoryTable, Version


@dataclass(slots=True)
class MemoryHistory:
    """``forgotten``: the newest version of which nothing is known any more. ``silent``: versions that do not
    say what they changed, as one does that was made by somebody who only says that it moved files."""

    table: MemoryTable
    name: str = "orders"
    forgotten: int = -1
    silent: frozenset[int] = frozenset()

    @property
    def uri(self) -> str:
        return self.table.uri

    @property
    def bounded(self) -> bool:
        return False

    def identity(self) -> str:
        return self.name

    def rows(self, version: int) -> pl.LazyFrame:
        return self._version(version).rows.lazy()

    def commits(self, after: int, upto: int) -> tuple[Commit, ...]:
        known = [each.number for each in self.table.versions if after < each.number <= upto]
        at = datetime(2026, 1, 1, tzinfo=UTC)
        return tuple(
            Commit(number, at, "MERGE", ours=True, ranges={}, applied=None, written=None)
            for number in known
            if number > self.forgotten
        )

    def changes(self, after: int, upto: int, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        if after < self.forgotten:
            raise Forgotten(f"version {after + 1} is not there any more")
        for number in range(after + 1, upto + 1):
            if number not in self.silent:
                before, now = self._version(number - 1).rows, self._version(number).rows
                yield self._changed(number, before, now, columns)

    def differences(self, after: int, upto: int) -> Iterator[pl.DataFrame]:
        return self.changes(after, upto, columns=[KEY])

    def damaged(self, version: int | None = None) -> tuple[str, ...]:
        del version
        return ()

    def _version(self, number: int) -> Version:
        return next(each for each in self.table.versions if each.number == number)

    def _changed(
        self, number: int, before: pl.DataFrame, now: pl.DataFrame, columns: Sequence[str] | None
    ) -> pl.DataFrame:
        """A row that was updated is taken away and added again."""
        gone = _beyond(before, now).with_columns(pl.lit(DELETE).alias(CHANGE))
        come = _beyond(now, before).with_columns(pl.lit(INSERT).alias(CHANGE))
        rows = pl.concat([gone, come], how="diagonal_relaxed").with_columns(pl.lit(number).alias(COMMIT))
        return rows.select(*(columns or [KEY]), CHANGE, COMMIT)


def _beyond(rows: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
    """Rows that the others do not have, or not so often."""
    mine, there = _numbered(rows), _numbered(others).with_columns(there=pl.lit(value=True))
    found = mine.join(there, on=["told", "nth"], how="left", maintain_order="left")
    return rows.filter(found["there"].is_null())


def _numbered(rows: pl.DataFrame) -> pl.DataFrame:
    told = pl.DataFrame(
        {"told": [repr(row) for row in rows.iter_rows(named=True)]}, schema={"told": pl.String}
    )
    return told.with_columns(nth=pl.int_range(pl.len()).over("told"))
