"""The stack: MongoDB, Kafka and Kafka Connect, brought up, watched and ended together.

    stack = Stack(); stack.up(print)              outlives the program; `stack.down()` from any other one
    with Stack.attached(directory) as stack: ...  ends with the program, even when that is killed with SIGKILL

Invariants
----------
* What runs is what the run files say, and a run file names a process by pid and create time. `up` keeps
  what runs and starts what does not; `down` leaves nothing, including what has no run file (its cookie
  gives it away).
* One command at a time works on a stack: the others wait for its lock file.
* Data outlives `down`; only `reset` removes it. Ports chosen freely outlive it too.
"""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

import psutil
from filelock import FileLock, Timeout
from pydantic import TypeAdapter

from cdc_platform.core.errors import Terminal, Transient
from cdc_platform.local import artifacts, connect, guard, kafka, mongodb, ports, sweep
from cdc_platform.local.artifacts import Progress
from cdc_platform.local.ports import PortClaim
from cdc_platform.local.process import (
    Command,
    NotReadyError,
    ProcessRecord,
    last_lines,
    load_records,
    reap,
    require_alive,
    start,
    stop,
    wait_ready,
)
from cdc_platform.local.service import Paths, Service
from cdc_platform.local.settings import StackSettings

_CONTROLLER = "kafka-controller"
SERVICES = (mongodb.NAME, kafka.NAME, connect.NAME)
"""The services that every stack has, in the order in which they are shown."""


