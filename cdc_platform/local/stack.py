"""The stack: databases, Kafka, Kafka Connect and a schema registry, brought up, watched and ended together.

    stack = Stack(); stack.up(print)              outlives the program; `stack.down()` from any other one
    with Stack.attached(directory) as stack: ...  ends with the program, even when that is killed with SIGKILL

Invariants
----------
* What runs is what the run files say, and a run file names a process by pid and create time. `up` keeps
  what runs and starts what does not; `down` leaves nothing, including what has no run file (its cookie
  gives it away).
* One command at a time works on a stack: the others wait for its lock file.
* `up` adds the services that it is asked for to those that were up before it, since the last `down`.
* Data outlives `down`; only `reset` removes it. Ports chosen freely outlive it too.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

from cdc_platform.core.errors import Terminal
from cdc_platform.local import (
    components,
    connect,
    guard,
    memory,
    ownership,
    ports,
    sweep,
)
from cdc_platform.local.artifacts import Progress
from cdc_platform.local.components import CORE, DEFAULT, SERVICES, Endpoints
from cdc_platform.local.memory import StackState
from cdc_platform.local.ports import PortClaim
from cdc_platform.local.process import (
    Command,
    NotReadyError,
    ProcessRecord,
    forget,
    last_lines,
    load_records,
    stop,
)
from cdc_platform.local.service import Paths, Service
from cdc_platform.local.settings import StackSettings
from cdc_platform.local.starting import Starter
from cdc_platform.local.status import ServiceState, ServiceStatus, look_at, not_started, require_listening


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
        grace_s = stack.settings.stop_grace_s
        with ownership.owned(stack.paths, grace_s) as lock:
            with stack._locked():
                stack_id = ownership.take_over(stack.paths, grace_s)
                stack._forget_the_dead()
            removed = stack.paths.disposable if ephemeral else (stack.paths.run,)
            log = stack.paths.root / "guard.log"
            with guard.orderly_exit(), guard.guarding(stack_id, grace_s, log, lock=lock, remove=removed):
                try:
                    yield stack
                finally:
                    stack.down()

    def up(self, progress: Progress = silent, services: Collection[str] = DEFAULT) -> Endpoints:
        """Bring up what is not up. Returns when all of it can be used.

        `services`: of `components.SERVICES`; Kafka and Connect always belong to them. Raises `Terminal` or
        `Transient` naming the service; the others are left as they are.
        """
        components.require_known(services)
        with self._locked():
            ownership.outlive_owner(self.paths, self.settings.stop_grace_s)
            wanted = {*services, *CORE, *load_records(self.paths.run)}
            self._forget_the_dead()
            state = self._choose([name for name in SERVICES if name in wanted])
            made = components.services(self.settings, self.paths, state.services, state.ports, progress)
            beside = [(service,) for name, service in made.items() if name not in CORE]
            self._starter(progress).bring_up_all([made[name] for name in CORE], *beside)
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
        check = ready or (lambda: require_listening(command.port))
        with self._locked():
            running = load_records(self.paths.run).get(name)
            if port is not None and not (running and running.process):
                ports.require_free(port)
            service = Service(name, command, prepare=lambda _environment: None, ready=check)
            return self._starter(progress).bring_up(service)

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
            rest = [records[name] for name in SERVICES if name in records and name != connect.NAME]
            with ThreadPoolExecutor(max_workers=len(SERVICES)) as pool:
                list(pool.map(lambda record: self._end(record, progress), rest))
            left = sweep.end_all(self.stack_id, self.settings.stop_grace_s)
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
        chosen = memory.recall(self.paths).services or SERVICES
        names = [*chosen, *(name for name in records if name not in chosen)]
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
        state = memory.recall(self.paths)
        return components.endpoints(state.services, state.ports, self.paths.root)

    @property
    def stack_id(self) -> str:
        """The cookie in the environment of its processes (see `sweep.py`)."""
        return memory.recall(self.paths).stack_id

    def _locked(self) -> AbstractContextManager[None]:
        return memory.locked(self.paths, 3 * self.settings.start_timeout_s)

    def _starter(self, progress: Progress) -> Starter:
        return Starter(self.paths.run, self.stack_id, self.settings.start_timeout_s, progress)

    def _choose(self, services: Sequence[str]) -> StackState:
        state = memory.recall(self.paths)
        running = set(load_records(self.paths.run))
        chance = random.SystemRandom()
        chosen = components.choose_ports(self.settings, services, state.ports, running, chance)
        state = replace(state, ports=chosen, services=tuple(services))
        memory.remember(self.paths, state)
        return state

    def _status(self, name: str, record: ProcessRecord | None) -> ServiceStatus:
        if record is None:
            return not_started(name, memory.recall(self.paths).ports.get(name), self.paths.log(name))
        return look_at(record)

    def _end(self, record: ProcessRecord, progress: Progress) -> None:
        if record.process is not None:
            progress(f"stopping {record.name}")
        stop(record, self.settings.stop_grace_s)
        forget(record, self.paths.run)

    def _forget_the_dead(self) -> None:
        for record in load_records(self.paths.run).values():
            if record.process is None:
                forget(record, self.paths.run)


__all__ = [
    "Endpoints",
    "NotReadyError",
    "PortClaim",
    "ServiceState",
    "ServiceStatus",
    "Stack",
    "StackSettings",
    "silent",
]
