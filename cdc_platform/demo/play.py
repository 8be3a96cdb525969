"""The demo's acts: stack, databases, connectors, Dagster, writers, proofs.

Invariant: nothing here makes the result better than what a user would get. The lake is written by the runs
that the sensors started, the verdicts are those of the asset checks, the lag is measured from the lake.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.live import Live
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from cdc_platform.core.errors import Transient
from cdc_platform.core.model import Kind
from cdc_platform.core.settings import Settings
from cdc_platform.demo import firm
from cdc_platform.demo.firm import Member
from cdc_platform.demo.live import LiveView
from cdc_platform.demo.proofs import Proofs, Written, told
from cdc_platform.demo.report import Report
from cdc_platform.demo.webserver import Webserver
from cdc_platform.demo.writers import Writers
from cdc_platform.local import guard
from cdc_platform.local.ports import PortClaim
from cdc_platform.local.settings import StackSettings
from cdc_platform.local.stack import Endpoints, Stack
from cdc_platform.logs import Journal
from cdc_platform.platform import deploy_source, load_sources, utc_now

LOOK_EVERY = 3.0
"""Seconds between two lines of progress."""

REDRAW = 0.5
"""Seconds between two pictures of the live view, at least."""

LOOKING = 4.0
"""Times as long as looking takes, at least: the machine's time is for what is looked at."""

LONGER = 60.0
"""Seconds beyond those wished for that people go on at most, until the proofs beside them have ended."""

SETTLED = 4.0
"""Seconds for which the lake holds everything before it counts as at rest: its last commits are recorded."""

_PATIENTLY = Retrying(retry=retry_if_exception_type(Transient), stop=stop_after_attempt(3), reraise=True)
"""Of a machine that has much to start a connector is asked for again: it may be repeated at any time."""

