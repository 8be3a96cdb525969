"""The resident memory of a process while it works."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread

import psutil

MB = 2**20


@dataclass(slots=True)
class Memory:
    """``samples``: seconds since the begin, and megabytes."""

    samples: list[tuple[float, int]] = field(default_factory=list)

    @property
    def peak(self) -> int:
        return max(megabytes for _, megabytes in self.samples)

    def parts(self, count: int) -> list[int]:
        """The most in each of so many equal parts of the time."""
        end = self.samples[-1][0]
        found = [0] * count
        for at, megabytes in self.samples:
            part = min(count - 1, int(count * at / end))
            found[part] = max(found[part], megabytes)
        return found


@contextmanager
def watched(pid: int, every: float = 0.2) -> Iterator[Memory]:
    """Samples the process until the context, or the process, ends."""
    memory, over = Memory(), Event()
    process = psutil.Process(pid)
    began = time.monotonic()

    def sample() -> None:
        while not over.wait(every):
            try:
                memory.samples.append((time.monotonic() - began, process.memory_info().rss // MB))
            except psutil.NoSuchProcess:
                return

    thread = Thread(target=sample, name="memory")
    thread.start()
    try:
        yield memory
    finally:
        over.set()
        thread.join()
