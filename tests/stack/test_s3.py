"""A lake in S3, filled from real Debezium events by writers that are killed and raced, in both formats."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdc_platform.connect.client import ConnectClient
from cdc_platform.core.model import Kind
from cdc_platform.local.s3 import serving
from cdc_platform.local.stack import Stack
from cdc_platform.platform import lake_table
from cdc_platform.verify.verdict import Verdict
from tests.stack.conftest import Mongo
from tests.stack.crash import oracle
from tests.stack.crash.processes import children
from tests.stack.crash.shopping import Shopping, captured
from tests.stack.lake import Lake

pytestmark = [pytest.mark.stack, pytest.mark.matrix]

RATE = 100
"""Changes a second."""


@pytest.fixture
def shopping(stack: Stack, mongo: Mongo, connect: ConnectClient, tmp_path: Path) -> Iterator[Shopping]:
    with captured(stack, mongo, connect, 7, tmp_path / "deploy") as shopping:
        yield shopping


@pytest.fixture
def lake(shopping: Shopping, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    with serving(tmp_path, random.SystemRandom()) as server:
        server.make_bucket("lake")
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        made = shopping.lake(tmp_path)
        made.settings = made.settings.model_copy(update={"lake_root": "s3://lake/of/a/test"})
        yield made


def test_writers_that_are_killed_and_raced_lose_and_double_nothing(
    shopping: Shopping, lake: Lake, tmp_path: Path
) -> None:
    with children(lake.source, lake.settings, tmp_path) as processes, shopping.open(RATE):
        for point in ("before_commit:changelog", "after_commit:changelog", "before_commit:current"):
            killed = processes.start("-m", "tests.stack.crash.writer", CDC_CRASH_AT=point)
            assert killed.ended() == -signal.SIGKILL
        zombie = processes.writer("--stop-at", "before_commit:changelog")
        zombie.stopped()
        rival = processes.writer()
        rival.when(lambda: rival.commits()["changelog"] > 3)
        zombie.send(signal.SIGCONT)
        zombie.when(lambda: zombie.commits()["changelog"] > 3)
        for writer in (zombie, rival):
            writer.send(signal.SIGTERM)
            writer.ended()
    for collection in lake.source.collections:
        for result in lake.proofs(collection):
            assert result.verdict is Verdict.PASS, result.text
        expected = oracle.delivered(lake.settings.kafka_bootstrap, lake.source.topic(collection))
        for stored in lake.source.formats:
            changelog = lake_table(lake.settings, lake.source, collection, Kind.CHANGELOG, stored)
            assert not oracle.difference(expected, oracle.held(changelog))
