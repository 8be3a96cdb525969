"""A staying run under Dagster: its memory does not grow with the time it stays.

It grows with the number of a table's files, which compaction makes few again; so compaction takes place, as
its schedule has it, only more often.

``CDC_SOAK_MINUTES`` sets for how long it is watched.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from dagster import DagsterRunStatus

from cdc_platform.connect.client import ConnectClient
from cdc_platform.core.model import Limits
from cdc_platform.local.stack import Stack
from cdc_platform.orchestrate.upkeep import upkeep_job
from tests.soak.conftest import Notes
from tests.soak.memory import watched
from tests.stack.conftest import Mongo, eventually
from tests.stack.crash.shopping import captured
from tests.stack.daemon import Daemon, daemon

MINUTES = int(os.environ.get("CDC_SOAK_MINUTES", "10"))
SEED = 20261121
RATE = 300
"""Changes a second."""
PARTS = 5
EVERY = max(1, MINUTES // PARTS)
"""Minutes from one compaction to the next."""
GROWTH = 1.1
"""At most so much more in the last part of the time than in the second; in the first it warms up."""

pytestmark = [pytest.mark.soak, pytest.mark.stack, pytest.mark.timeout(600 + 60 * MINUTES)]


def test_the_memory_of_a_staying_run_stays_flat(
    stack: Stack, mongo: Mongo, connect: ConnectClient, tmp_path: Path, notes: Notes
) -> None:
    with captured(stack, mongo, connect, SEED, tmp_path / "deploy") as shopping:
        lake = shopping.lake(tmp_path, Limits())
        with daemon(lake, run_seconds=60 * MINUTES + 600) as dagster:
            eventually(lambda: started(dagster), within=90)
            [run] = dagster.runs()
            with watched(dagster.process(run).pid, every=1) as memory, shopping.open(RATE) as done:
                for minute in range(1, MINUTES + 1):
                    time.sleep(60)  # the time itself is what is tested
                    notes.say(f"minute {minute}: {memory.samples[-1][1]} MB, at most {memory.peak}")
                    if minute % EVERY == 0:
                        dagster.execute(upkeep_job)
            assert dagster.status(run) is DagsterRunStatus.STARTED
            assert dagster.runs() == [run]
        records = shopping.assert_followed(lake)
    parts = memory.parts(PARTS)
    assert parts[-1] <= GROWTH * parts[1], parts
    notes.keep(
        minutes=MINUTES,
        changes=done.total(),
        records=records,
        parts_mb=parts,
        by_minute=memory.parts(MINUTES),
    )


def started(dagster: Daemon) -> bool:
    runs = dagster.runs()
    return bool(runs) and dagster.status(runs[0]) is DagsterRunStatus.STARTED
