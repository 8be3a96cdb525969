"""The lake of one test: brought forward and proven as a run and its checks do it, without Dagster."""

from __future__ import annotations

import time
import uuid
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import polars as pl

from cdc_platform.connect.client import ConnectClient
from cdc_platform.connect.status import Progress
from cdc_platform.core.columns import DISCARDED
from cdc_platform.core.model import Kind
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.local.stack import Stack
from cdc_platform.platform import deploy_source, lake_table, notes, place, replicas, subject, utc_now
from cdc_platform.prove import prove_alike
from cdc_platform.replicate import Drain, Failure, Outcome, Until
from cdc_platform.replicate.letters import read_letters, settle_letters
from cdc_platform.verify.subject import Past
from cdc_platform.verify.truth.opening import truths
from cdc_platform.verify.verdict import Result
from tests.stack.conftest import eventually


class Lake:
    """``root``: an empty folder of the test's own."""

    def __init__(self, stack: Stack, source: Source, root: Path) -> None:
        self._stack = stack
        self.source = source
        self.settings = Settings(
            kafka_bootstrap=stack.endpoints.kafka_bootstrap,
            connect_url=stack.endpoints.connect_url,
            lake_root=root / "lake",
            state_dir=root,
        )
        self._log = KafkaLog(self.settings.kafka_bootstrap)

    def deploy(self) -> None:
        """Capture the source. What is written after this comes from the stream, once; before, a document may
        come from the snapshot and from the stream.
        """
        deploy_source(self.settings, self.source)
        with ConnectClient(self.settings.connect_url) as connect:
            eventually(lambda: connect.progress(self.source.connector) is Progress.STREAM)

    def declared(self, **attributes: Any) -> Self:
        """The same lake and capture, with the source declared otherwise."""
        source = self.source.model_copy(update=attributes)
        return type(self)(self._stack, source, self.settings.state_dir)

    def discard(self, collection: str, note: str) -> None:
        """Settle the open dead letters of a collection."""
        for replica in replicas(self.settings, self.source, self._log, {collection: frozenset(Kind)}):
            letters = read_letters(replica.letters, replica.stream)
            settle_letters(replica.letters, replica.stream, letters, DISCARDED, note, datetime.now(UTC))

    def drain(self, *collections: str) -> list[Outcome]:
        """Everything that is in the topics now."""
        wanted = dict.fromkeys(collections or self.source.collections, frozenset(Kind))
        found: list[Outcome] = []
        with Drain(
            replicas(self.settings, self.source, self._log, wanted), self._log, Until(caught_up=True)
        ) as drain:
            while drain.running:
                if outcome := drain.take(timeout=0.1):
                    found.append(outcome)
        return found

    def prove(self, collection: str, deadline: float = 60.0) -> Result:
        """The verdict of the one format at a position of now, the lake drained up to it."""
        (result,) = self.proofs(collection, deadline)
        return result

    def proofs(self, collection: str, deadline: float = 60.0, every: timedelta | None = None) -> list[Result]:
        """The verdict of each format. ``every``: they go on from one another if one that read all rows is not
        older than that."""
        found = replicas(self.settings, self.source, self._log, {collection: frozenset(Kind)})

        def catch_up() -> None:
            for outcome in self.drain(collection):
                if isinstance(outcome, Failure):
                    raise outcome.error

        with truths(self.source) as truth_of, closing(truth_of(collection)) as truth:
            return prove_alike(
                [
                    replace(
                        subject(self.source, replica, self._log, truth),
                        past=Past(
                            notes(self.settings, self.source, replica.target),
                            place(
                                self.settings, self.source, collection, Kind.CURRENT, replica.format
                            ).history,
                            utc_now,
                            every,
                            self.source.verify.prefilter,
                        ),
                    )
                    for replica in found
                ],
                marker=uuid.uuid4().hex,
                deadline=deadline,
                clock=time.monotonic,
                sleep=time.sleep,
                drains=dict.fromkeys(self.source.formats_of(collection), catch_up),
            )

    def current(self, collection: str) -> pl.DataFrame:
        return lake_table(self.settings, self.source, collection, Kind.CURRENT).rows().collect()

    def changes(self, collection: str) -> pl.DataFrame:
        """In the order of each partition's offsets."""
        rows = lake_table(self.settings, self.source, collection, Kind.CHANGELOG).rows()
        return rows.sort("_kafka_partition", "_kafka_offset").collect()

    def waiting(self, collection: str) -> int:
        """Offsets the topic has so far."""
        streams = list(self._log.streams([self.source.topic(collection)]).values())
        return sum(end for ends in self._log.ends(streams).values() for end in ends.values())

    def exists(self, collection: str) -> bool:
        return lake_table(self.settings, self.source, collection, Kind.CURRENT).exists()
