"""One Kafka Connect worker in distributed mode, with Debezium.

Invariants
----------
* Exactly-once source support is on: an event is in the topic once, whatever dies, for consumers that read
  committed.
* `scheduled.rebalance.max.delay.ms` is 0: the one worker there is takes its connectors up again at once
  after a restart.
* The producer takes what the broker takes (`max_message_bytes`): a 16 MB document must not stop its
  connector.
"""

from __future__ import annotations

from collections.abc import Mapping

import httpx

from cdc_platform.local import jvm
from cdc_platform.local.artifacts import Artifacts
from cdc_platform.local.ports import HOST
from cdc_platform.local.process import Command, NotReadyError
from cdc_platform.local.service import Paths, Service
from cdc_platform.local.settings import StackSettings

NAME = "connect"


def url(port: int) -> str:
    """The REST interface."""
    return f"http://{HOST}:{port}"


def service(
    settings: StackSettings, paths: Paths, artifacts: Artifacts, port: int, bootstrap_servers: str
) -> Service:
    """The worker. It waits for Kafka by itself."""
    config = paths.config / "connect.properties"

    def prepare(_environment: Mapping[str, str]) -> None:
        jvm.write_log4j(paths)
        jvm.write_properties(config, _properties(settings, artifacts, port, bootstrap_servers))

    argv = jvm.argv(
        artifacts.java,
        settings.connect_heap_mb,
        f"{artifacts.kafka_jars}/*",
        "org.apache.kafka.connect.cli.ConnectDistributed",
        str(config),
        log4j=jvm.log4j(paths),
    )
    return Service(
        title="Kafka Connect",
        command=Command(NAME, argv, {}, paths.log(NAME), port),
        prepare=prepare,
        ready=lambda: require_healthy(port),
    )


def require_healthy(port: int) -> None:
    """Raise `NotReadyError` until the worker has joined its group and serves requests."""
    try:
        response = httpx.get(f"{url(port)}/health", timeout=5, trust_env=False)
    except httpx.HTTPError as error:
        raise NotReadyError(f"Connect on port {port}: {error}") from error
    if response.status_code != httpx.codes.OK:
        raise NotReadyError(f"Connect on port {port} is starting: {response.text[:200]}")


def _properties(
    settings: StackSettings, artifacts: Artifacts, port: int, bootstrap_servers: str
) -> dict[str, object]:
    largest = settings.max_message_bytes
    return {
        "bootstrap.servers": bootstrap_servers,
        "group.id": "cdc-connect",
        "listeners": url(port),
        "rest.advertised.host.name": HOST,
        "rest.advertised.port": port,
        "plugin.path": ",".join(map(str, artifacts.plugins)),
        "plugin.discovery": "service_load",  # to look into every class takes 4 s a plugin
        "exactly.once.source.support": "enabled",
        "connector.client.config.override.policy": "All",
        "key.converter": "org.apache.kafka.connect.json.JsonConverter",
        "key.converter.schemas.enable": "false",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "false",
        "config.storage.topic": "connect-configs",
        "config.storage.replication.factor": 1,
        "offset.storage.topic": "connect-offsets",
        "offset.storage.replication.factor": 1,
        "offset.storage.partitions": 1,
        "status.storage.topic": "connect-status",
        "status.storage.replication.factor": 1,
        "status.storage.partitions": 1,
        "offset.flush.interval.ms": 1000,
        "scheduled.rebalance.max.delay.ms": 0,
        "session.timeout.ms": 6000,  # the broker's lower bound: a killed worker is missed sooner
        "heartbeat.interval.ms": 2000,
        "task.shutdown.graceful.timeout.ms": 3000,
        "producer.max.request.size": largest,
        "producer.buffer.memory": largest + 32 * 1024 * 1024,
        "producer.compression.type": "lz4",
        "consumer.max.partition.fetch.bytes": largest,
    }
