"""No process is left behind, however its owner ends.

Invariants
----------
* The guard is a process in a session of its own that reads from a pipe whose only write end is in the
  owner. The kernel closes that end whatever happens to the owner (return, exception, SIGKILL); the guard
  then ends every process of the stack (see `sweep.py`). The write end is close-on-exec: no child of the
  owner keeps it open. An owner that *forks* without exec (multiprocessing with `fork`) would hand it on,
  and must not.
* The guard runs before the first process that it guards is started.
* A stack has one owner. The owner's lock is shared with its guard, so it is free only when the guard of a
  killed owner has finished: no guard ever works beside the next owner.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from cdc_platform.core.errors import Terminal
from cdc_platform.local import sweep

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def own(path: Path, timeout_s: float) -> int:
    """Take the owner's lock; returns the descriptor that holds it until it is closed. Raises `TimeoutError`.

    Not `filelock`: the lock has to live on in the guard, so it is only ever closed and never unlocked.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    retrying = Retrying(
        stop=stop_after_delay(timeout_s), wait=wait_fixed(0.1), retry=retry_if_exception_type(BlockingIOError)
    )
    try:
        retrying(fcntl.flock, descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except RetryError as error:
        os.close(descriptor)
        raise TimeoutError(str(path)) from error
    return descriptor


@contextmanager
def guarding(
    stack_id: str, grace_s: float, log: Path, *, lock: int, remove: Sequence[Path] = ()
) -> Iterator[int]:
    """Guard the stack while the block runs; yields the guard's pid. `lock` is what `own` returned.

    When the block is left, the guard sweeps once more and removes `remove`; this waits for it.
    """
    reader, writer = os.pipe()
    argv = [sys.executable, "-P", sweep.__file__, "--stack-id", stack_id, "--grace", str(grace_s)]
    for path in remove:
        argv += ["--remove", str(path.absolute())]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as errors:
        guard = subprocess.Popen(
            argv,
            stdin=reader,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd="/",
            start_new_session=True,
            pass_fds=(lock,),
        )
    os.close(reader)
    assert guard.stdout is not None
    try:
        with guard.stdout as answer:
            if answer.readline() != b"ready\n":
                raise Terminal("the guard process did not start", where=str(log))
        yield guard.pid
    finally:
        os.close(writer)
        guard.wait()


def end_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when its parent (say, `make`) ends, however it ends.

    To be called early by a program that is started for the duration of another one, from its main thread.
    The parent is, for the kernel, the *thread* that started this process.
    """
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it ended before the kernel was told
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def orderly_exit() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into `SystemExit`, so that `with` blocks are left in order.

    Only where the program has not decided otherwise itself, and only in the main thread (Python's rule for
    signals).
    """
    previous: dict[signal.Signals, object] = {}
    try:
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                previous[number] = signal.signal(number, _leave)
    except ValueError:  # not the main thread: its signals are somebody else's business
        pass
    try:
        yield
    finally:
        for number in previous:
            signal.signal(number, signal.SIG_DFL)


def _leave(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)
