"""A program on a small disk of its own: fills it under an Iceberg table and its catalog, makes room, goes on.

Run as ``python -m tests.lake.iceberg_full_disk FOLDER PART``, with FOLDER on an empty disk of 12 MB and PART
``full`` or ``read-only``. Prints as JSON what was said of each write that was refused, and ends with an error
if one left a trace, or if not all goes on afterwards.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from pyiceberg.catalog import Catalog

from cdc_platform.core.columns import KEY, UPDATE
from cdc_platform.core.model import Kind
from cdc_platform.core.offsets import Range
from cdc_platform.lake.iceberg.catalog import embedded
from cdc_platform.lake.iceberg.table import IcebergLakeTable
from cdc_platform.lake.iceberg.upkeep import compact, remove_orphans
from tests.lake.full_disk import BLOCK, fill, refused
from tests.lake.rows import STREAM, fitted, row

NAME = ("shop", "orders")
TEXT = 100_000


def a_full_disk(folder: Path) -> list[str]:
    catalog = embedded(folder)
    table = IcebergLakeTable(lambda: catalog, NAME, Kind.CURRENT)
    write(table, 0)
    write(table, 1)
    told = []
    # No room at all; for the data and no more; and block by block up to where all of a commit fits.
    for room in (0, *range(TEXT, TEXT + 24 * BLOCK, BLOCK)):
        fill(folder / "filler", room)
        told += refused(table, partial(write, table))
        (folder / "filler").unlink()
        swept(catalog)
    write(table, table.open(STREAM).offsets[0])
    compact(catalog, NAME)
    count = table.open(STREAM).offsets[0]
    assert sorted(table.rows().collect()[KEY]) == sorted(f"k{n}" for n in range(count))
    return told


def a_disk_that_takes_nothing(folder: Path) -> list[str]:
    catalog = embedded(folder)
    table = IcebergLakeTable(lambda: catalog, NAME, Kind.CURRENT)
    write(table, 0)
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    told = refused(table, partial(write, table))
    subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
    write(table, 1)
    assert sorted(table.rows().collect()[KEY]) == ["k0", "k1"]
    return told


def write(table: IcebergLakeTable, offset: int) -> None:
    handle = table.open(STREAM)
    noise = random.Random(offset).randbytes(TEXT).hex()
    rows = fitted(handle, [row(0, offset, f"k{offset}", UPDATE, text=noise)])
    table.merge(handle, rows, {0: Range(offset, offset + 1)}, {})


def swept(catalog: Catalog) -> None:
    """What a refused commit has left."""
    remove_orphans(catalog, NAME, datetime.now(UTC) + timedelta(minutes=1))


if __name__ == "__main__":
    folder, part = Path(sys.argv[1]), sys.argv[2]
    print(json.dumps(a_full_disk(folder) if part == "full" else a_disk_that_takes_nothing(folder)))
