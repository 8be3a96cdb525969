from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from cdc_platform.connect.client import VERIFY_TRIES, Applied, ConnectClient
from cdc_platform.connect.config.mongodb import CONNECTOR_CLASS
from cdc_platform.connect.status import Progress, State
from cdc_platform.core.errors import Terminal, Transient
from tests.connect.worker import Answer, Worker, recorded, said, serving

NAME = "cdc-shop"
STATUS = f"GET /connectors/{NAME}/status"
CONFIG = f"PUT /connectors/{NAME}/config"
VALIDATE = f"PUT /connector-plugins/{CONNECTOR_CLASS}/config/validate"
SETTINGS = {"connector.class": CONNECTOR_CLASS, "topic.prefix": "shop"}
OK = Answer(202, b"")
UNKNOWN = recorded("not_found", 404)


@pytest.fixture
def worker() -> Iterator[Worker]:
    with serving() as worker:
        worker.on("GET /connector-plugins", recorded("plugins"))
        worker.on(VALIDATE, recorded("validate_accepted"))
        yield worker


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def client(worker: Worker, slept: list[float]) -> Iterator[ConnectClient]:
    """Its time passes only when it sleeps."""
    with ConnectClient(worker.url, sleep=slept.append, clock=lambda: sum(slept)) as client:
        yield client


def test_a_new_connector_is_created_after_its_settings_were_validated(worker: Worker, client: ConnectClient):
    worker.on(CONFIG, recorded("applied", 201))
    assert client.apply(NAME, SETTINGS) is Applied.CREATED
    assert worker.asked == ["GET /connector-plugins", VALIDATE, CONFIG]
    assert json.loads(worker.bodies[-1]) == {**SETTINGS, "name": NAME}


def test_a_connector_that_exists_is_updated(worker: Worker, client: ConnectClient):
    worker.on(CONFIG, recorded("applied", 200))
    assert client.apply(NAME, SETTINGS) is Applied.UPDATED


def test_a_refused_setting_is_named_with_connects_own_words_and_nothing_is_applied(
    worker: Worker, client: ConnectClient, slept: list[float]
):
    worker.on(VALIDATE, recorded("validate_refused"))
    with pytest.raises(Terminal) as refusal:
        client.apply(NAME, SETTINGS)
    assert "max.batch.size: The 'max.batch.size' value is invalid: An integer is expected" in str(
        refusal.value
    )
    assert "capture.mode: " in str(refusal.value)
    assert refusal.value.remedy == "correct max.batch.size, capture.mode"
    assert CONFIG not in worker.asked
    assert slept == []


def test_a_database_that_connect_cannot_reach_is_named(worker: Worker, client: ConnectClient):
    worker.on(VALIDATE, recorded("validate_unreachable"))
    with pytest.raises(Terminal, match="Unable to connect: Timed out"):
        client.apply(NAME, SETTINGS)


def test_a_missing_plugin_is_named_with_those_installed(worker: Worker, client: ConnectClient):
    with pytest.raises(Terminal) as refusal:
        client.apply(NAME, {"connector.class": "com.example.Other"})
    assert "no plugin com.example.Other; installed are io.debezium" in refusal.value.what
    assert "plugin.path" in refusal.value.remedy


@pytest.mark.parametrize("passing", [409, 500, 503])
def test_what_passes_by_itself_is_tried_again(
    worker: Worker, client: ConnectClient, slept: list[float], passing: int
):
    worker.on(CONFIG, said(passing, "not now"), said(passing, "not now"), recorded("applied", 201))
    assert client.apply(NAME, SETTINGS) is Applied.CREATED
    assert slept == [0.2, 0.4]


def test_trying_again_ends_with_connects_last_words(
    worker: Worker, client: ConnectClient, slept: list[float]
):
    worker.on("GET /connectors", said(409, "Cannot complete request because of a conflicting operation"))
    with pytest.raises(Transient, match="because of a conflicting operation"):
        client.list()
    assert slept == [0.2, 0.4, 0.8, 1.6, 3, 3, 3]


