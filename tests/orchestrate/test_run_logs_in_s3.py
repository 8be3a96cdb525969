"""Run logs in S3, as docs/storage.md says."""

from __future__ import annotations

import random
import sys
import uuid
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.storage.compute_log_manager import ComputeIOType

from cdc_platform.local.s3 import serving

DOCUMENT = Path(__file__).parents[2] / "docs" / "storage.md"


def block() -> dict[str, object]:
    """The block of dagster.yaml that the document shows."""
    text = DOCUMENT.read_text().partition("```yaml\n")[2].partition("```")[0]
    found: dict[str, object] = yaml.safe_load(text)
    return found


@dg.asset
def speaking() -> None:
    print("said to stdout")
    print("said to stderr", file=sys.stderr)


@pytest.mark.matrix
def test_what_a_run_prints_is_in_the_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path, random.SystemRandom()) as server:
        bucket = f"logs-{uuid.uuid4().hex}"
        server.make_bucket(bucket)
        for name, value in {**server.environment, "CDC_LOGS_BUCKET": bucket}.items():
            monkeypatch.setenv(name, value)
        with dg.instance_for_test(temp_dir=str(tmp_path), overrides=block()) as instance:
            result = dg.materialize([speaking], instance=instance)
            assert result.success
            [key] = instance.compute_log_manager.get_log_keys_for_log_key_prefix(
                [result.run_id, "compute_logs"], ComputeIOType.STDOUT
            )
            said = instance.compute_log_manager.get_log_data(key)
        assert said.stdout == b"said to stdout\n"
        assert b"said to stderr" in (said.stderr or b"")
        found = server.client().list_objects_v2(Bucket=bucket)["Contents"]
        assert {each["Key"].rpartition(".")[2] for each in found} == {"out", "err"}
        assert all(each["Key"].startswith(f"cdc/storage/{result.run_id}/") for each in found)
