"""What is known about each service at one moment: whether its process lives, and whether it can be used.

Invariant: a service is `up` only if it answered just now. That its process lives, or that it was up a moment
ago, is not enough: a reader would connect to what cannot serve.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import psutil

from cdc_platform.local import connect, kafka, mariadb, mongodb, ports, postgresql, registry
from cdc_platform.local.process import NotReadyError, ProcessRecord, last_lines

_OUT_OF_HEAP: Final = (
    "what to do: raise CDC_CONNECT_HEAP_MB or CDC_KAFKA_HEAP_MB; Connect holds up to capture.batch_size "
    "events, whatever their size: for documents of many MB lower that in the source and apply its connector"
)


class ServiceState(StrEnum):
    """up: can be used; starting: runs, not yet usable; failed: ended by itself; down: not started."""

    UP = "up"
    STARTING = "starting"
    FAILED = "failed"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """What `status` tells about one service. `memory_mb` is its resident memory."""

    name: str
    state: ServiceState
    pid: int | None
    port: int | None
    log: Path
    detail: str = ""
    memory_mb: int | None = None


def not_started(name: str, port: int | None, log: Path) -> ServiceStatus:
    """The status of a service without a run file; `port` is the one it had last."""
    return ServiceStatus(name, ServiceState.DOWN, None, port, log)


def look_at(record: ProcessRecord) -> ServiceStatus:
    """The status of a service that was started. Asks it, which may take a second or two."""
    process = record.process
    if process is None:
        detail = "\n".join(last_lines(record.log, 5, since=record.log_start))
        if "OutOfMemoryError" in detail:
            detail += f"\n{_OUT_OF_HEAP}"
        return ServiceStatus(record.name, ServiceState.FAILED, record.pid, record.port, record.log, detail)
    memory_mb = _memory_mb(process)
    state, detail = ServiceState.UP, ""
    try:
        _probe(record)
    except NotReadyError as error:
        state, detail = ServiceState.STARTING, str(error)
    return ServiceStatus(record.name, state, record.pid, record.port, record.log, detail, memory_mb)


def require_listening(port: int | None) -> None:
    """Raise `NotReadyError` if nothing listens on the port; a program without a port is ready."""
    if port is not None and not ports.is_listening(port):
        raise NotReadyError(f"nothing listens on port {port} yet")


def _probe(record: ProcessRecord) -> None:
    port = record.port
    if port is None:
        return
    match record.name:
        case mongodb.NAME:
            mongodb.require_primary(port)
        case kafka.NAME:
            kafka.require_broker(port)
        case connect.NAME:
            connect.require_healthy(port)
        case postgresql.NAME:
            postgresql.require_ready(port)
        case mariadb.NAME:
            mariadb.require_ready(port)
        case registry.NAME:
            registry.require_ready(port)
        case _:
            require_listening(port)


def _memory_mb(process: psutil.Process) -> int | None:
    try:
        return int(process.memory_info().rss) // 1_000_000
    except psutil.Error:
        return None
