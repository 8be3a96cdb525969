from __future__ import annotations

from collections.abc import Iterator

import pytest

from cdc_platform.connect.client import ConnectClient
from cdc_platform.connect.deploy import await_stream
from cdc_platform.connect.status import Progress
from cdc_platform.core.errors import Terminal, Transient
from tests.connect.worker import Answer, Worker, recorded, serving

NAME = "cdc-shop"
OFFSETS = f"GET /connectors/{NAME}/offsets"
STATUS = f"GET /connectors/{NAME}/status"
NOTHING = Answer(200, b'{"offsets":[]}')
SNAPSHOT = Answer(200, b'{"offsets":[{"partition":{"server_id":"s"},"offset":{"sec":-1,"initsync":true}}]}')
STREAM = Answer(200, b'{"offsets":[{"partition":{"server_id":"s"},"offset":{"sec":-1}}]}')


@pytest.fixture
def worker() -> Iterator[Worker]:
    with serving() as worker:
        worker.on(STATUS, recorded("status_running"))
        yield worker


def waiting(worker: Worker, deadline: float, watch: list[Progress]) -> float:
    """Seconds that were waited; time passes only by sleeping."""
    slept: list[float] = []
    with ConnectClient(worker.url) as client:
        try:
            await_stream(NAME, client, deadline, watch.append, sleep=slept.append, clock=lambda: sum(slept))
        finally:
            assert sum(slept) <= deadline
    return sum(slept)


def test_the_wait_ends_when_the_snapshot_does_and_tells_of_it(worker: Worker):
    worker.on(OFFSETS, NOTHING, SNAPSHOT, SNAPSHOT, STREAM)
    seen: list[Progress] = []
    assert waiting(worker, 60, seen) == 3
    assert seen == [Progress.NOTHING, Progress.SNAPSHOT, Progress.SNAPSHOT, Progress.STREAM]


def test_a_connector_that_streams_already_is_not_waited_for(worker: Worker):
    worker.on(OFFSETS, STREAM)
    assert waiting(worker, 60, []) == 0


def test_the_wait_is_bounded_and_says_how_far_the_connector_came(worker: Worker):
    worker.on(OFFSETS, SNAPSHOT)
    with pytest.raises(Transient, match="does not stream after 5 s: it has committed a part of its snapshot"):
        waiting(worker, 5, [])


def test_a_task_that_fails_meanwhile_ends_the_wait_with_its_trace(worker: Worker):
    worker.on(OFFSETS, NOTHING)
    worker.on(STATUS, recorded("status_running"), recorded("status_failed"))
    with pytest.raises(Terminal, match=r"task 0 of connector cdc-shop has failed: .*Invalid value"):
        waiting(worker, 60, [])
