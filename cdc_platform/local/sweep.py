"""End every process of one stack, found by a cookie in its environment.

Invariants
----------
* A process belongs to a stack if and only if `COOKIE=<stack id>` is in the environment it was started with,
  or if it is a descendant of such a process. Nothing is ever looked up by its name.
* A process is addressed by (pid, create time): a pid that the kernel gave to somebody else in the meantime
  is left alone.
* `end_all` returns only when none is left, or says which ones it could not end.

This file is also run by its path as the guard's process (see `guard.py`); it therefore imports nothing but
the standard library and psutil, and nothing of this package.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import psutil

COOKIE = "CDC_STACK_ID"
"""Name of the environment variable that every process of a stack carries."""

DEFAULT_GRACE_S = 20.0
"""Seconds between SIGTERM and SIGKILL."""


def members(stack_id: str) -> list[psutil.Process]:
    """The living processes that carry the cookie, with their descendants, without the caller itself."""
    wanted = f"{COOKIE}={stack_id}".encode()
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        if _carries(process.pid, wanted):
            found[process.pid] = process
    for process in list(found.values()):
        for child in _descendants(process):
            found.setdefault(child.pid, child)
    found.pop(os.getpid(), None)
    return [process for process in found.values() if alive(process)]


def alive(process: psutil.Process) -> bool:
    """Whether any of it still runs.

    A zombie has ended: it only waits for its parent to notice. But a process whose first thread is one
    while others still run has not: seen with JVMs on a busy machine, on their way out and not yet without
    their files.
    """
    try:
        if not process.is_running():
            return False
        return process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1
    except psutil.NoSuchProcess:
        return False


def end_tree(
    root: psutil.Process, grace_s: float = DEFAULT_GRACE_S, first: signal.Signals = signal.SIGTERM
) -> list[psutil.Process]:
    """End a process and its descendants; the root gets the first signal, so that it can end its children
    itself.

    Returns those that are still there (uninterruptible in the kernel, or owned by somebody else).
    """
    deadline = time.monotonic() + grace_s
    family = _descendants(root)
    _signal([root], first)
    _wait([root], max(0.0, deadline - time.monotonic()))
    family += [child for child in _descendants(root) if child not in family]
    return _end([root, *family], max(1.0, deadline - time.monotonic()))


def end_all(stack_id: str, grace_s: float = DEFAULT_GRACE_S) -> list[psutil.Process]:
    """End all processes of a stack: SIGTERM, `grace_s` seconds, SIGKILL, repeated until none is left.

    Repeated, because a process may start another one between being listed and being ended. Returns those
    that resisted three rounds.
    """
    for _ in range(3):
        left = members(stack_id)
        if not left:
            return []
        _end(left, grace_s)
    return members(stack_id)


def _end(processes: Sequence[psutil.Process], grace_s: float) -> list[psutil.Process]:
    _signal(processes, signal.SIGTERM)
    left = _wait(processes, grace_s)
    _signal(left, signal.SIGKILL)
    return _wait(left, 10.0)


def _carries(pid: int, wanted: bytes) -> bool:
    try:
        return wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # gone, a kernel thread, or somebody else's: none of ours
        return False


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _signal(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.Error:
            continue


def _wait(processes: Iterable[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Wait until all have ended; returns those that have not."""
    deadline = time.monotonic() + timeout_s
    left = [process for process in processes if alive(process)]
    while left and time.monotonic() < deadline:
        psutil.wait_procs(left, timeout=0.05)
        left = [process for process in left if alive(process)]
    return left


def main(arguments: Sequence[str] | None = None) -> int:
    """The guard: wait for the end of stdin (the owner is gone), end the stack, remove what is named."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--stack-id", required=True)
    parser.add_argument("--grace", type=float, default=DEFAULT_GRACE_S)
    parser.add_argument("--remove", type=Path, action="append", default=[])
    options = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.write(1, b"ready\n")
    while os.read(0, 4096):
        pass
    left = end_all(options.stack_id, options.grace)
    for path in options.remove:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
