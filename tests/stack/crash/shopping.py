"""A captured shop whose people change it, and proof that the lake of a test followed."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import polars as pl
from pymongo.errors import AutoReconnect
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from cdc_platform.connect.client import ConnectClient
from cdc_platform.core.errors import Transient
from cdc_platform.core.model import Contents, Format, Kind, Limits, Target
from cdc_platform.core.source import Source
from cdc_platform.demo.shop import SHARES, Shop
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.local.stack import Stack
from cdc_platform.platform import table_name
from cdc_platform.verify.verdict import Verdict
from tests.stack.conftest import Mongo, eventually
from tests.stack.crash import oracle
from tests.stack.crash.tables import DeltaFiles, IcebergFiles, TableFiles
from tests.stack.lake import Lake

QUICK = Limits(batch_rows=500, changelog_age=0.1, current_age=0.2, current_rows=2_000)
"""Many small commits: many moments to be killed in."""

_PATIENTLY = Retrying(
    retry=retry_if_exception_type(Transient), stop=stop_after_delay(60), wait=wait_fixed(0.2), reraise=True
)


class Shopping:
    """``source``: captured, with the shop's collections, into both formats."""

    def __init__(self, stack: Stack, source: Source, shop: Shop) -> None:
        self._stack = stack
        self._log = KafkaLog(stack.endpoints.kafka_bootstrap)
        self.source = source
        self.shop = shop

    def burst(self, documents: int = 60) -> None:
        """New documents and changes of old ones, in every collection; returns when Kafka has some of each."""
        before = self.ends()
        self.shop.load(documents, lambda _: None)
        done = Counter[str]()
        self.shop.change(5_000, 0.05, Event(), done)
        self.moved_past(before)

    def moved_past(self, before: dict[str, int], within: float = 30) -> None:
        """Wait until Kafka has more in every topic."""
        eventually(lambda: all(end > before[topic] for topic, end in self.ends().items()), within)

    @contextmanager
    def open(self, rate: int) -> Iterator[Counter[str]]:
        """About ``rate`` changes a second while the context lasts, counted; MongoDB may go away meanwhile."""
        done, stop = Counter[str](), Event()
        people = Thread(target=self._change, args=(rate, stop, done), name="people")
        people.start()
        try:
            yield done
        finally:
            stop.set()
            people.join()

    def lake(self, root: Path, limits: Limits = QUICK) -> Lake:
        """An empty lake for this shop."""
        return Lake(self._stack, self.source.model_copy(update={"limits": limits}), root)

    def assert_followed(self, lake: Lake) -> dict[str, int]:
        """The lake holds every delivered record exactly once and equals the source.

        The proof drains what is left; it ends when everything captured so far has passed. Returns the number
        of records by collection.
        """
        records = {}
        for collection in self.source.collections:
            for result in lake.proofs(collection):
                assert result.verdict is Verdict.PASS, result.text
            expected = oracle.delivered(lake.settings.kafka_bootstrap, self.source.topic(collection))
            for stored in lake.source.formats:
                self._assert_holds(lake, Target(collection, stored), expected)
            records[collection] = expected.height
        return records

    def _assert_holds(self, lake: Lake, target: Target, expected: pl.DataFrame) -> None:
        changelog, current = (files(lake, target.table, kind, target.format) for kind in Kind)
        differing = oracle.difference(expected, oracle.held(changelog))
        assert not differing, f"{target}: {differing}"
        documents = oracle.documents(self.shop.database, target.table)
        assert documents == oracle.rows(current, target.table), f"{target}: not the source's documents"
        for table in (changelog, current):
            assert not (back := oracle.steps_back(table)), f"{target} went back: {back}"

    def ends(self) -> dict[str, int]:
        """How many offsets each topic has. Waits for brokers that are coming back."""
        return _PATIENTLY(self._ends)

    def _ends(self) -> dict[str, int]:
        streams = self._log.streams([self.source.topic(name) for name in self.source.collections])
        assert len(streams) == len(self.source.collections)
        return {topic: sum(ends.values()) for topic, ends in self._log.ends(list(streams.values())).items()}

    def _change(self, rate: int, stop: Event, done: Counter[str]) -> None:
        while not stop.is_set():
            made = Counter[str]()
            try:
                self.shop.change(rate, float("inf"), stop, made)
            except AutoReconnect:  # which of the last writes it took, its own data tell
                stop.wait(0.2)
            done.update(made)


@contextmanager
def captured(stack: Stack, mongo: Mongo, connect: ConnectClient, seed: int, root: Path) -> Iterator[Shopping]:
    """A shop, captured, with some changes in Kafka. Its connector and data end with the context."""
    name = f"t{uuid.uuid4().hex[:12]}"
    source = Source(
        name=name,
        uri=stack.endpoints.mongodb_uri,
        database=name,
        collections=tuple(SHARES),
        formats=tuple(Format),
    )
    shopping = Shopping(stack, source, Shop(mongo[name], random.Random(seed)))
    shopping.lake(root).deploy()
    try:
        shopping.burst()
        yield shopping
    finally:
        connect.delete(source.connector)
        mongo.drop_database(name)


def files(lake: Lake, collection: str, kind: Contents, stored: Format = Format.DELTA) -> TableFiles:
    """A lake table as it lies on disk."""
    root, (namespace, name) = lake.settings.lake_root, table_name(lake.source, collection, kind)
    match stored:
        case Format.DELTA:
            return DeltaFiles(root / "delta" / namespace / name)
        case Format.ICEBERG:
            return IcebergFiles(root / "iceberg" / "catalog.db", namespace, name)
