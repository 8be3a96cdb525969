"""What Dagster gets to know of a source, and so shows in its UI, holds no password."""

from __future__ import annotations

import dagster as dg
import pytest
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster._serdes import serialize_value

from cdc_platform.core.errors import Transient
from cdc_platform.core.source import Source
from cdc_platform.orchestrate.component import CdcSource

SOURCE = Source(
    name="shop",
    uri="mongodb://ann:s3cret@127.0.0.1:1/?replicaSet=rs0&serverSelectionTimeoutMS=1",
    database="shop",
    collections=("orders",),
)


@pytest.mark.filterwarnings("ignore:Property `ScheduleDefinition:DeprecationWarning")  # read by the snapshot
def test_the_definitions_hold_no_password() -> None:
    repository = CdcSource(SOURCE).build_defs(None).get_repository_def()

    told = serialize_value(RepositorySnap.from_def(repository))

    assert "orders" in told
    assert "s3cret" not in told


def test_a_run_that_fails_records_no_password() -> None:
    @dg.op
    def failing() -> None:
        raise Transient(f"no answer from {SOURCE.uri}", where=SOURCE.uri, remedy=f"correct {SOURCE.uri}")

    @dg.job
    def job() -> None:
        failing()

    instance = dg.DagsterInstance.ephemeral()

    run = job.execute_in_process(instance=instance, raise_on_error=False)

    events = "".join(serialize_value(event) for event in instance.all_logs(run.run_id))
    assert "no answer from mongodb://ann:***@127.0.0.1:1/" in events
    assert "s3cret" not in events
