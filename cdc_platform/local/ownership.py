"""Who a stack belongs to: a program that is attached to it, or nobody, so that it outlives its command.

Invariants
----------
* A stack has at most one living owner, the holder of `owner.lock` (see `guard.py`).
* A stack changes hands only while that lock is held, so no guard of an earlier owner is at work: it would end
  what the next one starts. The new hands give it a new cookie, which no earlier guard looks for.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import psutil

from cdc_platform.core.errors import Terminal
from cdc_platform.local import guard, memory, sweep
from cdc_platform.local.memory import Owner
from cdc_platform.local.service import Paths


@contextmanager
def owned(paths: Paths, grace_s: float) -> Iterator[int]:
    """Hold the owner's lock; yields its descriptor. Raises `Terminal` if another program is attached.

    Waits only where the lock's holder is the guard of an owner that is gone.
    """
    memory.make_directories(paths)
    patience_s = 0.0 if owner_lives(paths) else 4 * grace_s + 30
    try:
        lock = guard.own(paths.root / "owner.lock", patience_s)
    except TimeoutError as error:
        owner = memory.recall(paths).owner
        raise Terminal(
            "another program is attached to this stack" + (f" (pid {owner.pid})" if owner else ""),
            where=str(paths.root),
            remedy="end that program first, or use another CDC_STATE_DIR",
        ) from error
    try:
        yield lock
    finally:
        os.close(lock)


def owner_lives(paths: Paths) -> bool:
    """Whether the program that was attached last still runs."""
    owner = memory.recall(paths).owner
    if owner is None:
        return False
    try:
        return bool(abs(psutil.Process(owner.pid).create_time() - owner.create_time) < 0.05)
    except psutil.NoSuchProcess:
        return False


def take_over(paths: Paths, grace_s: float) -> str:
    """Make this process the owner; returns the new cookie. Call with the owner's lock and the stack's.

    Raises `Terminal` if a stack without an owner is up in this directory.
    """
    state = memory.recall(paths)
    if sweep.members(state.stack_id):
        if state.owner is None:
            raise Terminal(
                "a stack is already up in this directory",
                where=str(paths.root),
                remedy="use it as it is, or end it first: `cdc stack down`",
            )
        sweep.end_all(state.stack_id, grace_s)  # its guard was killed, too
    me = psutil.Process()
    state = replace(state, stack_id=uuid.uuid4().hex, owner=Owner(me.pid, me.create_time()))
    memory.remember(paths, state)
    return state.stack_id


def outlive_owner(paths: Paths, grace_s: float) -> None:
    """Make this a stack without an owner, unless that lives and will end it. Call with the stack's lock."""
    if memory.recall(paths).owner is None or owner_lives(paths):
        return
    with owned(paths, grace_s):  # waits for the guard, which would end what is started now
        state = replace(memory.recall(paths), stack_id=uuid.uuid4().hex, owner=None)
        memory.remember(paths, state)
