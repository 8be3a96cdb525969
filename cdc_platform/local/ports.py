"""Which port each service listens on.

Invariants
----------
* A service is never started on a port that somebody else holds: the message names the port, who wanted it,
  who has it, and the setting to change.
* A free port (setting 0), once chosen, is kept for the life of the state directory while it can be had:
  clients that were told of it, and the replica set that has it in its own configuration, stay right across
  `down` and `up`.
* Free ports come from below the kernel's ephemeral range, so that no outgoing connection can take one
  before its service listens.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Container
from dataclasses import dataclass

import psutil

from cdc_platform.core.errors import Terminal

HOST = "127.0.0.1"
_FREE_PORTS = range(20_000, 32_000)


@dataclass(frozen=True, slots=True)
class PortClaim:
    """A port that a service wants: `setting` is the environment variable that changes it."""

    service: str
    setting: str
    wanted: int


def choose(claim: PortClaim, *, previous: int | None, taken: Container[int], chance: random.Random) -> int:
    """The wanted port, or the previous free one, or another free one. Raises `Terminal` if there is none."""
    if claim.wanted:
        require_free(claim)
        return claim.wanted
    if previous is not None and previous not in taken and is_free(previous):
        return previous
    for port in chance.sample(_FREE_PORTS, len(_FREE_PORTS)):
        if port not in taken and is_free(port):
            return port
    raise Terminal(
        f"no free port for {claim.service}",
        where=f"{HOST}:{_FREE_PORTS.start}-{_FREE_PORTS.stop - 1}",
        remedy=f"set {claim.setting} to a port that can be used",
    )


def require_free(claim: PortClaim) -> None:
    """Raise `Terminal` if the wanted port is taken."""
    if is_free(claim.wanted):
        return
    holder = _holder(claim.wanted)
    raise Terminal(
        f"port {claim.wanted}, wanted by {claim.service}, is taken" + (f" by {holder}" if holder else ""),
        where=f"{HOST}:{claim.wanted}",
        remedy=f"end that process, or set {claim.setting} to another port (0 for any free one)",
    )


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # a port in TIME_WAIT is free for a server
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def is_listening(port: int) -> bool:
    """Whether something accepts connections on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0


def _holder(port: int) -> str:
    """Name and pid of the process that listens on the port; empty if this user may not know."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status != psutil.CONN_LISTEN or not connection.laddr:
                continue
            if connection.laddr.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except (psutil.Error, OSError):
        return ""
    return ""
