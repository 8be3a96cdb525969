"""Iceberg tables and their embedded catalog on a disk that fills up, or takes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.stack

NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-ec")
MOUNT = 'mount -t tmpfs -o size=12m tmpfs "$0"'


def said_on(disk: Path, part: str) -> list[str]:
    """What was said of each write that was refused, on a disk of its own."""
    try:
        tried = subprocess.run([*NAMESPACE, MOUNT, disk], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("unshare is not installed: no small disk can be made")
    if tried.returncode:
        pytest.skip(f"this machine lets nobody mount a small disk: {tried.stderr.strip()}")
    program = [sys.executable, "-m", "tests.lake.iceberg_full_disk", disk, part]
    done = subprocess.run(
        [*NAMESPACE, f'{MOUNT}; exec "$@"', disk, *program],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told: list[str] = json.loads(done.stdout)
    return told


def test_a_commit_that_a_full_disk_refuses_leaves_the_table_as_it_was(tmp_path: Path) -> None:
    told = said_on(tmp_path, "full")
    assert len(told) >= 3
    for each in told:
        assert "did not confirm the commit of 0:[" in each
        assert "where: iceberg:shop.orders" in each
        assert "what to do: make room" in each
    assert any("No space left" in each for each in told)  # for the table's files
    assert any("disk is full" in each or "disk I/O" in each for each in told)  # for the catalog's


def test_a_commit_that_a_read_only_disk_refuses_leaves_the_table_as_it_was(tmp_path: Path) -> None:
    (told,) = said_on(tmp_path, "read-only")
    assert "did not confirm the commit of 0:[1,2)" in told
    assert "Read-only file system" in told
    assert "what to do" in told
