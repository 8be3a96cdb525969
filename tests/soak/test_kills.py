"""Exactly once, by force: writers killed at random moments, writers that were stopped and wake up behind
the others, and every service killed in turn, while people keep changing the source.

``CDC_SOAK_KILLS`` sets the number of kills, ``CDC_TEST_SEED`` their moments.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdc_platform.connect.client import ConnectClient
from cdc_platform.core.model import Kind
from cdc_platform.local.components import DEFAULT
from cdc_platform.local.stack import Stack
from tests.soak.conftest import Notes
from tests.soak.services import killed
from tests.stack.conftest import Mongo
from tests.stack.crash.processes import Child, Children, children
from tests.stack.crash.shopping import Shopping, captured
from tests.stack.lake import Lake

KILLS = int(os.environ.get("CDC_SOAK_KILLS", "50"))
SEED = int(os.environ.get("CDC_TEST_SEED", "20261121"))
RATE = 400
"""Changes a second."""
OUTAGES = {KILLS * (at + 1) // 4: name for at, name in enumerate(DEFAULT)}
"""The kills before which a service is killed: the writer goes through that alive."""
STOPS, WAKES = KILLS // 5, KILLS * 3 // 5
"""The kills before which the zombies are stopped, and wake up. Services went away in between."""

pytestmark = [pytest.mark.soak, pytest.mark.stack, pytest.mark.timeout(600 + 15 * KILLS)]


@pytest.fixture
def shopping(stack: Stack, mongo: Mongo, connect: ConnectClient, tmp_path: Path) -> Iterator[Shopping]:
    with captured(stack, mongo, connect, SEED, tmp_path / "deploy") as shopping:
        yield shopping


@pytest.fixture
def lake(shopping: Shopping, tmp_path: Path) -> Lake:
    return shopping.lake(tmp_path)


@pytest.fixture
def processes(lake: Lake, tmp_path: Path) -> Iterator[Children]:
    with children(lake.source, lake.settings, tmp_path) as started:
        yield started


def test_kills_zombies_and_outages_under_load_lose_and_double_nothing(
    stack: Stack, shopping: Shopping, lake: Lake, processes: Children, notes: Notes
) -> None:
    chance = random.Random(SEED)
    commits, conflicts, outages = Counter[str](), Counter[str](), dict[str, float]()
    zombies: list[Child] = []
    with shopping.open(RATE) as done:
        for kill in range(KILLS):
            writer = processes.writer()
            writer.started()
            if kill in OUTAGES:
                outages[OUTAGES[kill]] = outage(stack, shopping, OUTAGES[kill], writer)
                notes.say(f"{OUTAGES[kill]} was killed: events flow after {outages[OUTAGES[kill]]} s")
            if kill == STOPS:
                zombies = [stopped_before_a_commit(processes), stopped_at(chance.uniform(0, 1), processes)]
            if kill == WAKES:
                conflicts += woken(zombies)
            if kill % 2:  # at work; the others may still be about to begin
                writer.when(lambda writer=writer: bool(writer.commits()))
            moment = chance.uniform(0, 2)
            assert writer.outlived(moment), writer.output
            writer.kill()
            commits += writer.commits()
            notes.say(f"seed {SEED}, kill {kill}: after {moment:.3f} s and commits {dict(writer.commits())}")
            assert not writer.events("failure"), writer.output
    processes.writer("--once").succeeded(within=300)
    assert commits.total() > KILLS
    assert conflicts["Conflict"] >= 1
    records = shopping.assert_followed(lake)
    notes.keep(
        seed=SEED, kills=KILLS, zombies=len(zombies), conflicts=conflicts, outages=outages, commits=commits,
        changes=done.total(), records=records,
    )  # fmt: skip


def outage(stack: Stack, shopping: Shopping, service: str, writer: Child) -> float:
    """Kill a service and bring it back; seconds until the writer commits events of after that."""
    writer.when(lambda: all(writer.commits()[kind] for kind in Kind))
    killed(stack, service)
    began = time.monotonic()
    stack.up()
    shopping.moved_past(shopping.ends(), within=180)
    before = writer.commits()
    writer.when(lambda: all(writer.commits()[kind] > before[kind] for kind in Kind), within=120)
    return round(time.monotonic() - began, 1)


def stopped_before_a_commit(processes: Children) -> Child:
    zombie = processes.writer("--stop-at", "before_commit:changelog", "--table", "orders")
    zombie.stopped()
    return zombie


def stopped_at(moment: float, processes: Children) -> Child:
    """In the middle of its work: a run that is stopped while it asks Kafka where to begin may fail then."""
    zombie = processes.writer()
    zombie.when(lambda: bool(zombie.commits()))
    assert zombie.outlived(moment), zombie.output
    zombie.send(signal.SIGSTOP)
    zombie.stopped()
    return zombie


def woken(zombies: list[Child]) -> Counter[str]:
    """They find what others did meanwhile, catch up, and end when asked. What they had to try again after."""
    before = [zombie.commits() for zombie in zombies]
    for zombie in zombies:
        zombie.send(signal.SIGCONT)
    for zombie, told in zip(zombies, before, strict=True):
        zombie.when(lambda zombie=zombie, told=told: zombie.commits().total() > told.total(), within=120)
        zombie.send(signal.SIGTERM)
        assert not zombie.succeeded().events("failure")
    return Counter(event["error"] for zombie in zombies for event in zombie.events("retry"))
