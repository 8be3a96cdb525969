"""Thirty verifications of each engine while writers write, and damage that each of them must find."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cdc_platform.connect.client import ConnectClient
from cdc_platform.core.position import Engine
from cdc_platform.local.stack import Stack
from tests.stack.concurrent.rounds import Arena, arena
from tests.stack.conftest import Mongo

pytestmark = pytest.mark.stack

SEED = 1
ROUNDS = 9
CONTROLS = 3
"""Of two formats each, and once more before the damage: 30 verifications."""


@pytest.fixture(params=[Engine.MONGODB, Engine.POSTGRESQL, Engine.MARIADB])
def table(
    request: pytest.FixtureRequest, stack: Stack, mongo: Mongo, connect: ConnectClient, tmp_path: Path
) -> Iterator[Arena]:
    with arena(request.param, stack, mongo, connect, tmp_path, SEED) as made:
        yield made


def test_no_proof_raises_a_false_alarm_and_none_passes_over_damage(table: Arena) -> None:
    played = []
    for number in range(ROUNDS + CONTROLS):
        control = number % 4 == 3
        played.append(table.control(number, f"{SEED}/{number}") if control else table.play(number))
    done = [each for played_round in played for each in played_round.verifications]
    assert [each for each in done if each.wrong] == []
    assert len(done) == 30
    assert any(each.reverted for each in done), "no proof saw an event from after its position"
    assert table.assert_same_numbers() > 100
