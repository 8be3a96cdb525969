"""The simulation at length: 10,000 programs, or ``CDC_SIMULATION_SEEDS``.

A failing seed is named; play it with
``tests/simulation/test_simulation.py::test_the_invariants_hold[seed]`` and keep it in ``KEPT`` there.
"""

from __future__ import annotations

import os
import time

import pytest

from tests.simulation.program import run
from tests.soak.conftest import Notes

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1_800)]

PROGRAMS = int(os.environ.get("CDC_SIMULATION_SEEDS", "10000"))
STEP = 250


@pytest.mark.parametrize("first", range(0, PROGRAMS, STEP))
def test_the_invariants_hold_for_programs_from(first: int, notes: Notes) -> None:
    began = time.process_time()
    for seed in range(first, min(first + STEP, PROGRAMS)):
        try:
            run(seed)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    notes.keep(programs=min(STEP, PROGRAMS - first), cpu_seconds=round(time.process_time() - began, 1))
