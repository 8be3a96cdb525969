"""Iceberg's reference REST catalog as one more program of a stack, for tests and for trying things out.

    python -m cdc_platform.local.iceberg_rest --port 8181        until it is interrupted

Invariants
----------
* Its tables and its database outlive it: they are in the folder that it is given.
* It is ended as the other programs of its stack are, by its own id, also when its owner is killed.

It has no users and no passwords, and listens on every interface (its server takes a port, no address): not
for a machine that others reach. Its settings are environment variables `CATALOG_<NAME>`, `-` as `__` and `.`
as `_`; so its port, `rest.port`, is `CATALOG_REST_PORT` (`RCKUtils.java`, Iceberg 1.10).
"""

from __future__ import annotations

import argparse
import random
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import httpx

from cdc_platform.local import artifacts, jvm, packaged, ports
from cdc_platform.local.bundles import ICEBERG_REST
from cdc_platform.local.ports import HOST, PortClaim
from cdc_platform.local.process import NotReadyError
from cdc_platform.local.settings import StackSettings
from cdc_platform.local.stack import Stack

NAME: Final = "iceberg-rest"
HEAP_MB: Final = 192
NOTHING: Final[Mapping[str, str]] = {}


def url(port: int) -> str:
    """What pyiceberg and Spark are given as the catalog's `uri`."""
    return f"http://{HOST}:{port}"


def start(
    stack: Stack,
    folder: Path,
    *,
    warehouse: str = "",
    port: int = 0,
    properties: Mapping[str, str] = NOTHING,
    progress: Callable[[str], None] = print,
) -> str:
    """Run it as part of the stack, which need not be up; returns its URL once it answers.

    `folder`: of its database, and of the tables where no other `warehouse` is given. `port`: 0 for any free
    one. `properties`: of the catalog behind it, for example `io-impl` and `s3.endpoint`. Raises `Transient`
    and `Terminal` as `Stack.up`.
    """
    jars = artifacts.ensure_bundle(ICEBERG_REST, stack.settings.cache_dir, progress)
    claim = PortClaim(NAME, "--port", port)
    chosen = ports.choose(claim, previous=None, taken=(), chance=random.SystemRandom())
    folder.mkdir(parents=True, exist_ok=True)
    catalog = {
        "catalog-impl": "org.apache.iceberg.jdbc.JdbcCatalog",
        # Its clients wait for one another's commits, rather than be told that they failed.
        "uri": f"jdbc:sqlite:{folder.absolute()}/catalog.db?busy_timeout=15000",
        "warehouse": warehouse or f"file://{folder.absolute()}/warehouse",
        "rest.port": str(chosen),
        **properties,
    }
    jvm.write_log4j(stack.paths)
    stack.run(
        NAME,
        jvm.argv(
            packaged.java(),
            HEAP_MB,
            f"{jars}/*",
            "org.apache.iceberg.rest.RESTCatalogServer",
            log4j=jvm.log4j(stack.paths),
        ),
        env={_variable(name): value for name, value in catalog.items()},
        port=PortClaim(NAME, "--port", chosen),
        ready=lambda: require_ready(chosen),
        progress=progress,
    )
    return url(chosen)


def require_ready(port: int) -> None:
    """Raise `NotReadyError` until it answers."""
    try:
        response = httpx.get(f"{url(port)}/v1/config", timeout=5, trust_env=False)
    except httpx.HTTPError as error:
        raise NotReadyError(f"the REST catalog on port {port}: {error}") from error
    if response.status_code != httpx.codes.OK:
        raise NotReadyError(f"the REST catalog on port {port} answers {response.status_code}")


def _variable(name: str) -> str:
    return "CATALOG_" + name.replace("-", "__").replace(".", "_").upper()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it until it is interrupted."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--folder", type=Path, default=Path("lake/iceberg-rest"), help="database and tables")
    parser.add_argument("--port", type=int, default=8181, help="0 for any free one")
    options = parser.parse_args(arguments)
    settings = StackSettings()
    with Stack.attached(settings.state_dir / NAME, settings) as stack:
        uri = start(stack, options.folder, port=options.port)
        print(f"ready. To have the platform use it:\n\n{_usage(uri)}\n\nCtrl-C ends it; the tables stay.")
        signal.sigwait({signal.SIGINT})


def _usage(uri: str) -> str:
    prefix = "export PYICEBERG_CATALOG__REST__"
    return f"{prefix}TYPE=rest\n{prefix}URI={uri}\nexport CDC_ICEBERG_CATALOG=rest"


if __name__ == "__main__":
    main()