class ServiceState(StrEnum):
    """up: can be used; starting: runs, not yet usable; failed: ended by itself; down: not started."""

    UP = "up"
    STARTING = "starting"
    FAILED = "failed"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """What `status` tells about one service. `memory_mb` is its resident memory."""

    name: str
    state: ServiceState
    pid: int | None
    port: int | None
    log: Path
    detail: str = ""
    memory_mb: int | None = None


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where clients connect to."""

    mongodb_uri: str
    kafka_bootstrap: str
    connect_url: str


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


_STATE: TypeAdapter[StackState] = TypeAdapter(StackState)


def silent(_line: str) -> None:
    """A `Progress` that says nothing."""


class Stack:
    """One stack, in one state directory."""

    def __init__(self, state_dir: Path | None = None, settings: StackSettings | None = None) -> None:
        self.settings = settings or StackSettings()
        self.paths = Paths((state_dir or self.settings.state_dir).absolute())

    @classmethod
    @contextmanager
    def attached(
        cls, state_dir: Path | None = None, settings: StackSettings | None = None, *, ephemeral: bool = False
    ) -> Iterator[Stack]:
        """A stack that ends with the block, or with this process if that comes first.

        `ephemeral`: its data, logs and run files are removed then, too. Raises `Terminal` if a stack that
        outlives its command is up in this directory, or if another program is attached to it.
        """
        stack = cls(state_dir, settings)
        with stack._owned() as lock:
            stack_id = stack._take_over()
            removed = stack.paths.disposable if ephemeral else (stack.paths.run,)
            log = stack.paths.root / "guard.log"
            grace_s = stack.settings.stop_grace_s
            with guard.orderly_exit(), guard.guarding(stack_id, grace_s, log, lock=lock, remove=removed):
                try:
                    yield stack
                finally:
                    stack.down()

    def up(self, progress: Progress = silent) -> Endpoints:
        """Bring up what is not up. Returns when all of it can be used.

        Raises `Terminal` or `Transient` naming the service; the others are left as they are.
        """
        with self._locked():
            self._outlive_owner()
            self._forget_the_dead()
            state = self._choose_ports()
            found = artifacts.ensure(self.settings.cache_dir, progress)
            starter = _Starter(self, state.stack_id, progress)
            starter.bring_up_all(*self._services(found, state))
        return self.endpoints

    def run(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        port: PortClaim | None = None,
        ready: Callable[[], None] | None = None,
        progress: Progress = silent,
    ) -> ProcessRecord:
        """Run one more program as part of the stack: same cookie, log beside the others, ended by `down`.

        `ready` raises `NotReadyError` until it can be used; without it, listening on `port` is enough. A
        program of this name that runs already is kept.
        """
        if port is not None and not port.wanted:
            raise ValueError("the port of a further program must be known: its argv names it")
        command = Command(name, argv, env or {}, self.paths.log(name), port.wanted if port else None, cwd)
        check = ready or (lambda: _require_listening(command))
        with self._locked():
            state = self._state()
            running = load_records(self.paths.run).get(name)
            if port is not None and not (running and running.process):
                ports.require_free(port)
            service = Service(name, command, prepare=lambda _environment: None, ready=check)
            return _Starter(self, state.stack_id, progress).bring_up(service)

    def down(self, progress: Progress = silent) -> None:
        """End everything, later programs first. The data stays. Safe to call when nothing runs."""
        if not self.paths.root.is_dir():
            return
        with self._locked():
            records = load_records(self.paths.run)
            extras = [record for name, record in records.items() if name not in SERVICES]
            for record in reversed(extras):
                self._end(record, progress)
            if (
                connect.NAME in records
            ):  # first, so that it can still leave its group and close its transactions
                self._end(records[connect.NAME], progress)
            rest = [records[name] for name in (kafka.NAME, mongodb.NAME) if name in records]
            with ThreadPoolExecutor(max_workers=2) as pool:
                list(pool.map(lambda record: self._end(record, progress), rest))
            left = sweep.end_all(self._state().stack_id, self.settings.stop_grace_s)
            if left:
                raise Terminal(
                    f"could not be ended: {', '.join(f'{one.name()} ({one.pid})' for one in left)}"
                )

    def reset(self, progress: Progress = silent) -> None:
        """End everything and remove its data, logs and configuration; the next `up` starts from nothing."""
        self.down(progress)
        with self._locked():
            for path in self.paths.disposable:
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def status(self) -> tuple[ServiceStatus, ...]:
        """The state of every service, and of every further program, as it is now."""
        records = load_records(self.paths.run)
        names = [*SERVICES, *(name for name in records if name not in SERVICES)]
        with ThreadPoolExecutor(max_workers=len(names)) as pool:
            return tuple(pool.map(lambda name: self._status(name, records.get(name)), names))

    def logs(self, service: str, lines: int = 50) -> tuple[str, ...]:
        """The last lines of a service's log. Raises `Terminal` for a name that has no log."""
        log = self.paths.log(service)
        if not log.exists():
            known = sorted(path.stem for path in self.paths.logs.glob("*.log"))
            raise Terminal(
                f"{service} has no log", where=str(log), remedy=f"one of: {', '.join(known) or 'none yet'}"
            )
        return last_lines(log, lines)

    @property
    def endpoints(self) -> Endpoints:
        """Where clients connect to. Raises `Terminal` before the first `up`."""
        chosen = self._state().ports
        if not all(name in chosen for name in SERVICES):
            raise Terminal(
                "the stack has not been up yet", where=str(self.paths.root), remedy="bring it up first"
            )
        return Endpoints(
            mongodb.uri(chosen[mongodb.NAME]),
            kafka.bootstrap(chosen[kafka.NAME]),
            connect.url(chosen[connect.NAME]),
        )

    def _services(self, found: artifacts.Artifacts, state: StackState) -> tuple[Service, Service, Service]:
        chosen = state.ports
        bootstrap = kafka.bootstrap(chosen[kafka.NAME])
        return (
            mongodb.service(self.settings, self.paths, found.mongod, chosen[mongodb.NAME]),
            kafka.service(self.settings, self.paths, found, chosen[kafka.NAME], chosen[_CONTROLLER]),
            connect.service(self.settings, self.paths, found, chosen[connect.NAME], bootstrap),
        )

    def _claims(self) -> tuple[PortClaim, ...]:
        return (
            PortClaim(mongodb.NAME, "CDC_MONGODB_PORT", self.settings.mongodb_port),
            PortClaim(kafka.NAME, "CDC_KAFKA_PORT", self.settings.kafka_port),
            PortClaim(_CONTROLLER, "CDC_KAFKA_CONTROLLER_PORT", self.settings.kafka_controller_port),
            PortClaim(connect.NAME, "CDC_CONNECT_PORT", self.settings.connect_port),
        )

    def _choose_ports(self) -> StackState:
        """Ports for what does not run; what runs keeps the port it has, whatever the settings say now."""
        state = self._state()
        running = set(load_records(self.paths.run))
        if kafka.NAME in running:
            running.add(_CONTROLLER)
        chosen = {name: port for name, port in state.ports.items() if name in running}
        for claim in self._claims():
            if claim.service not in chosen:
                previous = state.ports.get(claim.service)
                taken = set(chosen.values())
                chosen[claim.service] = ports.choose(
                    claim, previous=previous, taken=taken, chance=random.SystemRandom()
                )
        state = replace(state, ports=chosen)
        self._save(state)
        return state

    def _status(self, name: str, record: ProcessRecord | None) -> ServiceStatus:
        log = self.paths.log(name)
        if record is None:
            return ServiceStatus(name, ServiceState.DOWN, None, self._state().ports.get(name), log)
        process = record.process
        if process is None:
            detail = "\n".join(last_lines(log, 5, since=record.log_start))
            return ServiceStatus(name, ServiceState.FAILED, record.pid, record.port, log, detail)
        memory_mb = _memory_mb(process)
        try:
            _probe(name, record)
        except NotReadyError as error:
            return ServiceStatus(
                name, ServiceState.STARTING, record.pid, record.port, log, str(error), memory_mb
            )
        return ServiceStatus(name, ServiceState.UP, record.pid, record.port, log, memory_mb=memory_mb)

    def _end(self, record: ProcessRecord, progress: Progress) -> None:
        if record.process is not None:
            progress(f"stopping {record.name}")
        stop(record, self.settings.stop_grace_s)
        (self.paths.run / f"{record.name}.json").unlink(missing_ok=True)

    def _forget_the_dead(self) -> None:
        for record in load_records(self.paths.run).values():
            if record.process is None:
                reap(record)
                (self.paths.run / f"{record.name}.json").unlink(missing_ok=True)

    @contextmanager
    def _owned(self) -> Iterator[int]:
        """Hold the owner's lock. Waits only where its holder is the guard of an owner that is gone."""
        self._make_directories()
        patience_s = 0.0 if self._owner_lives() else 4 * self.settings.stop_grace_s + 30
        try:
            lock = guard.own(self.paths.root / "owner.lock", patience_s)
        except TimeoutError as error:
            owner = self._state().owner
            raise Terminal(
                "another program is attached to this stack" + (f" (pid {owner.pid})" if owner else ""),
                where=str(self.paths.root),
                remedy="end that program first, or use another CDC_STATE_DIR",
            ) from error
        try:
            yield lock
        finally:
            os.close(lock)

    def _owner_lives(self) -> bool:
        owner = self._state().owner
        if owner is None:
            return False
        try:
            return bool(abs(psutil.Process(owner.pid).create_time() - owner.create_time) < 0.05)
        except psutil.NoSuchProcess:
            return False

    def _take_over(self) -> str:
        """Make this process the owner. Holds the owner's lock, so no guard is at work."""
        with self._locked():
            state = self._state()
            if sweep.members(state.stack_id):
                if state.owner is None:
                    raise Terminal(
                        "a stack is already up in this directory",
                        where=str(self.paths.root),
                        remedy="use it as it is, or end it first: `cdc stack down`",
                    )
                sweep.end_all(state.stack_id, self.settings.stop_grace_s)  # its guard was killed, too
            self._forget_the_dead()
            me = psutil.Process()
            state = StackState(uuid.uuid4().hex, Owner(me.pid, me.create_time()), state.ports)
            self._save(state)
            return state.stack_id

    def _outlive_owner(self) -> None:
        """Make this a stack without an owner, unless its owner lives and will end it."""
        if self._state().owner is None or self._owner_lives():
            return
        with self._owned():  # waits for the guard, which would end what is started now
            self._save(replace(self._state(), stack_id=uuid.uuid4().hex, owner=None))

    def _state(self) -> StackState:
        path = self.paths.state
        if path.exists():
            return _STATE.validate_json(path.read_bytes())
        return StackState("none")

    def _save(self, state: StackState) -> None:
        partial = self.paths.state.with_suffix(".part")
        partial.write_bytes(_STATE.dump_json(state, indent=2))
        partial.replace(self.paths.state)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._make_directories()
        lock = FileLock(self.paths.root / "stack.lock", timeout=3 * self.settings.start_timeout_s)
        try:
            lock.acquire()
        except Timeout as error:
            raise Transient(
                "another command is at work on this stack", where=lock.lock_file, remedy="wait for it to end"
            ) from error
        try:
            if not self.paths.state.exists():
                self._save(StackState(uuid.uuid4().hex))
            yield
        finally:
            lock.release()

    def _make_directories(self) -> None:
        try:
            self.paths.run.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Terminal(
                f"cannot create the state directory: {error.strerror}",
                where=str(self.paths.root),
                remedy="set CDC_STATE_DIR to a directory that can be written",
            ) from error


