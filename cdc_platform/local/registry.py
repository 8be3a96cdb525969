"""The schema registry Apicurio, which speaks Confluent's API under `/apis/ccompat/v7`.

Invariant: its schemas outlive it. They are in a database file in the state directory; kept in memory, as
Apicurio does when it is not told otherwise, they would be gone after a restart while Kafka still has records
that name them by id.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httpx

from cdc_platform.local import jvm
from cdc_platform.local.ports import HOST
from cdc_platform.local.process import Command, NotReadyError
from cdc_platform.local.service import Paths, Service
from cdc_platform.local.settings import StackSettings

NAME: Final = "registry"


def url(port: int) -> str:
    """What a client of Confluent's registry is given."""
    return f"http://{HOST}:{port}/apis/ccompat/v7"


def native_url(port: int) -> str:
    """What Apicurio's own converter is given as `apicurio.registry.url`."""
    return f"http://{HOST}:{port}/apis/registry/v2"


def service(settings: StackSettings, paths: Paths, java: Path, folder: Path, port: int) -> Service:
    """The registry. `folder` is where its archive was unpacked."""
    data = paths.data(NAME)
    system = {
        "quarkus.http.host": HOST,
        "quarkus.http.port": port,
        "quarkus.datasource.jdbc.initial-size": 1,
        "quarkus.datasource.jdbc.min-size": 1,
        "quarkus.datasource.jdbc.max-size": 10,
        "quarkus.http.access-log.enabled": "false",
    }
    argv = (
        *(str(java), f"-Xmx{settings.registry_heap_mb}m", *jvm.FRUGAL, "-XX:TieredStopAtLevel=1"),
        *(f"-D{name}={value}" for name, value in system.items()),
        *("-jar", str(next(folder.glob("*-runner.jar")))),
    )

    def prepare(_environment: Mapping[str, str]) -> None:
        data.mkdir(parents=True, exist_ok=True)

    database = {"REGISTRY_DATASOURCE_URL": f"jdbc:h2:file:{data}/registry"}
    return Service(
        title="Schema registry",
        command=Command(NAME, argv, database, paths.log(NAME), port),
        prepare=prepare,
        ready=lambda: require_ready(port),
    )


def require_ready(port: int) -> None:
    """Raise `NotReadyError` until it lists its subjects."""
    try:
        response = httpx.get(f"{url(port)}/subjects", timeout=5, trust_env=False)
    except httpx.HTTPError as error:
        raise NotReadyError(f"the schema registry on port {port}: {error}") from error
    if response.status_code != httpx.codes.OK:
        raise NotReadyError(f"the schema registry on port {port} answers {response.status_code}")
