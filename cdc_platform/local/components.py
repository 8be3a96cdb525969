"""Which services a stack can have, which ports they get, and where their clients find them.

Invariant: what runs keeps the port it has, whatever the settings say now; a service that was not restarted
would otherwise be looked for where it is not.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cdc_platform.core.errors import Terminal
from cdc_platform.local import (
    artifacts,
    connect,
    kafka,
    mariadb,
    mongodb,
    packaged,
    ports,
    postgresql,
    registry,
)
from cdc_platform.local.artifacts import Progress
from cdc_platform.local.bundles import MARIADB, REGISTRY
from cdc_platform.local.ports import PortClaim
from cdc_platform.local.service import Paths, Service
from cdc_platform.local.settings import StackSettings

CORE: Final = (kafka.NAME, connect.NAME)
"""What every stack has: Connect needs Kafka."""

CHOICE: Final = (mongodb.NAME, postgresql.NAME, mariadb.NAME, registry.NAME)
"""What a stack has where it is asked for."""

SERVICES: Final = (*CHOICE, *CORE)
"""All of them, in the order in which they are shown."""

DEFAULT: Final = (mongodb.NAME, *CORE)
"""What `up` brings up where nothing is asked for."""

_CONTROLLER: Final = "kafka-controller"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where clients connect to. The address of a service that was not asked for raises `Terminal`."""

    addresses: Mapping[str, str]
    """Of each service of this stack, by its name."""

    @property
    def mongodb_uri(self) -> str:
        """With the name of the replica set."""
        return self._of(mongodb.NAME)

    @property
    def postgresql_uri(self) -> str:
        """`postgresql://user:password@host:port/database`."""
        return self._of(postgresql.NAME)

    @property
    def mariadb_uri(self) -> str:
        """`mariadb://user:password@host:port/database`."""
        return self._of(mariadb.NAME)

    @property
    def registry_url(self) -> str:
        """Of the API that is Confluent's; Apicurio's own is `registry.native_url`."""
        return self._of(registry.NAME)

    @property
    def kafka_bootstrap(self) -> str:
        """host:port."""
        return self._of(kafka.NAME)

    @property
    def connect_url(self) -> str:
        """Of the REST interface."""
        return self._of(connect.NAME)

    def _of(self, name: str) -> str:
        try:
            return self.addresses[name]
        except KeyError:
            raise Terminal(
                f"{name} is not part of this stack", remedy=f"bring it up: cdc stack up {name}"
            ) from None


_ADDRESS: Final[Mapping[str, Callable[[int], str]]] = {
    mongodb.NAME: mongodb.uri,
    postgresql.NAME: postgresql.uri,
    mariadb.NAME: mariadb.uri,
    registry.NAME: registry.url,
    kafka.NAME: kafka.bootstrap,
    connect.NAME: connect.url,
}


def endpoints(chosen: Collection[str], known: Mapping[str, int], state_dir: Path) -> Endpoints:
    """Where clients connect to, given the port of each service. Raises `Terminal` if one has none yet."""
    if not chosen or not all(name in known for name in chosen):
        raise Terminal("the stack has not been up yet", where=str(state_dir), remedy="bring it up first")
    return Endpoints({name: _ADDRESS[name](known[name]) for name in SERVICES if name in chosen})


def require_known(names: Collection[str]) -> None:
    """Raise `Terminal` for a name that is no service's."""
    unknown = [name for name in names if name not in SERVICES]
    if unknown:
        raise Terminal(
            f"there is no service {', '.join(unknown)}", remedy=f"one or more of: {', '.join(SERVICES)}"
        )


def services(
    settings: StackSettings,
    paths: Paths,
    chosen: Collection[str],
    known: Mapping[str, int],
    progress: Progress,
) -> dict[str, Service]:
    """The chosen services by name, ready to be started on their ports; programs are fetched if need be."""
    cache = settings.cache_dir
    found = artifacts.ensure(cache, progress)
    bootstrap = kafka.bootstrap(known[kafka.NAME])

    def made(name: str) -> Service:
        port = known[name]
        match name:
            case kafka.NAME:
                return kafka.service(settings, paths, found, port, known[_CONTROLLER])
            case connect.NAME:
                return connect.service(settings, paths, found, port, bootstrap)
            case mongodb.NAME:
                return mongodb.service(settings, paths, packaged.mongod(cache.expanduser().resolve()), port)
            case postgresql.NAME:
                return postgresql.service(paths, packaged.postgresql(), port)
            case mariadb.NAME:
                return mariadb.service(paths, artifacts.ensure_bundle(MARIADB, cache, progress), port)
            case _:
                folder = artifacts.ensure_bundle(REGISTRY, cache, progress)
                return registry.service(settings, paths, found.java, folder, port)

    return {name: made(name) for name in SERVICES if name in chosen}


def choose_ports(
    settings: StackSettings,
    chosen: Collection[str],
    previous: Mapping[str, int],
    running: Container[str],
    chance: random.Random,
) -> dict[str, int]:
    """A port for every listener by name: those of `running` services as they are, the chosen others as set.

    What is not chosen keeps the port it had. Raises `Terminal` if a port that the settings name is taken.
    """
    claims = [claim for claim in _claims(settings) if _served_by(claim.service) in chosen]
    wanted = {claim.service for claim in claims}
    result = {
        name: port for name, port in previous.items() if name not in wanted or _served_by(name) in running
    }
    for claim in claims:
        if claim.service not in result:
            before, taken = previous.get(claim.service), set(result.values())
            result[claim.service] = ports.choose(claim, previous=before, taken=taken, chance=chance)
    return result


def _served_by(listener: str) -> str:
    """Kafka's process has two listeners: the broker's, of its name, and the controller's."""
    return kafka.NAME if listener == _CONTROLLER else listener


def _claims(settings: StackSettings) -> tuple[PortClaim, ...]:
    return (
        PortClaim(mongodb.NAME, "CDC_MONGODB_PORT", settings.mongodb_port),
        PortClaim(postgresql.NAME, "CDC_POSTGRESQL_PORT", settings.postgresql_port),
        PortClaim(mariadb.NAME, "CDC_MARIADB_PORT", settings.mariadb_port),
        PortClaim(registry.NAME, "CDC_REGISTRY_PORT", settings.registry_port),
        PortClaim(kafka.NAME, "CDC_KAFKA_PORT", settings.kafka_port),
        PortClaim(_CONTROLLER, "CDC_KAFKA_CONTROLLER_PORT", settings.kafka_controller_port),
        PortClaim(connect.NAME, "CDC_CONNECT_PORT", settings.connect_port),
    )
