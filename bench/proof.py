"""A proof of a large narrow table after 1 % of its rows changed: of every row, and of those alone.

python -m bench.proof prepare|full|change|incremental ENGINE URI FOLDER ROWS

``ENGINE``: postgresql or mongodb; its table ``bench_proof`` is made anew. The lake's tables are written as
they would be replicated, without Kafka: what is measured is the proof. ``full`` leaves what ``incremental``
goes on from; ``incremental`` leaves nothing, so that it can be measured again.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import psycopg

from bench.measure import tell, timed
from cdc_platform.core import columns
from cdc_platform.core.model import Kind
from cdc_platform.core.naming import TableId
from cdc_platform.core.offsets import Range, Stream
from cdc_platform.core.position import POSITIONS, Engine
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.lake.delta.history import DeltaHistory
from cdc_platform.lake.delta.table import DeltaLakeTable
from cdc_platform.verify.compare import Ground
from cdc_platform.verify.incremental import Seen, prove_since, remember
from cdc_platform.verify.judging import compared
from cdc_platform.verify.notes import Notes
from cdc_platform.verify.since import basis
from cdc_platform.verify.subject import Past, Subject
from cdc_platform.verify.truth import Truth
from cdc_platform.verify.truth.mongodb import MongoTruth, connect
from cdc_platform.verify.truth.postgresql import PostgresTruth
from cdc_platform.verify.verdict import Verdict

TABLE = "bench_proof"
STREAM = Stream("bench", f"bench.public.{TABLE}", "bench-1", 1)
STEP = 250_000
ONE_IN = 100
"""Of so many rows one changes, all over the table."""


def main() -> None:
    what, engine, uri, folder, rows = sys.argv[1:]
    bench = Bench(Engine(engine), uri, Path(folder), int(rows))
    tell(timed(getattr(bench, what)))


class Bench:
    def __init__(self, engine: Engine, uri: str, folder: Path, rows: int) -> None:
        self.engine, self.uri, self.rows = engine, uri, rows
        self.changelog = DeltaLakeTable(folder / f"{TABLE}_changes", Kind.CHANGELOG, engine=engine)
        self.current = DeltaLakeTable(folder / TABLE, Kind.CURRENT, engine=engine)
        self.past = Past(
            Notes(folder / "checks", TABLE),
            DeltaHistory(folder / TABLE),
            lambda: datetime.now(UTC),
            timedelta(days=1),
            prefilter=engine is Engine.POSTGRESQL,
        )

    def prepare(self) -> int:
        """The table in the source, and the same rows in the lake."""
        self._fill()
        for start in range(0, self.rows, STEP):
            ids = pl.int_range(start, min(self.rows, start + STEP), eager=True)
            rows = self._lake_rows(ids, pl.repeat("c", len(ids), eager=True), start, 0.5)
            span = {0: Range(start, start + len(ids))}
            self.changelog.append(self.changelog.open(STREAM), rows, span, {})
            self.current.append(self.current.open(STREAM), rows, span, {})
        return self.rows

    def change(self) -> int:
        """One row of each hundred, in the source and in the lake."""
        ids = pl.int_range(0, self.rows, ONE_IN, eager=True)
        if self.engine is Engine.POSTGRESQL:
            with psycopg.connect(self.uri, autocommit=True) as connection:
                connection.execute(
                    f"UPDATE {TABLE} SET v = id + 0.25 WHERE id %% {ONE_IN} = %s".encode(), (0,)
                )
        else:
            with connect(self.uri) as client:
                client["bench"][TABLE].update_many(
                    {"_id": {"$mod": [ONE_IN, 0]}}, [{"$set": {"v": {"$add": ["$_id", 0.25]}}}]
                )
        rows = self._lake_rows(ids, pl.repeat("u", len(ids), eager=True), self.rows, 0.25)
        span = {0: Range(self.rows, self.rows + len(ids))}
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
        if self.engine is Engine.POSTGRESQL:
            names = TableId("public", TABLE), TableId("public", "cdc_markers")
            database = self.uri.rpartition("/")[2]
            with closing(PostgresTruth(self.uri, database, *names)) as truth:
                yield Subject(TABLE, STREAM, truth, log, self.changelog, self.current, "", past=self.past)
            return
        with connect(self.uri) as client:
            mongo = MongoTruth(client, "bench", TABLE)
            yield Subject(TABLE, STREAM, mongo, log, self.changelog, self.current, "", past=self.past)

    def _fill(self) -> None:
        if self.engine is Engine.POSTGRESQL:
            with psycopg.connect(self.uri, autocommit=True) as connection:
                connection.execute(f"DROP TABLE IF EXISTS {TABLE}".encode())
                connection.execute(
                    f"CREATE TABLE {TABLE} (id bigint PRIMARY KEY, v double precision, name text)".encode()
                )
                made = "SELECT n, n + 0.5, 'name ' || n % 977 FROM generate_series(0, %s::bigint - 1) n"
                connection.execute(
                    f"INSERT INTO {TABLE} {made.replace(' % ', ' %% ')}".encode(), (self.rows,)
                )
                connection.execute(f"VACUUM ANALYZE {TABLE}".encode())
            return
        with connect(self.uri) as client:
            collection = client["bench"][TABLE]
            collection.drop()
            for start in range(0, self.rows, 10_000):
                collection.insert_many(
                    {"_id": n, "v": n + 0.5, "name": f"name {n % 977}"}
                    for n in range(start, min(self.rows, start + 10_000))
                )

    def _lake_rows(self, ids: pl.Series, operations: pl.Series, first: int, added: float) -> pl.DataFrame:
        """At consecutive offsets, with positions of long ago."""
        now = datetime(2026, 11, 1, tzinfo=UTC)
        mongodb = self.engine is Engine.MONGODB
        key = (
            ids.cast(pl.String)
            if mongodb
            else pl.select(pl.concat_str(pl.lit('{"id":'), ids.cast(pl.String), pl.lit("}"))).to_series()
        )
        position = {"seconds": 1, "ord": 1, "total_order": 0} if mongodb else {"lsn": 1, "tx_id": 3}
        kind = POSITIONS[self.engine]
        return pl.select(
            key.alias(columns.KEY),
            operations.alias(columns.OPERATION),
            pl.lit(now, dtype=columns.UTC_MICROS).alias(columns.TIMESTAMP),
            pl.lit(pl.Series([position], dtype=kind)).first().alias(columns.POSITION),
            pl.lit(STREAM.topic).alias(columns.TOPIC),
            pl.lit(0, dtype=pl.Int32).alias(columns.PARTITION),
            pl.int_range(first, first + len(ids), eager=True).alias(columns.OFFSET),
            pl.lit(now, dtype=columns.UTC_MICROS).alias(columns.INGESTED),
            pl.lit(now.date()).alias(columns.INGESTED_ON),
            ids.alias("_id" if mongodb else "id"),
            (ids + added).alias("v"),
            pl.format("name {}", ids % 977).alias("name"),
        )


if __name__ == "__main__":
    main()