class _Starter:
    """Brings services up within one `up`; the first failure makes the others give up waiting."""

    def __init__(self, stack: Stack, stack_id: str, progress: Progress) -> None:
        self._settings = stack.settings
        self._run_dir = stack.paths.run
        self._stack_id = stack_id
        self._progress = progress
        self._abandoned = threading.Event()

    def bring_up_all(self, database: Service, log: Service, worker: Service) -> None:
        """MongoDB beside Kafka; Connect after Kafka."""
        with ThreadPoolExecutor(max_workers=2) as pool:
            try:
                jobs: list[Future[object]] = [
                    pool.submit(self.bring_up, database),
                    pool.submit(self._in_turn, log, worker),
                ]
                for job in jobs:
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
        wait_ready(record, lambda: self._check(service), self._settings.start_timeout_s)
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


def _probe(name: str, record: ProcessRecord) -> None:
    port = record.port
    if port is None:
        return
    match name:
        case mongodb.NAME:
            mongodb.require_primary(port)
        case kafka.NAME:
            kafka.require_broker(port)
        case connect.NAME:
            connect.require_healthy(port)
        case _:
            if not ports.is_listening(port):
                raise NotReadyError(f"nothing listens on port {port} yet")


def _require_listening(command: Command) -> None:
    if command.port is not None and not ports.is_listening(command.port):
        raise NotReadyError(f"nothing listens on port {command.port} yet")


def _memory_mb(process: psutil.Process) -> int | None:
    try:
        return int(process.memory_info().rss) // 1_000_000
    except psutil.Error:
        return None


__all__ = [
    "Endpoints",
    "NotReadyError",
    "PortClaim",
    "ServiceState",
    "ServiceStatus",
    "Stack",
    "require_alive",
]
