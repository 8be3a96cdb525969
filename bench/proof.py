"""A proof of a large narrow table after 1 % of its rows changed: of every row, and of those alone.

python -m bench.proof fill|write|full|change|replicate|incremental|prefiltered ENGINE URI FORMAT FOLDER ROWS
                      [--commits N] [--server PID]

In this order. ``fill`` and ``change`` write into the source (its table ``bench_proof`` is made anew),
``write`` and ``replicate`` into the lake's tables, as they would be replicated but without Kafka: what is
measured is the proof. ``full`` leaves what ``incremental`` goes on from, which leaves nothing, so that it can
be measured again. ``prefiltered``: the same, with the source asked what has changed (PostgreSQL).
``--commits``: that the changes come in. ``--server``: the database's process, whose CPU seconds are told.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from bench.measure import tell, timed
from bench.sources import ONE_IN, TABLE, source
from cdc_platform.core import columns
from cdc_platform.core.model import Format, Kind
from cdc_platform.core.offsets import Range, Stream
from cdc_platform.core.position import POSITIONS, Engine
from cdc_platform.core.settings import Settings
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.platform import lake_of
from cdc_platform.verify.compare import Ground
from cdc_platform.verify.incremental import Seen, prove_since, remember
from cdc_platform.verify.judging import compared
from cdc_platform.verify.notes import Notes
from cdc_platform.verify.since import basis
from cdc_platform.verify.subject import Past, Subject
from cdc_platform.verify.truth import Truth
from cdc_platform.verify.verdict import Verdict

STREAM = Stream("bench", f"bench.public.{TABLE}", "bench-1", 1)
STEP = 250_000


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument(
        "what",
        choices=("fill", "write", "full", "change", "replicate", "incremental", "prefiltered"),
    )
    arguments.add_argument("engine", type=Engine)
    arguments.add_argument("uri")
    arguments.add_argument("format", type=Format)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("rows", type=int)
    arguments.add_argument("--commits", type=int, default=1)
    arguments.add_argument("--server", type=int)
    given = arguments.parse_args()
    bench = Bench(given.engine, given.uri, given.format, given.folder, given.rows, given.commits)
    tell(timed(getattr(bench, given.what), given.server))


class Bench:
    def __init__(
        self, engine: Engine, uri: str, into: Format, folder: Path, rows: int, commits: int = 1
    ) -> None:
        self.engine, self.format, self.rows, self.commits = engine, into, rows, commits
        self.source = source(engine, uri)
        lake = lake_of(Settings(lake_root=str(folder)), into)
        self.changelog = lake.table(("bench", f"{TABLE}_changes"), Kind.CHANGELOG, (), engine)
        self.current = lake.table(("bench", TABLE), Kind.CURRENT, (), engine)
        self.past = Past(
            Notes(folder / "checks", f"{into}_{TABLE}"),
            lake.history(("bench", TABLE)),
            lambda: datetime.now(UTC),
            timedelta(days=1),
        )

    def fill(self) -> int:
        self.source.fill(self.rows)
        return self.rows

    def write(self) -> int:
        """The rows that ``fill`` has made."""
        for start in range(0, self.rows, STEP):
            ids = pl.int_range(start, min(self.rows, start + STEP), eager=True)
            rows = self._lake_rows(ids, "c", start, 0.5)
            span = {0: Range(start, start + len(ids))}
            self.changelog.append(self.changelog.open(STREAM), rows, span, {})
            self.current.append(self.current.open(STREAM), rows, span, {})
        return self.rows

    def change(self) -> int:
        """One row of each hundred."""
        self.source.change()
        return self.rows // ONE_IN

    def replicate(self) -> int:
        """The rows that ``change`` has changed, those of each commit all over the table."""
        first, ids = self.rows, pl.int_range(0, self.rows, ONE_IN, eager=True)
        for number in range(self.commits):
            some = ids.gather_every(self.commits, number)
            rows = self._lake_rows(some, "u", first, 0.25)
            span = {0: Range(first, first := first + len(some))}
            self.changelog.append(self.changelog.open(STREAM), rows, span, {})
            self.current.merge(self.current.open(STREAM), rows, span, {})
        return len(ids)

    def full(self) -> int:
        with self._subject() as subject:
            ground = self._ground(subject.truth)
            ground.source.add(subject.truth.digests(ground.at))
            found = compared(subject, ground)
            if not found.equal:
                raise RuntimeError(found.difference)
            seen = Seen(found.current.handle.version, found.counts.current or 0)
            remember(subject, self.past, ground, seen, None, subject.truth.ground())
        return self.rows

    def prefiltered(self) -> int:
        self.past = replace(self.past, prefilter=True)
        return self.incremental()

    def incremental(self) -> int:
        with self._subject() as subject:
            ground = self._ground(subject.truth)
            note = basis(self.past, STREAM, ground.shape)
            found = note if isinstance(note, str) else prove_since(subject, self.past, note, ground)
            if isinstance(found, str):
                raise RuntimeError(found)
            result, _ = found
            keys = result.scope.keys if result.scope else 0
            if result.verdict is not Verdict.PASS or keys * ONE_IN < self.rows:
                raise RuntimeError(result.text)
        return keys

    def _ground(self, truth: Truth) -> Ground:
        """As if nothing happened meanwhile: the topic ends where the tables do."""
        at = truth.position()
        return Ground(at, self.current.open(STREAM).offsets, truth.shape())

    @contextmanager
    def _subject(self) -> Iterator[Subject]:
        log = KafkaLog("127.0.0.1:1")  # is never asked
        with self.source.truth() as truth:
            yield Subject(
                TABLE, STREAM, truth, log, self.changelog, self.current, "", format=self.format,
                past=self.past,
            )  # fmt: skip

    def _lake_rows(self, ids: pl.Series, operation: str, first: int, added: float) -> pl.DataFrame:
        """At consecutive offsets, with positions of long ago."""
        now = datetime(2026, 11, 1, tzinfo=UTC)
        name = "_id" if self.engine is Engine.MONGODB else "id"
        kind = POSITIONS[self.engine]
        text = ids.cast(pl.String)
        return pl.select(
            (text if name == "_id" else pl.concat_str(pl.lit('{"id":'), text, pl.lit("}"))).alias(
                columns.KEY
            ),
            pl.repeat(operation, len(ids)).alias(columns.OPERATION),
            pl.lit(now, dtype=columns.UTC_MICROS).alias(columns.TIMESTAMP),
            pl.lit(pl.Series([_POSITION[self.engine]], dtype=kind)).first().alias(columns.POSITION),
            pl.lit(None, dtype=pl.Boolean).alias(columns.RESENT),
            pl.lit(STREAM.topic).alias(columns.TOPIC),
            pl.lit(0, dtype=pl.Int32).alias(columns.PARTITION),
            pl.int_range(first, first + len(ids), eager=True).alias(columns.OFFSET),
            pl.lit(now, dtype=columns.UTC_MICROS).alias(columns.INGESTED),
            pl.lit(now.date()).alias(columns.INGESTED_ON),
            ids.alias(name),
            (ids + added).alias("v"),
            pl.format("name {}", ids % 977).alias("name"),
        )


_POSITION = {
    Engine.MONGODB: {"seconds": 1, "ord": 1, "total_order": 0},
    Engine.POSTGRESQL: {"lsn": 1, "tx_id": 3},
    Engine.MARIADB: {"gtid": "0-1-1", "file": "mariadb-bin.000001", "pos": 1, "row": 0},
}


if __name__ == "__main__":
    main()
