"""Which services make up a stack, and which ports they get.

Invariant: what runs keeps the port it has, whatever the settings say now; a service that was not restarted
would otherwise be looked for where it is not.
"""

from __future__ import annotations

import random
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path

from cdc_platform.core.errors import Terminal
from cdc_platform.local import connect, kafka, mongodb, ports
from cdc_platform.local.artifacts import Artifacts
from cdc_platform.local.ports import PortClaim
from cdc_platform.local.service import Paths, Service
from cdc_platform.local.settings import StackSettings

SERVICES = (mongodb.NAME, kafka.NAME, connect.NAME)
"""The services that every stack has, in the order in which they are shown."""

_CONTROLLER = "kafka-controller"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where clients connect to."""

    mongodb_uri: str
    kafka_bootstrap: str
    connect_url: str


def endpoints(chosen: Mapping[str, int], state_dir: Path) -> Endpoints:
    """Where clients connect to, given the port of each service. Raises `Terminal` if one has none yet."""
    if not all(name in chosen for name in SERVICES):
        raise Terminal("the stack has not been up yet", where=str(state_dir), remedy="bring it up first")
    return Endpoints(
        mongodb.uri(chosen[mongodb.NAME]),
        kafka.bootstrap(chosen[kafka.NAME]),
        connect.url(chosen[connect.NAME]),
    )


def services(
    settings: StackSettings, paths: Paths, found: Artifacts, chosen: Mapping[str, int]
) -> tuple[Service, Service, Service]:
    """Database, log and worker, ready to be started on the chosen ports."""
    bootstrap = kafka.bootstrap(chosen[kafka.NAME])
    return (
        mongodb.service(settings, paths, found.mongod, chosen[mongodb.NAME]),
        kafka.service(settings, paths, found, chosen[kafka.NAME], chosen[_CONTROLLER]),
        connect.service(settings, paths, found, chosen[connect.NAME], bootstrap),
    )


def choose_ports(
    settings: StackSettings, previous: Mapping[str, int], running: Container[str], chance: random.Random
) -> dict[str, int]:
    """A port for every listener by name: those of `running` services as they are, the others as set.

    Raises `Terminal` if a port that the settings name is taken.
    """
    chosen = {name: port for name, port in previous.items() if _served_by(name) in running}
    for claim in _claims(settings):
        if claim.service not in chosen:
            before, taken = previous.get(claim.service), set(chosen.values())
            chosen[claim.service] = ports.choose(claim, previous=before, taken=taken, chance=chance)
    return chosen


def _served_by(listener: str) -> str:
    """Kafka's process has two listeners: the broker's, of its name, and the controller's."""
    return kafka.NAME if listener == _CONTROLLER else listener


def _claims(settings: StackSettings) -> tuple[PortClaim, ...]:
    return (
        PortClaim(mongodb.NAME, "CDC_MONGODB_PORT", settings.mongodb_port),
        PortClaim(kafka.NAME, "CDC_KAFKA_PORT", settings.kafka_port),
        PortClaim(_CONTROLLER, "CDC_KAFKA_CONTROLLER_PORT", settings.kafka_controller_port),
        PortClaim(connect.NAME, "CDC_CONNECT_PORT", settings.connect_port),
    )
