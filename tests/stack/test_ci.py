"""What CI goes by: the exit codes of `cdc verify --all` and of Dagster's job, and the report."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from deltalake import DeltaTable

from cdc_platform.cli.failures import Exit
from cdc_platform.core.model import Kind
from cdc_platform.local.stack import Stack
from cdc_platform.platform import lake_table
from tests.cli import calling
from tests.stack.conftest import Declare, Mongo, eventually
from tests.stack.lake import Lake
from tests.stack.test_dagster import ROOT, environment

pytestmark = pytest.mark.stack


@pytest.fixture
def lake(stack: Stack, declare: Declare, mongo: Mongo, tmp_path: Path) -> Lake:
    lake = Lake(stack, declare("orders", lag_seconds=60.0), tmp_path)
    lake.deploy()
    mongo[lake.source.database].orders.insert_many([{"_id": n, "v": n} for n in range(50)])
    eventually(lambda: lake.waiting("orders") >= 50)
    lake.drain()
    return lake


def verify_job(lake: Lake) -> subprocess.CompletedProcess[str]:
    job = f"verify_{lake.source.name}"
    return subprocess.run(
        [sys.executable, "-m", "dagster", "job", "execute", "-f", "tests/project.py", "-j", job],
        cwd=ROOT,
        env=environment(lake),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def test_ci_is_told_by_exit_codes_whether_the_lake_is_right_and_by_a_report_what_is_wrong(
    lake: Lake, tmp_path: Path
) -> None:
    calling.declare(
        tmp_path / "sources",
        lake.source.name,
        uri=lake.source.uri,
        collections=["orders"],
        lag_seconds=60.0,
    )
    env = {f"CDC_{name.upper()}": str(value) for name, value in lake.settings.model_dump().items()}
    report = tmp_path / "proof.html"
    words = ("verify", "--all", "--json", "--report", str(report))

    right = calling.cdc("--sources", str(tmp_path / "sources"), *words, env=env)
    assert right.exit_code == Exit.DONE, right.output
    assert calling.document(right)["verdicts"] == {"pass": 6, "fail": 0, "unknown": 0}
    assert "Pass: the lake equals its sources" in report.read_text()
    job = verify_job(lake)
    assert job.returncode == 0, job.stderr

    table = lake_table(lake.settings, lake.source, "orders", Kind.CURRENT)
    DeltaTable(table.uri).update(predicate="`_id` = 7", updates={"v": "8"})
    wrong = calling.cdc("--sources", str(tmp_path / "sources"), *words, env=env)
    assert wrong.exit_code == Exit.DIFFERENT, wrong.output
    assert calling.document(wrong)["verdict"] == "fail"
    html = report.read_text()
    assert "checks failed" in html
    assert '<th scope="row" class="code">7</th><td>different</td>' in html
    job = verify_job(lake)
    assert job.returncode != 0
    assert "orders (delta) content" in job.stderr
