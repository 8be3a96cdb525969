"""Documents near MongoDB's limit of 16 MB, through the whole path, and what that takes in memory."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from cdc_platform.core.source import Source
from cdc_platform.local.stack import Stack
from tests.stack.conftest import Declare, Mongo
from tests.stack.lake import Lake
from tests.stack.topics import read

pytestmark = pytest.mark.stack

MB = 2**20
DOCUMENTS = 7
PEAK_MB = 1_500
"""Of the draining process, at the default limits; 1,300 were seen. Held at once, each at most: 150 MB of
libraries; what was fetched ahead, 16 MB a partition as Kafka keeps it and here, as repeated text, all of it;
two batches of 64 MB that wait and one at work, which is there five times while it is parsed and written; one
row that is merged, three times. A batch of all documents alone would be more than that."""


def text(of: str, megabytes: float) -> str:
    """Text of that size in MongoDB, which says of whom it is, with characters that JSON escapes."""
    return (f'{of} "naïve" \\ \n' * 600_000).encode()[: int(megabytes * MB)].decode(errors="ignore")


def document(number: int, version: int = 0) -> dict[str, Any]:
    return {"_id": number, **{part: text(f"{number}{part}{version}", 5) for part in "abc"}, "n": version}


def fingerprints(documents: list[dict[str, Any]]) -> dict[Any, str]:
    return {
        each["_id"]: hashlib.sha256("\0".join(each[part] for part in "abc").encode()).hexdigest()
        for each in documents
    }


def test_documents_of_15_mb_arrive_whole_and_the_drain_stays_small(
    stack: Stack, declare: Declare, mongo: Mongo, tmp_path: Path
) -> None:
    # The worker holds a batch of the connector, whatever its bytes: fewer events for documents this large.
    capture = {"batch_size": 4, "queue_size": 8}
    source = declare("documents", "others", "last", partitions=1, capture=capture)
    lake = Lake(stack, source, tmp_path)
    lake.deploy()
    database = mongo[source.database]
    for number in range(DOCUMENTS):
        database.documents.insert_one(document(number))
    for number in range(2):  # the events have no room for the document before it
        database.documents.replace_one({"_id": number}, document(number, version=1))
        database.documents.update_one({"_id": number}, {"$set": document(number, version=2)})
    database.documents.delete_one({"_id": DOCUMENTS - 1})
    database.others.insert_one({"_id": "whole", "text": text("whole", 16 - 1 / 1024)})
    database.others.insert_one(
        {"_id": "items", "items": [{"sku": f"s{n:06}", "n": n} for n in range(300_000)]}
    )
    database.last.insert_one({"_id": 0})
    read(stack.endpoints.kafka_bootstrap, source.topic("last"), 1, within=120)

    peak = drained(lake, source, tmp_path)

    changes = dict(lake.changes("documents").group_by("_cdc_operation").len().iter_rows())
    assert changes == {"c": DOCUMENTS, "u": 4, "d": 1}
    expected = [document(n, version=2 if n < 2 else 0) for n in range(DOCUMENTS - 1)]
    assert fingerprints(lake.current("documents").to_dicts()) == fingerprints(expected)
    others = lake.current("others")
    assert others.filter(pl.col("_id") == "whole")["text"].to_list() == [text("whole", 16 - 1 / 1024)]
    assert (
        others.filter(pl.col("_id") == "items")["items"].explode().struct.field("n").sum() == 44_999_850_000
    )
    assert peak < PEAK_MB


def drained(lake: Lake, source: Source, folder: Path) -> int:
    """Run ``cdc run --once`` to its end; its largest resident memory in MB."""
    declared = folder / "sources" / source.name / "defs.yaml"
    declared.parent.mkdir(parents=True)
    attributes = source.model_dump(mode="json", exclude_unset=True)
    component = "cdc_platform.orchestrate.component.CdcSource"
    declared.write_text(yaml.safe_dump({"type": component, "attributes": attributes}))
    settings = {
        f"CDC_{name.upper()}": str(value)
        for name, value in lake.settings.model_dump(exclude_unset=True).items()
    }
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", "from cdc_platform.cli import main; main()"),
            *("--sources", str(folder / "sources"), "run", source.name, "--once"),
        ],
        cwd=folder,
        env={**os.environ, **settings, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss // 1024
