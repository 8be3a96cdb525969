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


@dataclass(frozen=True, slots=True)
class Measured:
    """``seconds``: wall clock. ``cpu_seconds``: of all threads. ``peak_mb``: resident memory."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    count: int


def timed(work: Callable[[], int]) -> Measured:
    """``work`` returns how much it did."""
    began, cpu = time.perf_counter(), time.process_time()
    count = work()
    seconds, used = time.perf_counter() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Measured(seconds, used, peak, count)


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
