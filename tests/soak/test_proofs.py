"""A thousand proofs of each engine while writers write: no false alarm, and no pass over damage.

They are played in stretches, each with a database, a connector and lake tables of its own, which are
compacted on the way. ``CDC_SOAK_PROOFS`` sets how many positions of each engine are proven, in both formats;
``CDC_TEST_SEED`` what is written and damaged. What came of them is kept in ``proofs.jsonl``, a line a
stretch, also of one that fails; ``python -m tests.soak.proofs`` makes the report of it.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cdc_platform.connect.client import ConnectClient
from cdc_platform.core.position import Engine
from cdc_platform.local.stack import Stack
from tests.soak.conftest import Notes, code
from tests.soak.proofs import Stretch, remember
from tests.stack.concurrent.rounds import Round, arena
from tests.stack.conftest import Mongo

ENGINES = (Engine.MONGODB, Engine.POSTGRESQL, Engine.MARIADB)
PROOFS = int(os.environ.get("CDC_SOAK_PROOFS", "1000"))
SEED = int(os.environ.get("CDC_TEST_SEED", "20261121"))
POSITIONS = 50
"""Of one stretch."""
CONTROL = 6
"""Each so manieth round is one; it proves two positions."""
UNKNOWN = 5
"""Proofs of a stretch that may stay without a verdict, as on a machine that is too slow; they count as
nothing."""

STRETCHES = [(number, engine) for number in range(-(-PROOFS // POSITIONS)) for engine in ENGINES]

pytestmark = [pytest.mark.soak, pytest.mark.stack, pytest.mark.timeout(1_800)]


@pytest.mark.parametrize(("stretch", "engine"), STRETCHES)
def test_no_proof_raises_a_false_alarm_and_none_passes_over_damage(
    stretch: int,
    engine: Engine,
    stack: Stack,
    mongo: Mongo,
    connect: ConnectClient,
    tmp_path: Path,
    notes: Notes,
) -> None:
    played, compared = list[Round](), list[int]()
    with arena(engine, stack, mongo, connect, tmp_path, SEED + stretch) as table:
        while positions(played) < POSITIONS and not wrong(played):
            number = len(played)
            control = number % CONTROL == CONTROL - 1
            seed = f"{SEED}/{stretch}/{number}"
            played.append(table.control(number, seed) if control else table.play(number))
            if number == POSITIONS // 2:
                table.compact()
                compared.append(table.assert_same_numbers())
                notes.say(f"{engine}, stretch {stretch}: {positions(played)} positions proven")
        if not wrong(played):
            compared.append(table.assert_same_numbers())
    at = datetime.now(UTC).isoformat(timespec="seconds")
    done = table.writers.done
    remember(Stretch(at, code(), engine, stretch, SEED + stretch, tuple(played), done, tuple(compared)))
    assert not wrong(played)
    notes.keep(engine=engine, seed=SEED + stretch, positions=positions(played), unknown=unknown(played))


def positions(played: list[Round]) -> int:
    """Those with a verdict."""
    return len({e.position for one in played for e in one.verifications if e.position and not e.unknown})


def wrong(played: list[Round]) -> list[str]:
    """Verdicts that are not so, or too many proofs without one."""
    told = [each.wrong for one in played for each in one.verifications if each.wrong and not each.unknown]
    return [*told, *(f"{unknown(played)} without a verdict" for _ in range(unknown(played) > UNKNOWN))]


def unknown(played: list[Round]) -> int:
    return sum(each.unknown for one in played for each in one.verifications)
