"""Iceberg tables and their embedded catalog on a disk that fills up, or takes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lake.small_disk import require_small_disks, said_on

pytestmark = pytest.mark.stack


def said_of(disk: Path, part: str) -> list[str]:
    require_small_disks(disk)
    return said_on(disk, "tests.lake.iceberg_full_disk", part, timeout=120)


def test_a_commit_that_a_full_disk_refuses_leaves_the_table_as_it_was(tmp_path: Path) -> None:
    told = said_of(tmp_path, "full")
    assert len(told) >= 3
    for each in told:
        assert "did not confirm the commit of 0:[" in each
        assert "where: iceberg:shop.orders" in each
        assert "what to do: make room" in each
    assert any("No space left" in each for each in told)  # for the table's files
    assert any("disk is full" in each or "disk I/O" in each for each in told)  # for the catalog's


def test_a_commit_that_a_read_only_disk_refuses_leaves_the_table_as_it_was(tmp_path: Path) -> None:
    (told,) = said_of(tmp_path, "read-only")
    assert "did not confirm the commit of 0:[1,2)" in told
    assert "Read-only file system" in told
    assert "what to do" in told
