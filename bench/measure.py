"""A measurement in a process of its own, so that neither memory nor caches of one reach the next."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType

import psutil


@dataclass(frozen=True, slots=True)
class Measured:
    """``seconds``: wall clock. ``cpu_seconds``: of all threads. ``peak_mb``: resident memory. ``server``: CPU
    seconds of a server that was asked, None if none was watched."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    count: int
    server: float | None = None


def timed(work: Callable[[], int], server: int | None = None) -> Measured:
    """``work`` returns how much it did. ``server``: a process to be watched with those that it starts."""
    before = None if server is None else _server_seconds(server)
    began, cpu = time.perf_counter(), time.process_time()
    count = work()
    seconds, used = time.perf_counter() - began, time.process_time() - cpu
    theirs = None if server is None or before is None else _server_seconds(server) - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Measured(seconds, used, peak, count, theirs)


def _server_seconds(pid: int) -> float:
    """CPU seconds of a process and of all that it started, those that have ended, too."""
    server = psutil.Process(pid)
    return sum(sum(each.cpu_times()[:4]) for each in (server, *server.children(recursive=True)))


def in_its_own_process(
    module: str, *words: str, timeout: float = 900, environment: Mapping[str, str] = MappingProxyType({})
) -> Measured:
    """Run ``python -m module words``, which prints a Measured as its last line. ``environment``: besides what
    there is."""
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, **environment},
    )
    if done.returncode:
        raise RuntimeError(f"{module} {' '.join(words)} failed:\n{done.stderr}")
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def tell(measured: Measured) -> None:
    print(json.dumps(asdict(measured)))
