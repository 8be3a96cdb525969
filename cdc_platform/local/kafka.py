"""One Kafka broker that is its own KRaft controller.

Invariants
----------
* The log directory is formatted exactly once, with a cluster id that stays: consumers that noticed another
  cluster id would take the topics for other topics, rightly.
* Topics of the broker itself have replication 1; with the defaults (3) the first transaction would wait for
  ever.
"""

from __future__ import annotations

import base64
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from cdc_platform.core.errors import Terminal
from cdc_platform.local import jvm
from cdc_platform.local.artifacts import Artifacts
from cdc_platform.local.ports import HOST
from cdc_platform.local.process import Command, NotReadyError
from cdc_platform.local.service import Paths, Service
from cdc_platform.local.settings import StackSettings

NAME = "kafka"


def bootstrap(port: int) -> str:
    """The address that clients start from."""
    return f"{HOST}:{port}"


def service(
    settings: StackSettings, paths: Paths, artifacts: Artifacts, port: int, controller_port: int
) -> Service:
    """The broker; `prepare` formats its storage when it has none."""
    config = paths.config / "kafka.properties"
    class_path = f"{artifacts.kafka_jars}/*"

    def command(main_class: str, *arguments: str) -> tuple[str, ...]:
        return jvm.argv(
            artifacts.java, settings.kafka_heap_mb, class_path, main_class, *arguments, log4j=jvm.log4j(paths)
        )

    def prepare(environment: Mapping[str, str]) -> None:
        jvm.write_log4j(paths)
        jvm.write_properties(config, _properties(settings, paths, port, controller_port))
        if not (paths.data(NAME) / "meta.properties").exists():
            format_storage = command(
                "kafka.tools.StorageTool", "format", "-t", _cluster_id(), "-c", str(config)
            )
            _format(format_storage, environment, paths.data(NAME))

    return Service(
        title="Kafka",
        command=Command(NAME, command("kafka.Kafka", str(config)), {}, paths.log(NAME), port),
        prepare=prepare,
        ready=lambda: require_broker(port),
    )


def require_broker(port: int) -> None:
    """Raise `NotReadyError` until the broker answers and is registered with its controller."""
    client = AdminClient({"bootstrap.servers": bootstrap(port), "log_level": 0, "socket.timeout.ms": 2000})
    try:
        metadata = client.list_topics(timeout=2)
    except KafkaException as error:
        raise NotReadyError(f"Kafka on port {port}: {error.args[0].str()}") from error
    if not metadata.brokers:
        raise NotReadyError(f"Kafka on port {port} has no broker registered yet")


def _properties(settings: StackSettings, paths: Paths, port: int, controller_port: int) -> dict[str, object]:
    largest = settings.max_message_bytes
    return {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": paths.data(NAME),
        "num.partitions": 3,
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 5,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 5,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "min.insync.replicas": 1,
        "default.replication.factor": 1,
        "group.initial.rebalance.delay.ms": 0,
        "message.max.bytes": largest,
        "replica.fetch.max.bytes": largest,
        "socket.request.max.bytes": 2 * largest,
        "log.retention.hours": 168,
        "log.segment.bytes": 256 * 1024 * 1024,
        "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "background.threads": 2,
    }


def _cluster_id() -> str:
    # The first byte is 0, so that it never begins with "-", which the tool would take for an option.
    return base64.urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).rstrip(b"=").decode()


def _format(argv: tuple[str, ...], environment: Mapping[str, str], data: Path) -> None:
    data.mkdir(parents=True, exist_ok=True)
    result = subprocess.run(argv, capture_output=True, text=True, check=False, env=dict(environment))
    if result.returncode != 0:
        raise Terminal(
            "Kafka's storage could not be formatted: " + (result.stderr or result.stdout).strip()[-2000:],
            where=str(data),
        )
