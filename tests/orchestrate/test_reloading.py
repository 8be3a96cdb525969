"""A code server knows its own address by the options it was started with."""

import pytest

from cdc_platform.core.source import Source
from cdc_platform.orchestrate.reloading import own_server, reload

SOURCE = Source(name="shop", uri="mongodb://nowhere", database="shop", collections=("orders",))


@pytest.mark.parametrize(
    ("options", "port", "socket"),
    [
        (["--lazy-load-user-code", "--socket", "/tmp/s", "--heartbeat", "-m", "a.b"], None, "/tmp/s"),
        (["-h", "0.0.0.0", "-p", "4266", "-m", "a.b"], 4266, None),
        (["--port=4266"], 4266, None),
    ],
)
def test_the_server_is_found_by_its_options(options: list[str], port: int | None, socket: str | None) -> None:
    found = own_server(["api", "grpc", *options])
    assert found is not None
    assert (found.port, found.socket) == (port, socket)


def test_an_address_from_the_environment_is_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_GRPC_PORT", "4267")
    found = own_server(["api", "grpc"])
    assert found is not None
    assert found.port == 4267


@pytest.mark.parametrize("arguments", [["asset", "materialize"], ["api", "execute_run"], ["x.py"]])
def test_other_processes_read_nothing_anew(arguments: list[str]) -> None:
    assert not reload(SOURCE, arguments)


def test_a_server_that_does_not_answer_is_no_error() -> None:
    assert not reload(SOURCE, ["api", "grpc", "--socket", "/nowhere"])
