"""A thousand events into both tables of a target, and a thousand rows read back.

python -m bench.targets write|read delta|iceberg ROOT FOLDER

``ROOT``: the lake's, a folder or an address in S3; the environment says the rest, as for the platform.
``write`` makes the tables: it is the first that a table ever gets.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import polars as pl

from bench.events import inserts
from bench.measure import tell, timed
from cdc_platform.core.model import RECORD_SCHEMA, Format, Kind, Records
from cdc_platform.core.offsets import Range, Stream
from cdc_platform.core.ports import StoredTable
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.platform import lake_table, replica
from cdc_platform.replicate import Batch, append_changes, merge_changes

ROWS = 1_000
STREAM = Stream("bench", "bench.bench.orders", "bench-topic", 1)
SOURCE = Source(
    name=os.environ.get("CDC_BENCH_SOURCE", "bench"),
    uri="mongodb://nowhere",
    database="bench",
    collections=("orders",),
)


def main() -> None:
    what, stored, root, folder = sys.argv[1:]
    settings = Settings(lake_root=root if "://" in root else Path(root), state_dir=Path(folder))
    tables = {kind: lake_table(settings, SOURCE, "orders", kind, Format(stored)) for kind in Kind}
    tell(timed(lambda: write(settings, Format(stored)) if what == "write" else read(tables)))


def write(settings: Settings, stored: Format) -> int:
    rows = [(0, n, 0, key, value) for n, (key, value) in enumerate(inserts(ROWS, seed=1))]
    records = Records(STREAM, pl.DataFrame(rows, RECORD_SCHEMA, orient="row"), {0: Range(0, ROWS)})
    target = replica(settings, SOURCE, "orders", STREAM, stored=stored)
    append_changes(target, Batch(records))
    merge_changes(target)
    return ROWS


def read(tables: dict[Kind, StoredTable]) -> int:
    counts = {kind: table.rows().collect().height for kind, table in tables.items()}
    if set(counts.values()) != {ROWS}:
        raise RuntimeError(f"{counts} rows were read, not {ROWS}")
    return ROWS


if __name__ == "__main__":
    main()
