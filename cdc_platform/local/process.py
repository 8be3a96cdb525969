"""Start, watch and end one child process.

Invariants
----------
* A process is recorded as (pid, create time) and is only ever ended through that pair: never by name, never
  by a pid that may have been given to somebody else since.
* Every process carries the stack's cookie in its environment (see `sweep.py`), from its first instant.
* Children live in sessions of their own, so that Ctrl-C in a terminal reaches only the owner, which ends
  them in order.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from pydantic import TypeAdapter
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from cdc_platform.core.errors import Terminal, Transient
from cdc_platform.local import sweep

_ROTATE_BYTES = 20_000_000


class NotReadyError(Exception):
    """Raised by a readiness check; its text says what is awaited."""


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """What is written down about a started process. `log_start` is where its own lines begin in its log."""

    name: str
    pid: int
    create_time: float
    log: Path
    log_start: int
    port: int | None = None
    stop_signal: signal.Signals = signal.SIGTERM

    @property
    def process(self) -> psutil.Process | None:
        """The living process, or None if it has ended."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.create_time) < 0.05
        except psutil.NoSuchProcess:
            return None
        return process if same and sweep.alive(process) else None

    def save(self, directory: Path) -> None:
        """Write it down, in one rename: a reader sees a whole record or none."""
        path = directory / f"{self.name}.json"
        partial = path.with_suffix(f".{os.getpid()}.part")
        partial.write_bytes(_RECORD.dump_json(self, indent=2))
        partial.replace(path)


_RECORD: TypeAdapter[ProcessRecord] = TypeAdapter(ProcessRecord)


def load_records(directory: Path) -> dict[str, ProcessRecord]:
    """All recorded processes by name, in the order in which they were started."""
    records = [_RECORD.validate_json(path.read_bytes()) for path in directory.glob("*.json")]
    return {record.name: record for record in sorted(records, key=lambda record: record.create_time)}


def forget(record: ProcessRecord, directory: Path) -> None:
    """Remove what was written down about a process that has ended, and its zombie if it is a child."""
    reap(record)
    (directory / f"{record.name}.json").unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Command:
    """What to run. `env` is added to the owner's environment; `stop_signal` asks it to end in order."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    log: Path
    port: int | None = None
    cwd: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM


def start(command: Command, stack_id: str) -> ProcessRecord:
    """Start a process, its output appended to its log. Raises `Terminal` if it cannot be started at all."""
    _rotate(command.log)
    environment: dict[str, str] = {**os.environ, **command.env, sweep.COOKIE: stack_id}
    with command.log.open("ab") as log:
        log_start = log.tell()
        try:
            child = subprocess.Popen(
                list(command.argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=command.cwd,
                start_new_session=True,
            )
        except OSError as error:
            raise Terminal(
                f"{command.name} cannot be started: {error}", where=str(command.argv[0])
            ) from error
    child.returncode = 0  # it is watched and ended through its record; Popen must not warn that it still runs
    create_time = psutil.Process(child.pid).create_time()
    return ProcessRecord(
        command.name, child.pid, create_time, command.log, log_start, command.port, command.stop_signal
    )


def wait_ready(record: ProcessRecord, check: Callable[[], None], timeout_s: float) -> None:
    """Wait until `check` no longer raises `NotReadyError`.

    Fails at once, with the last lines of its log, if the process has ended; `Transient` if the time is over.
    """

    def attempt() -> None:
        require_alive(record)
        check()

    retrying = Retrying(
        stop=stop_after_delay(timeout_s),
        wait=wait_fixed(0.1),
        retry=retry_if_exception_type(NotReadyError),
        reraise=True,
    )
    try:
        retrying(attempt)
    except NotReadyError as error:
        raise Transient(
            f"{record.name} was not ready after {timeout_s:.0f} s: {error}",
            where=str(record.log),
            remedy="see its log; on a slow machine raise CDC_START_TIMEOUT_S",
        ) from error


def require_alive(record: ProcessRecord) -> None:
    """Raise `Terminal` with the last lines of the log if the process has ended."""
    if record.process is not None:
        return
    reap(record)
    lines = "\n    ".join(last_lines(record.log, 15, since=record.log_start)) or "(it wrote nothing)"
    raise Terminal(
        f"{record.name} ended; the last lines of its log:\n    {lines}",
        where=str(record.log),
        remedy="see its log",
    )


def stop(record: ProcessRecord, grace_s: float) -> None:
    """End a process and its descendants, and wait for it. Raises `Terminal` if one resists SIGKILL."""
    process = record.process
    left = sweep.end_tree(process, grace_s, record.stop_signal) if process else []
    reap(record)
    if left:
        raise Terminal(f"{record.name} cannot be ended: {', '.join(str(one.pid) for one in left)}")


def reap(record: ProcessRecord) -> None:
    """Take note of the end of a child of this process, so that no zombie stays."""
    try:
        os.waitpid(record.pid, os.WNOHANG)
    except ChildProcessError:
        return


def last_lines(log: Path, count: int, *, since: int = 0) -> tuple[str, ...]:
    """The last lines of a log, without what was written before byte `since`. Reads at most 256 KB."""
    try:
        with log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(since if since <= end else 0, end - 262_144))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ()
    return tuple(text.splitlines()[-count:]) if count > 0 else ()


def _rotate(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > _ROTATE_BYTES:
        log.replace(log.with_suffix(".log.1"))


def as_json(record: ProcessRecord) -> dict[str, Any]:
    """Fields of a record, for machine-readable output."""
    return asdict(record)
