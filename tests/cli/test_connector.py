"""``cdc connector`` against the answers of a real worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.calling import cdc, document
from tests.cli.conftest import Nowhere
from tests.connect.worker import Answer, Worker, recorded, serving

STATUS = "GET /connectors/cdc-shop/status"
ACCEPTED = Answer(202, b"")


@pytest.fixture
def worker() -> Iterator[Worker]:
    with serving() as worker:
        yield worker


def test_pausing_returns_with_the_state_the_connector_has_reached(nowhere: Nowhere, worker: Worker) -> None:
    worker.on("PUT /connectors/cdc-shop/pause", ACCEPTED)
    worker.on(STATUS, recorded("status_running"), recorded("status_paused"))

    result = cdc(
        "--sources", nowhere.sources, "connector", "pause", "shop", "--json", env=worker_env(nowhere, worker)
    )

    assert result.exit_code == 0
    [shown] = document(result)["connectors"]
    assert (shown["state"], shown["tasks"][0]["state"]) == ("PAUSED", "PAUSED")


def test_resuming_returns_with_the_state_the_connector_has_reached(nowhere: Nowhere, worker: Worker) -> None:
    worker.on("PUT /connectors/cdc-shop/resume", ACCEPTED)
    worker.on(STATUS, recorded("status_paused"), recorded("status_running"))

    result = cdc("--sources", nowhere.sources, "connector", "resume", "shop", env=worker_env(nowhere, worker))

    assert result.exit_code == 0
    assert result.stdout.count("RUNNING") == 2


def test_a_connector_that_does_not_pause_in_time_ends_with_3(nowhere: Nowhere, worker: Worker) -> None:
    worker.on("PUT /connectors/cdc-shop/pause", ACCEPTED)
    worker.on(STATUS, recorded("status_running"))
    words = ("--sources", nowhere.sources, "connector", "pause", "shop", "--timeout", "1")

    result = cdc(*words, env=worker_env(nowhere, worker))

    assert result.exit_code == 3
    assert "cdc-shop is not PAUSED after 1 s but connector RUNNING" in result.stderr


def test_a_connector_that_is_not_deployed_cannot_be_paused(nowhere: Nowhere, worker: Worker) -> None:
    worker.on("PUT /connectors/cdc-shop/pause", recorded("not_found", 404))

    result = cdc("--sources", nowhere.sources, "connector", "pause", "shop", env=worker_env(nowhere, worker))

    assert result.exit_code == 1
    assert "Kafka Connect knows no connector cdc-shop" in result.stderr


def worker_env(nowhere: Nowhere, worker: Worker) -> dict[str, str]:
    return {**nowhere.env, "CDC_CONNECT_URL": worker.url}


def test_a_trace_that_quotes_the_connection_string_is_shown_without_the_password(
    nowhere: Nowhere, worker: Worker
) -> None:
    worker.on("GET /connectors", Answer(200, b'["cdc-shop"]'))
    quoting = recorded("status_failed").body.replace(b"Invalid value", b"mongodb://ann:s3cret@db/ is invalid")
    worker.on(STATUS, Answer(200, quoting))

    for words in (("--json",), ()):
        result = cdc(
            *("--sources", nowhere.sources, "connector", "status", "shop", *words),
            env=worker_env(nowhere, worker),
        )

        assert result.exit_code == 1
        assert "mongodb://ann:***@db/" in result.stdout
        assert "s3cret" not in result.output


def test_a_connector_that_does_not_hear_of_signals_is_not_told_anything_but_to_be_applied(
    nowhere: Nowhere, worker: Worker
) -> None:
    worker.on(STATUS, recorded("status_running"))
    worker.on("GET /connectors/cdc-shop/config", Answer(200, b'{"topic.prefix": "shop"}'))
    words = ("--sources", nowhere.sources, "connector", "snapshot", "shop", "--table", "orders", "--yes")

    result = cdc(*words, env=worker_env(nowhere, worker))

    assert result.exit_code == 1
    assert "cdc connector apply shop" in result.stderr


def test_a_table_that_is_not_declared_cannot_be_read_again(nowhere: Nowhere, worker: Worker) -> None:
    words = ("--sources", nowhere.sources, "connector", "snapshot", "shop", "--table", "ordres", "--yes")

    result = cdc(*words, env=worker_env(nowhere, worker))

    assert result.exit_code == 1
    assert "source shop has no table ordres" in result.stderr


def test_deleting_a_connector_of_mongodb_keeps_its_position(nowhere: Nowhere, worker: Worker) -> None:
    worker.on("DELETE /connectors/cdc-shop", Answer(204, b""))
    worker.on(STATUS, recorded("not_found", 404))

    result = cdc(
        "--sources", nowhere.sources, "connector", "delete", "shop", "--yes", env=worker_env(nowhere, worker)
    )

    assert result.exit_code == 0
    assert [asked for asked in worker.asked if "offsets" in asked] == []
