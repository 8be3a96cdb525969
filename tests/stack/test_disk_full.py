"""Lake tables on a disk that fills up, on one of 12 MB in a mount namespace of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc_platform.core.model import Kind
from tests.lake.small_disk import require_small_disks, said_on

pytestmark = pytest.mark.stack


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Where the small disk goes. Only its own program sees it, and it goes when that ends."""
    require_small_disks(tmp_path)
    return tmp_path


def said_of(disk: Path, part: str) -> list[str]:
    return said_on(disk, "tests.lake.full_disk", part, timeout=60)


@pytest.mark.parametrize("kind", Kind)
def test_a_write_that_a_full_disk_refuses_leaves_the_table_as_it_was(kind: Kind, disk: Path) -> None:
    *writes, upkeep = said_of(disk, kind)
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
    (failure,) = said_of(disk, "drain")
    assert "No space left on device" in failure
    assert f"where: {disk}/orders_changes" in failure
    assert "what to do: check the disk's space" in failure
