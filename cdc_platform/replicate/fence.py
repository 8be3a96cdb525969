"""One staying run a source at a time.

The fence is for a hand-over without a gap, not for correctness: a successor starts up, waits here, and goes
on the moment its predecessor has committed. The predecessor goes on until somebody waits here, however long
that one takes to start, also when it is out of time. Two runs past the fence only do the same work twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from cdc_platform.core.errors import Transient
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source


def _lock(settings: Settings, source: Source, name: str) -> FileLock:
    folder = settings.state_dir.absolute() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{source.name}.{name}.lock")


@contextmanager
def fence(settings: Settings, source: Source) -> Iterator[Callable[[], bool]]:
    """Hold the source's fence. Gives a function that tells whether a successor waits for it.

    Waits for one run's length at most, then raises Transient.
    """
    limit = settings.run_seconds + settings.run_grace_seconds + 60
    holding, waiting = _lock(settings, source, "run"), _lock(settings, source, "successor")
    try:
        with waiting.acquire(timeout=limit, poll_interval=0.02):
            holding.acquire(timeout=limit, poll_interval=0.02)
    except Timeout as error:
        raise Transient(
            f"another run of source {source.name} has not ended for {limit:.0f} s",
            where=holding.lock_file,
            remedy="terminate the stuck run in the Dagster UI; the tables are whole",
        ) from error
    try:
        yield lambda: not _is_free(waiting)
    finally:
        holding.release()


@contextmanager
def fence_if_free(settings: Settings, source: Source) -> Iterator[bool]:
    """Hold the fence and give True if no run holds it; otherwise give False at once."""
    lock = _lock(settings, source, "run")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def is_held(settings: Settings, source: Source) -> bool:
    """Whether a run of this machine is past the fence, or waits at it."""
    return not all(_is_free(_lock(settings, source, name)) for name in ("run", "successor"))


def _is_free(lock: FileLock) -> bool:
    try:
        with lock.acquire(timeout=0):
            return True
    except Timeout:
        return False
