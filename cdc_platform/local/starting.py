"""Bring services up within one `up`, side by side where they do not need one another.

Invariants
----------
* A process is written down before it is waited for, so that `down` finds it whatever happens in between.
* The first failure makes the others give up waiting: a person sees the cause at once, not after the timeout
  of everything that depends on it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from cdc_platform.core.errors import Terminal
from cdc_platform.local import sweep
from cdc_platform.local.artifacts import Progress
from cdc_platform.local.process import ProcessRecord, load_records, start, wait_ready
from cdc_platform.local.service import Service


class Starter:
    """Starts what does not run. `timeout_s` is how long one service may take to become ready."""

    def __init__(self, run_dir: Path, stack_id: str, timeout_s: float, progress: Progress) -> None:
        self._run_dir = run_dir
        self._stack_id = stack_id
        self._timeout_s = timeout_s
        self._progress = progress
        self._abandoned = threading.Event()

    def bring_up_all(self, *chains: Sequence[Service]) -> None:
        """Each chain beside the others; within a chain one service after the other."""
        with ThreadPoolExecutor(max_workers=len(chains)) as pool:
            try:
                jobs = [pool.submit(self._in_turn, *chain) for chain in chains]
                for job in as_completed(jobs):
                    job.result()
            finally:
                self._abandoned.set()

    def bring_up(self, service: Service) -> ProcessRecord:
        """Start a service if it does not run, and wait until it is ready."""
        record = load_records(self._run_dir).get(service.name)
        began = time.monotonic()
        if record is None or record.process is None:
            self._progress(f"starting {service.title}")
            service.prepare({**os.environ, sweep.COOKIE: self._stack_id})
            record = start(service.command, self._stack_id)
            record.save(self._run_dir)
        wait_ready(record, lambda: self._check(service), self._timeout_s)
        where = f" on port {record.port}" if record.port else ""
        self._progress(f"{service.title} is up{where} ({time.monotonic() - began:.1f} s)")
        return record

    def _in_turn(self, *services: Service) -> None:
        for service in services:
            self.bring_up(service)

    def _check(self, service: Service) -> None:
        if self._abandoned.is_set():
            raise Terminal(f"{service.title} was not waited for, because another service failed")
        service.ready()