SNAPSHOT_SECONDS = 300.0
PROOF_SECONDS = 240.0


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the person asked for. ``rate``: changes per second, ``documents``: rows to begin with, both of all
    ``sources`` together.
    """

    seconds: float
    rate: int
    documents: int
    port: int
    seed: int
    sources: tuple[str, ...] = tuple(firm.DEPARTMENTS)


class Play:
    """One showing, on a stack of its own."""

    def __init__(
        self, wishes: Wishes, console: Console, stack: Stack, folder: Path, journal: Journal | None
    ) -> None:
        self._wishes = wishes
        self._console = console
        self._journal = journal
        self._stack = stack
        self._folder = folder
        self._began = time.monotonic()
        self._url = f"http://127.0.0.1:{wishes.port}"

    @classmethod
    @contextmanager
    def staged(cls, wishes: Wishes, console: Console, journal: Journal | None = None) -> Iterator[Play]:
        """``journal``: is told of the demo's progress in place of the console.

        Everything that is started ends with the block, or with this process if that is killed."""
        guard.end_with_parent()
        folder = StackSettings().state_dir.absolute() / "demo"
        listeners = ("mongodb", "postgresql", "mariadb", "registry", "kafka", "kafka_controller", "connect")
        free = StackSettings.model_validate({f"{name}_port": 0 for name in listeners})
        with Stack.attached(folder, free, ephemeral=True) as stack:
            for name in ("lake", "dagster", "state"):
                shutil.rmtree(folder / name, ignore_errors=True)
            yield cls(wishes, console, stack, folder, journal)

    def run(self) -> Report:
        """All acts. Raises CdcError for whatever stands in the way."""
        names = self._wishes.sources
        endpoints = self._stack.up(self._say, firm.services(names))
        os.environ.update(firm.addresses(names, endpoints))
        settings = self._settings(endpoints)
        with firm.opened(names, endpoints, settings, self._wishes.seed) as members:
            before = sum(self._load(member) for member in members)
            with ThreadPoolExecutor(max_workers=1) as pool:  # beside Dagster's start, one after another
                self._say("deploying the connectors")
                deployed = [pool.submit(_PATIENTLY, deploy_source, settings, each.source) for each in members]
                proofs = self._start_dagster(settings, members)
                for each in deployed:
                    each.result()
            self._await_snapshots(members, before)
            return self._write_and_prove(members, before, proofs)

    def stay(self) -> None:
        """Until Ctrl-C. All other checks are started, for who looks at the UI."""
        sources = load_sources()
        Proofs(Webserver(self._url), [sources[name] for name in self._wishes.sources]).launch(everything=True)
        self._console.print(
            f"\nThe Dagster UI stays at [bold]{self._url}[/], the lake in {self._folder / 'lake'}."
        )
        self._console.print("Ctrl-C ends everything.")
        while True:
            signal.pause()  # not an Event: an exception from a signal inside its lock would be another one

    def _say(self, line: str) -> None:
        passed = time.monotonic() - self._began
        if self._journal:
            self._journal.remarked(line, elapsed_s=round(passed, 1))
        else:
            self._console.print(f"[dim]{passed:6.1f} s[/]  {line}", highlight=False, soft_wrap=True)

    def _settings(self, endpoints: Endpoints) -> Settings:
        settings = Settings(
            kafka_bootstrap=endpoints.kafka_bootstrap,
            connect_url=endpoints.connect_url,
            lake_root=self._folder / "lake",
            state_dir=self._folder / "state",
        )
        if "registry" not in endpoints.addresses:
            return settings
        return settings.model_copy(update={"registry_url": endpoints.registry_url})

    def _load(self, member: Member) -> int:
        """The number of its rows."""
        loaded, wanted = Counter[str](), member.of(self._wishes.documents)
        engine = member.source.engine.called
        self._say(f"loading {wanted:,} rows of {member.source.name} into {engine}")
        member.trade.load(wanted, lambda count: loaded.update(rows=count))
        return loaded.total()

    def _start_dagster(self, settings: Settings, members: Sequence[Member]) -> Proofs:
        home = self._folder / "dagster"
        home.mkdir(parents=True)
        for name in ("dagster.yaml", "workspace.yaml"):
            shutil.copy(Path(__file__).parents[2] / name, home)
        self._say("starting the Dagster webserver and daemon, with the sensors on")
        self._stack.run(
            "dagster",
            [
                *(sys.executable, "-m", "dagster", "dev", "-w", str(home / "workspace.yaml")),
                *("--host", "127.0.0.1", "--port", str(self._wishes.port)),
            ],
            env={
                "DAGSTER_HOME": str(home),
                **{firm.DEPARTMENTS[each.source.name].variable: each.source.uri for each in members},
                **{f"CDC_{name.upper()}": str(value) for name, value in settings.model_dump().items()},
            },
            port=PortClaim("the Dagster UI", "--port", self._wishes.port),
        )
        proofs = Proofs(Webserver(self._url), [each.source for each in members])
        self._until(proofs.are_loaded, 90, "Dagster did not load the definitions")
        self._say(f"Dagster's UI is at {self._url}")
        return proofs

    def _await_snapshots(self, members: Sequence[Member], goal: int) -> None:
        last = -LOOK_EVERY

        def complete() -> bool:
            nonlocal last
            rows = _rows(members)
            if time.monotonic() - last >= LOOK_EVERY:
                last = time.monotonic()
                self._say(f"initial snapshots: {rows:,} of {goal:,} rows in the changelogs")
            return rows >= goal

        self._until(complete, SNAPSHOT_SECONDS, "the initial snapshots did not reach the lake")

    def _write_and_prove(self, members: Sequence[Member], before: int, proofs: Proofs) -> Report:
        since, wishes = utc_now(), self._wishes
        self._say(f"changing the databases: about {wishes.rate:,} changes/s for {wishes.seconds:.0f} s")
        with ExitStack() as stack:
            writers = [(each, stack.enter_context(self._writers(each))) for each in members]
            self._until(lambda: all(each.passed > 3 for _, each in writers), 30, "the writers did not start")
            self._say("proving the lake against its sources while the writers run")
            beside = stack.enter_context(ThreadPoolExecutor(max_workers=1))
            proven = beside.submit(proofs.run, PROOF_SECONDS)
            self._watch(writers, before, lambda: self._is_enough(writers, proven))
            for _, each in writers:
                each.stop()
            written = {member.source.name: Written(each.result(), each.passed) for member, each in writers}
            until = utc_now()
        during = proofs.verdicts(proven.result(), PROOF_SECONDS, self._say)
        for name, did in written.items():
            self._say(f"{did.changes.total():,} changes of {name} made in {did.seconds:.1f} s")
        self._await_rest(members, before + sum(did.changes.total() for did in written.values()))
        self._say("proving once more, now that it is quiet")
        after = proofs.verdicts(proofs.launch(), PROOF_SECONDS, self._say)
        # The proof waits for all tables, so every change of the window is in the lake now.
        window = (since, until + timedelta(milliseconds=1))
        return told(members, written, during, after, window, time.monotonic() - self._began)

    def _writers(self, member: Member) -> Writers:
        return Writers(member.trade, member.source.engine.called, member.of(self._wishes.rate))

    def _await_rest(self, members: Sequence[Member], rows: int) -> None:
        """Until the lake has so many changes, in every table, and for SETTLED seconds."""
        rested = 0.0

        def at_rest() -> bool:
            nonlocal rested
            if _rows(members) < rows or not all(each.lake.is_folded() for each in members):
                rested = 0.0
                return False
            rested = rested or time.monotonic()
            return time.monotonic() - rested > SETTLED

        self._until(at_rest, PROOF_SECONDS, "the lake did not come to rest")

    def _is_enough(self, writers: Sequence[tuple[Member, Writers]], proven: Future[dict[str, str]]) -> bool:
        """The time is over, and so are the proofs: what they say of the lake was said while people wrote."""
        if any(not each.running for _, each in writers):  # it failed, and says so itself
            return True
        passed = min(each.passed for _, each in writers)
        return passed >= self._wishes.seconds + (0 if proven.done() else LONGER)

    def _watch(
        self, writers: Sequence[tuple[Member, Writers]], before: int, enough: Callable[[], bool]
    ) -> None:
        """Until it is enough: a table that moves on a terminal, otherwise a line now and then."""
        if self._journal or not self._console.is_terminal:
            while not enough():
                made = sum(each.made for _, each in writers)
                rows = max(0, _rows([member for member, _ in writers]) - before)
                self._say(f"{made:,} changes made, {rows:,} in the changelogs")
                time.sleep(LOOK_EVERY)
            return
        view = LiveView([(member.lake, each) for member, each in writers], before)
        with Live(view.table(), console=self._console, auto_refresh=False) as live:
            while not enough():
                began = time.monotonic()
                live.update(view.table(), refresh=True)
                time.sleep(max(REDRAW, LOOKING * (time.monotonic() - began)))

    def _until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while True:
            began = time.monotonic()
            if condition():
                return
            if began > deadline:
                raise Transient(
                    f"{what} in {seconds:.0f} s",
                    where=str(self._stack.paths.logs),
                    remedy="the logs of the databases, Kafka, Connect and Dagster are there",
                )
            time.sleep(max(0.2, LOOKING * (time.monotonic() - began)))


def _rows(members: Sequence[Member]) -> int:
    """Of all changelogs, as far as every format has them."""
    return sum(each.lake.rows(Kind.CHANGELOG) for each in members)
