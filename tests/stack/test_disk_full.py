"""Lake tables on a disk that fills up, on one of 12 MB in a mount namespace of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cdc_platform.core.model import Kind

pytestmark = pytest.mark.stack

NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-ec")
MOUNT = 'mount -t tmpfs -o size=12m tmpfs "$0"'


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Where the small disk goes. Only its own program sees it, and it goes when that ends."""
    try:
        tried = subprocess.run([*NAMESPACE, MOUNT, tmp_path], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("unshare is not installed: no small disk can be made")
    if tried.returncode:
        pytest.skip(f"this machine lets nobody mount a small disk: {tried.stderr.strip()}")
    return tmp_path


def said_on(disk: Path, part: str) -> list[str]:
    """What was said of each write that was refused."""
    program = [sys.executable, "-m", "tests.lake.full_disk", disk, part]
    script = f'{MOUNT}; exec "$@"'
    done = subprocess.run(
        [*NAMESPACE, script, disk, *program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told: list[str] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("kind", Kind)
def test_a_write_that_a_full_disk_refuses_leaves_the_table_as_it_was(kind: Kind, disk: Path) -> None:
    *writes, upkeep = said_on(disk, kind)
    in_the_log = [each for each in writes if "parquet" not in each]
    assert in_the_log  # some are refused with their data written, and the version not
    assert len(writes) > len(in_the_log)
    for each in writes:
        assert "did not confirm the commit of 0:[2,3)" in each
    for each in (*writes, upkeep):
        assert "No space left on device" in each
        assert f"where: {disk}/{kind}" in each
        assert "what to do: check the disk's space" in each


def test_a_drain_that_ran_out_of_space_says_so_and_goes_on_once_there_is_room(disk: Path) -> None:
    (failure,) = said_on(disk, "drain")
    assert "No space left on device" in failure
    assert f"where: {disk}/orders_changes" in failure
    assert "what to do: check the disk's space" in failure