def test_a_refused_request_is_not_tried_again(worker: Worker, client: ConnectClient):
    worker.on(CONFIG, said(400, "Connector configuration is invalid"))
    with pytest.raises(Terminal, match="Connector configuration is invalid"):
        client.apply(NAME, SETTINGS)
    assert worker.asked.count(CONFIG) == 1


def test_an_unreachable_worker_is_named_with_its_address(slept: list[float]):
    with serving() as gone:
        pass
    with ConnectClient(gone.url, sleep=slept.append) as client, pytest.raises(Transient) as failure:
        client.list()
    assert failure.value.where == gone.url
    assert "CDC_CONNECT_URL" in failure.value.remedy
    assert len(slept) == 7


def test_something_else_at_the_address_is_recognised(worker: Worker, client: ConnectClient):
    worker.on("GET /connectors", Answer(200, b"<html>hello</html>"))
    with pytest.raises(Terminal, match="is not Kafka Connect's"):
        client.list()


def test_waiting_for_the_worker_ends_when_it_answers(worker: Worker, client: ConnectClient):
    starting = said(503, "Request cannot be completed because the worker is still starting up")
    worker.on("GET /connectors", starting, starting, starting, Answer(200, b"[]"))
    client.wait_ready(10)
    assert len(worker.asked) == 4


def test_waiting_for_the_worker_ends_at_the_deadline(
    worker: Worker, client: ConnectClient, slept: list[float]
):
    worker.on("GET /connectors", said(503, "still starting up"))
    with pytest.raises(Transient, match=r"not ready within 10 s.*still starting up"):
        client.wait_ready(10)
    assert sum(slept) <= 10


def test_connectors_are_listed_sorted(worker: Worker, client: ConnectClient):
    worker.on("GET /connectors", Answer(200, b'["cdc-shop", "cdc-bank"]'))
    assert client.list() == ("cdc-bank", "cdc-shop")


def test_the_status_names_each_task(worker: Worker, client: ConnectClient):
    worker.on(STATUS, recorded("status_running"))
    status = client.status(NAME)
    assert status.is_all(State.RUNNING)
    assert [(task.id, task.state, task.worker) for task in status.tasks] == [(0, "RUNNING", "connect:8083")]


@pytest.mark.parametrize("answer", [UNKNOWN, recorded("status_removed")])
def test_an_unknown_or_removed_connector_is_said_to_be_unknown(
    worker: Worker, client: ConnectClient, answer: Answer
):
    worker.on(STATUS, answer)
    assert client.find(NAME) is None
    with pytest.raises(Terminal, match="knows no connector cdc-shop"):
        client.status(NAME)


@pytest.mark.parametrize(
    ("offsets", "progress"),
    [
        (b"[]", Progress.NOTHING),
        (b'[{"partition":{},"offset":{}}]', Progress.NOTHING),
        (b'[{"partition":{"server_id":"s"},"offset":{"sec":-1,"initsync":true}}]', Progress.SNAPSHOT),
        (b'[{"partition":{"server_id":"s"},"offset":{"sec":-1}}]', Progress.STREAM),
    ],
)
def test_progress_is_told_from_the_committed_position(
    worker: Worker, client: ConnectClient, offsets: bytes, progress: Progress
):
    worker.on(f"GET /connectors/{NAME}/offsets", Answer(200, b'{"offsets":' + offsets + b"}"))
    assert client.progress(NAME) is progress


def test_a_connector_is_verified_once_it_runs_on_two_looks_in_a_row(worker: Worker, client: ConnectClient):
    running, starting = recorded("status_running"), recorded("status_starting")
    worker.on(STATUS, UNKNOWN, starting, running, starting, running, running)
    assert client.verify(NAME).is_all(State.RUNNING)
    assert len(worker.asked) == 6


def test_verifying_ends_after_ten_looks(worker: Worker, client: ConnectClient):
    worker.on(STATUS, recorded("status_starting"))
    with pytest.raises(Transient, match="does not run after 10 looks: connector RUNNING, no task"):
        client.verify(NAME)
    assert len(worker.asked) == VERIFY_TRIES


