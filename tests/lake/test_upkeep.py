"""Compaction and vacuum change files, and nothing that a reader or a writer relies on."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from cdc_platform.core.errors import Transient
from cdc_platform.core.model import Kind
from cdc_platform.core.offsets import Range, Stream
from cdc_platform.lake.delta.table import DeltaLakeTable
from cdc_platform.lake.delta.upkeep import compact, vacuum
from tests.lake.rows import frame, row

STREAM = Stream("cluster", "topic", "id", 1)


@pytest.mark.parametrize("kind", list(Kind))
def test_many_small_files_become_one_with_the_same_rows_and_offsets(tmp_path: Path, kind: Kind) -> None:
    table = DeltaLakeTable(tmp_path / "table", kind)
    write = table.append if kind is Kind.CHANGELOG else table.merge
    for offset in range(20):
        handle = table.open(STREAM)
        write(handle, frame([row(0, offset, f"k{offset}")]), {0: Range(offset, offset + 1)}, {})
    before = table.rows().collect().sort("_kafka_offset")
    done = compact(tmp_path / "table")
    assert done.files_before > done.files_after == 1
    assert table.open(STREAM).offsets == {0: 20}
    assert table.rows().collect().sort("_kafka_offset").equals(before)
    assert DeltaTable(table.uri).version() > 0


@pytest.mark.parametrize(("times", "rows", "files"), [(120_000, 2, 3), (100_000, 100, 2)])
def test_files_that_are_large_in_memory_are_not_put_together(
    tmp_path: Path, times: int, rows: int, files: int
) -> None:
    """A merge holds them, whatever little they have on disk."""
    table = DeltaLakeTable(tmp_path / "table", Kind.CHANGELOG)
    for start in range(0, 3 * rows, rows):
        batch = frame([row(0, start + n, f"k{n}", text=f"{n:09}" * times) for n in range(rows)])
        table.append(table.open(STREAM), batch, {0: Range(start, start + rows)}, {})
    assert compact(tmp_path / "table").files_after == files


def test_files_of_old_versions_go_after_their_retention_alone(tmp_path: Path) -> None:
    table = DeltaLakeTable(tmp_path / "table", Kind.CURRENT)
    for offset in range(5):
        table.merge(
            table.open(STREAM), frame([row(0, offset, f"k{offset}")]), {0: Range(offset, offset + 1)}, {}
        )
    compact(tmp_path / "table")
    assert vacuum(tmp_path / "table") == 0
    assert vacuum(tmp_path / "table", retention_hours=0) > 0
    assert table.rows().select(pl.len()).collect().item() == 5


def test_files_of_a_writer_that_was_killed_go_once_they_are_old(tmp_path: Path) -> None:
    table = DeltaLakeTable(tmp_path / "table", Kind.CHANGELOG)
    table.append(table.open(STREAM), frame([row(0, 0, "k")]), {0: Range(0, 1)}, {})
    orphan = tmp_path / "table" / "part-orphan.parquet"
    shutil.copy(next((tmp_path / "table").glob("part-*.parquet")), orphan)
    assert vacuum(tmp_path / "table", retention_hours=1) == 0
    two_hours_ago = time.time() - 7_200
    os.utime(orphan, (two_hours_ago, two_hours_ago))
    assert vacuum(tmp_path / "table", retention_hours=1) == 1
    assert not orphan.exists()
    assert table.rows().select(pl.len()).collect().item() == 1


@pytest.mark.parametrize("keep", [compact, vacuum])
def test_a_table_that_is_not_there_is_one_clear_message(
    tmp_path: Path, keep: Callable[[Path], object]
) -> None:
    with pytest.raises(Transient, match="could not be kept up"):
        keep(tmp_path / "nothing")


def test_the_log_loses_what_is_a_month_old_and_in_a_checkpoint(tmp_path: Path) -> None:
    table = DeltaLakeTable(tmp_path / "table", Kind.CHANGELOG)
    handle = table.open(STREAM)
    for offset in range(105):
        handle = table.append(
            handle, frame([row(0, offset, f"k{offset}")]), {0: Range(offset, offset + 1)}, {}, {0: offset}
        )
    log, old = tmp_path / "table" / "_delta_log", time.time() - 31 * 24 * 3600
    for n in range(103):
        os.utime(log / f"{n:020}.json", (old, old))
    for checkpoint in log.glob("*.checkpoint.parquet"):
        os.utime(checkpoint, (old, old))
    vacuum(tmp_path / "table", 31 * 24)
    assert len(list(log.glob("*.json"))) == 106, "who keeps files longer keeps the log, too"
    vacuum(tmp_path / "table")
    assert len(list(log.glob("*.json"))) < 15
    handle = table.open(STREAM)
    assert (handle.offsets, handle.positions) == ({0: 105}, {0: 104})
    table.append(handle, frame([row(0, 105, "k")]), {0: Range(105, 106)}, {})
    assert table.rows().select(pl.len()).collect().item() == 106
    assert table.open(STREAM).offsets == {0: 106}
