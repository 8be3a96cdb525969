"""One staying run a source at a time.

The fence is for a hand-over without a gap, not for correctness: a successor starts up, waits here, and goes on the
moment its predecessor has committed. Two runs past the fence would only do the same work twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from cdc_platform.core.errors import Transient
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source


def _lock(settings: Settings, source: Source) -> FileLock:
    folder = settings.state_dir.absolute() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{source.name}.lock")


@contextmanager
def fence(settings: Settings, source: Source, *, wait: bool) -> Iterator[None]:
    """Hold the source's fence; with ``wait=False`` go on without it. Waits one run's length at most."""
    if not wait:
        yield
        return
    limit = settings.run_seconds + 60
    lock = _lock(settings, source)
    try:
        lock.acquire(timeout=limit, poll_interval=0.02)
    except Timeout as error:
        raise Transient(
            f"another run of source {source.name} has not ended for {limit:.0f} s",
            where=lock.lock_file,
            remedy="terminate the stuck run in the Dagster UI; the tables are whole",
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def fence_if_free(settings: Settings, source: Source) -> Iterator[bool]:
    """Hold the fence and give True if no run holds it; otherwise give False at once."""
    lock = _lock(settings, source)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