def test_verifying_ends_early_with_the_trace_of_a_failed_task(worker: Worker, client: ConnectClient):
    worker.on(STATUS, recorded("status_starting"), recorded("status_failed"))
    with pytest.raises(Terminal, match=r"task 0 of connector cdc-shop has failed: .*DataException: Invalid"):
        client.verify(NAME)
    assert len(worker.asked) == 2


def test_a_failure_from_before_the_change_is_not_taken_for_one_after_it(
    worker: Worker, client: ConnectClient
):
    failed, running = recorded("status_failed"), recorded("status_running")
    worker.on(STATUS, failed, failed, failed, running)
    before = client.status(NAME)
    assert client.verify(NAME, before).is_all(State.RUNNING)


def test_a_failure_that_the_change_does_not_cure_is_raised_in_the_end(worker: Worker, client: ConnectClient):
    worker.on(STATUS, recorded("status_failed"))
    with pytest.raises(Terminal, match="has failed"):
        client.verify(NAME, client.status(NAME))


def test_pausing_returns_when_the_tasks_are_paused(worker: Worker, client: ConnectClient):
    worker.on(f"PUT /connectors/{NAME}/pause", OK)
    worker.on(STATUS, recorded("status_running"), recorded("status_paused"))
    assert client.pause(NAME).is_all(State.PAUSED)


def test_a_connector_that_has_failed_is_stopped_and_its_position_forgotten(
    worker: Worker, client: ConnectClient
):
    stopped = Answer(
        200,
        f'{{"name":"{NAME}","connector":{{"state":"STOPPED","worker_id":"w"}},"tasks":[],"type":"source"}}'.encode(),
    )
    worker.on(f"PUT /connectors/{NAME}/stop", OK)
    worker.on(f"DELETE /connectors/{NAME}/offsets", OK)
    worker.on(STATUS, recorded("status_failed"), recorded("status_failed"), stopped)
    client.forget(NAME)
    assert worker.asked[-1] == f"DELETE /connectors/{NAME}/offsets"


def test_resuming_is_bounded(worker: Worker, client: ConnectClient, slept: list[float]):
    worker.on(f"PUT /connectors/{NAME}/resume", OK)
    worker.on(STATUS, recorded("status_paused"))
    with pytest.raises(Transient, match="not RUNNING after 5 s but connector PAUSED"):
        client.resume(NAME, deadline=5)
    assert sum(slept) <= 5


def test_a_restart_takes_the_failed_tasks_only_unless_asked(worker: Worker, client: ConnectClient):
    failed = f"POST /connectors/{NAME}/restart?includeTasks=true&onlyFailed=true"
    every = f"POST /connectors/{NAME}/restart?includeTasks=true&onlyFailed=false"
    worker.on(failed, OK)
    worker.on(every, OK)
    client.restart(NAME)
    client.restart(NAME, only_failed=False)
    assert worker.asked == [failed, every]


def test_deleting_returns_when_the_tasks_have_stopped(worker: Worker, client: ConnectClient):
    worker.on(f"DELETE /connectors/{NAME}", Answer(204, b""))
    worker.on(STATUS, recorded("status_removed"), recorded("status_removed"), UNKNOWN)
    client.delete(NAME)
    assert worker.asked.count(STATUS) == 3


def test_deleting_says_so_when_the_tasks_do_not_stop(worker: Worker, client: ConnectClient):
    worker.on(f"DELETE /connectors/{NAME}", Answer(204, b""))
    worker.on(STATUS, recorded("status_removed"))
    with pytest.raises(Transient, match="have not stopped after 5 s"):
        client.delete(NAME, deadline=5)


def test_deleting_an_unknown_connector_says_so(worker: Worker, client: ConnectClient):
    worker.on(f"DELETE /connectors/{NAME}", said(404, f"Connector {NAME} not found"))
    with pytest.raises(Terminal, match="knows no connector cdc-shop"):
        client.delete(NAME)
