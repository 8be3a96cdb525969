"""Kafka Connect's REST interface: create, watch and change connectors.

Invariants
- Every wait is bounded. Only what may pass by itself is tried again: no connection, a rebalance (409), 5xx.
- What a person has to correct is raised at once as Terminal, with Connect's own words.
- An answer that returned normally is never taken for more than it is: ``apply`` says that Connect accepted
  the settings, ``verify`` that the tasks run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Final

import httpx

from cdc_platform.connect import answers
from cdc_platform.connect.requests import Requests
from cdc_platform.connect.status import ConnectorStatus, Progress, State
from cdc_platform.core.errors import Terminal, Transient

VERIFY_TRIES: Final = 10


class Applied(StrEnum):
    """What ``apply`` did."""

    CREATED = "created"
    UPDATED = "updated"


class ConnectClient:
    """A client of one worker, which speaks for its cluster. Close it, or use it as a context.

    ``timeout``, ``attempts``: of one request (``Requests``). ``clock``: seconds, monotonic.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 95.0,
        attempts: int = 8,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._requests = Requests(url, timeout, attempts, sleep)
        self.url = self._requests.url
        self._sleep = sleep
        self._clock = clock

    def __enter__(self) -> ConnectClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._requests.close()

    def wait_ready(self, deadline: float) -> None:
        """Return once the worker answers as a member of its cluster; Transient after ``deadline`` seconds."""
        end = self._clock() + deadline
        for pause in _pauses():
            try:
                self._requests.once("GET", "/connectors")
            except Transient as error:
                if self._clock() + pause >= end:
                    raise Transient(
                        f"Kafka Connect was not ready within {deadline:g} s: {error.what}",
                        where=self.url,
                        remedy=error.remedy,
                    ) from error
                self._sleep(pause)
            else:
                return

    def list(self) -> tuple[str, ...]:
        """Names of the connectors, sorted."""
        return tuple(sorted(answers.names(self._requests.send("GET", "/connectors"))))

    def status(self, name: str) -> ConnectorStatus:
        """State of the connector and of each task. Terminal if there is no such connector."""
        found = self.find(name)
        if found is None:
            raise self._requests.unknown(name)
        return found

    def find(self, name: str) -> ConnectorStatus | None:
        """Its status; None if Connect has not heard of it, as for a moment after it was created."""
        answer = self._requests.answer("GET", f"/connectors/{name}/status")
        known = answer.is_success or answer.status_code == httpx.codes.NOT_FOUND
        return answers.status(answer if known else self._requests.accepted(answer))

    def config(self, name: str) -> dict[str, str]:
        """The settings the connector has, with its credentials. Terminal if there is no such connector."""
        return answers.settings(self._requests.send("GET", f"/connectors/{name}/config", unknown=name))

    def progress(self, name: str) -> Progress:
        """Whether the connector has come to the stream. Terminal if there is no such connector."""
        return answers.progress(self._requests.send("GET", f"/connectors/{name}/offsets", unknown=name))

    def position(self, name: str) -> dict[str, object]:
        """The position it has committed, as Debezium tells it; empty without one."""
        return answers.position(self._requests.send("GET", f"/connectors/{name}/offsets", unknown=name))

    def apply(self, name: str, config: Mapping[str, str]) -> Applied:
        """Create the connector, or give it these settings if it is there.

        Connect validates first, which includes a connection to the database. Raises Terminal with its message
        per setting if one is refused, or if the plugin is not installed.
        """
        wanted = {**config, "name": name}
        self._require_plugin(wanted["connector.class"])
        self._require_valid(name, wanted)
        answer = self._requests.send("PUT", f"/connectors/{name}/config", wanted)
        return Applied.CREATED if answer.status_code == httpx.codes.CREATED else Applied.UPDATED

    def verify(self, name: str, before: ConnectorStatus | None = None) -> ConnectorStatus:
        """The status once the connector and a task of it run on two looks in a row, in at most 10 looks.

        ``before``: the status before the change that is verified. Connect shows that one until the change has
        reached the task; hence the second look, and the failures of ``before`` count on the last look only.
        Raises Terminal with the task's own trace if one has failed, Transient if it does not run at last.
        A task that runs may still find that MongoDB refuses its stream: it fails later, as ``config`` bounds
        it; ``progress`` says whether it has come to streaming.
        """
        running = False
        seen = "no such connector"
        for look, pause in zip(range(1, VERIFY_TRIES + 2), _pauses(), strict=False):
            if look > VERIFY_TRIES and not running:
                break  # one look more is only for what has just begun to run
            status = self.find(name)
            if status is not None:
                stale = before is not None and status.failures == before.failures
                if not stale or look >= VERIFY_TRIES:
                    status.require_not_failed(where=self.url)
                if running and status.is_all(State.RUNNING):
                    return status
                seen = str(status)
            running = status is not None and status.is_all(State.RUNNING)
            if look <= VERIFY_TRIES:
                self._sleep(pause)
        raise Transient(
            f"connector {name} does not run after {VERIFY_TRIES} looks: {seen}",
            where=self.url,
            remedy="look into the worker's log; a worker under load may need longer: ask again",
        )

    def restart(self, name: str, *, only_failed: bool = True) -> None:
        """Restart the connector and its tasks, or those of them that have failed. Returns before they run."""
        failed = str(only_failed).lower()
        path = f"/connectors/{name}/restart?includeTasks=true&onlyFailed={failed}"
        self._requests.send("POST", path, unknown=name)

    def pause(self, name: str, deadline: float = 30.0) -> ConnectorStatus:
        """Stop capturing, keeping the position. Returns once it has; Transient after ``deadline`` seconds."""
        self._requests.send("PUT", f"/connectors/{name}/pause", unknown=name)
        return self._reached(name, State.PAUSED, deadline)

    def resume(self, name: str, deadline: float = 30.0) -> ConnectorStatus:
        """Go on where ``pause`` stopped. Returns once all tasks run; Transient after ``deadline`` seconds."""
        self._requests.send("PUT", f"/connectors/{name}/resume", unknown=name)
        return self._reached(name, State.RUNNING, deadline)

    def forget(self, name: str, deadline: float = 30.0) -> None:
        """Stop the connector and forget its position: resumed, it reads everything there is again.

        Whether it runs or has failed: who lost the position of a connector is here to be rid of it.
        """
        failed = self.status(name).failures
        self._requests.send("PUT", f"/connectors/{name}/stop", unknown=name)
        self._reached(name, State.STOPPED, deadline, failed)
        self._requests.send("DELETE", f"/connectors/{name}/offsets", unknown=name)

    def delete(self, name: str, deadline: float = 30.0) -> None:
        """Remove the connector. Its topics and its position stay: one of the same name goes on from there.

        Returns once its tasks have stopped, when its topics can go too: a task that finds them gone holds up
        the whole worker. Transient after ``deadline`` seconds.
        """
        self._requests.send("DELETE", f"/connectors/{name}", unknown=name)
        end = self._clock() + deadline
        for pause in _pauses():
            left = self._requests.answer("GET", f"/connectors/{name}/status")
            if left.status_code == httpx.codes.NOT_FOUND:
                return
            if self._clock() + pause >= end:
                break
            self._sleep(pause)
        raise Transient(
            f"connector {name} is removed, but its tasks have not stopped after {deadline:g} s",
            where=self.url,
            remedy="look into the worker's log; leave its topics and its database until they have",
        )

    def _reached(
        self, name: str, state: State, deadline: float, known: frozenset[tuple[str, str]] = frozenset()
    ) -> ConnectorStatus:
        """``known``: failures of before, which Connect shows until the tasks are gone."""
        end = self._clock() + deadline
        for pause in _pauses():
            status = self.status(name)
            if not status.failures <= known:
                status.require_not_failed(where=self.url)
            # A stopped connector has no tasks any more.
            if status.is_all(state) or (status.state is state is State.STOPPED and not status.tasks):
                return status
            if self._clock() + pause >= end:
                break
            self._sleep(pause)
        raise Transient(
            f"connector {name} is not {state.value} after {deadline:g} s but {status}",
            where=self.url,
            remedy="look into the worker's log, and ask again",
        )

    def _require_plugin(self, wanted: str) -> None:
        installed = answers.plugins(self._requests.send("GET", "/connector-plugins"))
        if wanted not in installed:
            raise Terminal(
                f"Kafka Connect has no plugin {wanted}; installed are {', '.join(installed) or 'none'}",
                where=self.url,
                remedy="put the folder of the connector's jars under the worker's plugin.path and restart it",
            )

    def _require_valid(self, name: str, config: Mapping[str, str]) -> None:
        path = f"/connector-plugins/{config['connector.class']}/config/validate"
        refused = answers.refused(self._requests.send("PUT", path, config))
        if refused:
            lines = [f"{setting}: {message}" for setting, messages in refused.items() for message in messages]
            raise Terminal(
                f"Kafka Connect refuses the settings of connector {name}:\n    " + "\n    ".join(lines),
                where=self.url,
                remedy=f"correct {', '.join(refused)}",
            )


def _pauses() -> Iterator[float]:
    """Seconds between two looks: 0.2, then twice as long each time, up to 3. Endless."""
    pause = 0.2
    while True:
        yield pause
        pause = min(2 * pause, 3.0)
