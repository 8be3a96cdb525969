"""What a stack remembers between commands, and the lock that they take turns by.

Invariants
----------
* The state file is replaced in one rename: a reader sees a whole state or none. It is written only under the
  lock; two commands at once would otherwise give one stack two cookies, and `down` would miss processes.
* Under the lock there is a state.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from filelock import FileLock, Timeout
from pydantic import TypeAdapter

from cdc_platform.core.errors import Terminal, Transient
from cdc_platform.local.service import Paths


@dataclass(frozen=True, slots=True)
class Owner:
    """The program whose end is the end of an attached stack."""

    pid: int
    create_time: float


@dataclass(frozen=True, slots=True)
class StackState:
    """What a stack remembers between commands. `stack_id` is the cookie of its processes."""

    stack_id: str
    owner: Owner | None = None
    ports: dict[str, int] = field(default_factory=dict)
    services: tuple[str, ...] = ()


_STATE: TypeAdapter[StackState] = TypeAdapter(StackState)


def recall(paths: Paths) -> StackState:
    """The state as last saved; one that no process carries the cookie of, where there is none."""
    if paths.state.exists():
        return _STATE.validate_json(paths.state.read_bytes())
    return StackState("none")


def remember(paths: Paths, state: StackState) -> None:
    """Save the state. Call under the lock."""
    partial = paths.state.with_suffix(".part")
    partial.write_bytes(_STATE.dump_json(state, indent=2))
    partial.replace(paths.state)


@contextmanager
def locked(paths: Paths, patience_s: float) -> Iterator[None]:
    """Hold the stack's lock. Raises `Transient` if another command has it for longer than `patience_s`."""
    make_directories(paths)
    lock = FileLock(paths.root / "stack.lock", timeout=patience_s)
    try:
        lock.acquire()
    except Timeout as error:
        raise Transient(
            "another command is at work on this stack", where=lock.lock_file, remedy="wait for it to end"
        ) from error
    try:
        if not paths.state.exists():
            remember(paths, StackState(uuid.uuid4().hex))
        yield
    finally:
        lock.release()


def make_directories(paths: Paths) -> None:
    """Create the state directory. Raises `Terminal` where that is not allowed."""
    try:
        paths.run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Terminal(
            f"cannot create the state directory: {error.strerror}",
            where=str(paths.root),
            remedy="set CDC_STATE_DIR to a directory that can be written",
        ) from error
