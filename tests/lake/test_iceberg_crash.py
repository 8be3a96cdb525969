"""Iceberg tables whose writers are killed, stopped and race: every offset is there once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from pyiceberg.catalog import Catalog
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from cdc_platform.core.model import Kind
from cdc_platform.lake.iceberg.upkeep import remove_orphans
from tests.lake.iceberg_writer import BATCH, KEYS, NAMES, catalog, main
from tests.lake.independent import places

pytestmark = pytest.mark.stack

UPTO = 42


@pytest.fixture(params=["sql", pytest.param("rest", marks=pytest.mark.matrix)])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sql":
        yield str(tmp_path)
        return
    request.getfixturevalue("rest_catalog")  # removes what is made
    yield request.getfixturevalue("rest_url")


def begun(where: str, fate: str = "", upto: int = UPTO) -> subprocess.Popen[bytes]:
    program = [sys.executable, "-m", "tests.lake.iceberg_writer", where, str(upto), fate]
    return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def ended(process: subprocess.Popen[bytes]) -> int:
    said, complained = process.communicate(timeout=60)
    assert process.returncode == 0, complained.decode()[-2000:]
    return int(said)


def test_kills_a_sleeper_and_racing_writers_leave_every_offset_once(where: str) -> None:
    main(where, BATCH)  # the tables are there, with their first rows
    main(where, 2 * BATCH)
    doomed = [begun(where, "before"), begun(where, "after")]
    asleep = begun(where, "asleep")
    for each in doomed:
        each.communicate(timeout=60)
        assert each.returncode == -signal.SIGKILL
    sleeping = Retrying(stop=stop_after_delay(60), wait=wait_fixed(0.05), retry=retry_if_result(_awake))
    sleeping(psutil.Process(asleep.pid).status)
    racing = begun(where)
    main(where, UPTO)
    ended(racing)
    os.kill(asleep.pid, signal.SIGCONT)
    assert ended(asleep) >= 1  # what it held is refused, and it goes on from the table
    opened = catalog(where)
    whole(opened)
    swept = [
        remove_orphans(opened, name, datetime.now(UTC) + timedelta(minutes=1)) for name in NAMES.values()
    ]
    assert sum(swept) >= 1  # of the one that was killed before its commit reached the catalog
    whole(opened)
    opened.close()


def _awake(status: str) -> bool:
    return status != psutil.STATUS_STOPPED


def whole(opened: Catalog) -> None:
    found = {kind: places(opened.load_table(name).metadata_location) for kind, name in NAMES.items()}
    everything = [(0, offset, f"k{offset % KEYS}") for offset in range(UPTO)]
    assert found[Kind.CHANGELOG] == everything
    assert found[Kind.CURRENT] == everything[-KEYS:]
