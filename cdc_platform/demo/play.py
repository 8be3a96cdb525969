"""The demo's acts: stack, shop, connector, Dagster, writers, proofs.

Invariant: nothing here makes the result better than what a user would get. The lake is written by the run
that the sensor started, the verdicts are those of the asset checks, the lag is measured from the lake.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.live import Live

from cdc_platform.core.errors import Terminal, Transient
from cdc_platform.core.model import Kind, Target
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.demo.lake import DemoLake
from cdc_platform.demo.live import LiveView
from cdc_platform.demo.report import Report
from cdc_platform.demo.shop import Shop, open_shop
from cdc_platform.demo.webserver import Webserver
from cdc_platform.demo.writers import Writers
from cdc_platform.local import guard
from cdc_platform.local.ports import PortClaim
from cdc_platform.local.settings import StackSettings
from cdc_platform.local.stack import Stack
from cdc_platform.logs import Journal
from cdc_platform.platform import deploy_source, load_sources, utc_now

SOURCE = "shop"
JOB = f"verify_{SOURCE}"
LOOK_EVERY = 2.0
"""Seconds between two lines of progress."""

QUIET = 14.0
"""Seconds without a commit after which the lake is at rest, and recorded: a merge may be 10 s away."""

SNAPSHOT_SECONDS = 300.0
PROOF_SECONDS = 240.0


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the person asked for. ``rate``: changes per second."""

    seconds: float
    rate: int
    documents: int
    port: int
    seed: int


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
        free = StackSettings(mongodb_port=0, kafka_port=0, kafka_controller_port=0, connect_port=0)
        with Stack.attached(folder, free, ephemeral=True) as stack:
            for name in ("lake", "dagster", "state"):
                shutil.rmtree(folder / name, ignore_errors=True)
            yield cls(wishes, console, stack, folder, journal)

    def run(self) -> Report:
        """All acts. Raises CdcError for whatever stands in the way."""
        endpoints = self._stack.up(self._say)
        os.environ["SHOP_MONGODB_URI"] = endpoints.mongodb_uri
        settings = Settings(
            kafka_bootstrap=endpoints.kafka_bootstrap,
            connect_url=endpoints.connect_url,
            lake_root=self._folder / "lake",
            state_dir=self._folder / "state",
        )
        source = load_sources()[SOURCE]
        client, shop = open_shop(source.uri, source.database, self._wishes.seed)
        with client:
            self._load(shop)
            self._say("deploying the connector")
            deploy_source(settings, source)
            webserver = self._start_dagster(settings, source)
            self._await_snapshot(settings, source)
            return self._write_and_prove(settings, source, shop, webserver)

    def stay(self) -> None:
        """Until Ctrl-C."""
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

    def _load(self, shop: Shop) -> None:
        loaded = Counter[str]()

        def progress(count: int) -> None:
            loaded["documents"] += count
            if loaded["documents"] % 25_000 < count:
                self._say(f"loaded {loaded['documents']:,} documents")

        self._say(f"loading a shop of {self._wishes.documents:,} documents into MongoDB")
        shop.load(self._wishes.documents, progress)

    def _start_dagster(self, settings: Settings, source: Source) -> Webserver:
        home = self._folder / "dagster"
        home.mkdir(parents=True)
        for name in ("dagster.yaml", "workspace.yaml"):
            shutil.copy(Path(__file__).parents[2] / name, home)
        self._say("starting the Dagster webserver and daemon, with the sensor on")
        webserver = Webserver(self._url)
        self._stack.run(
            "dagster",
            [
                *(sys.executable, "-m", "dagster", "dev", "-w", str(home / "workspace.yaml")),
                *("--host", "127.0.0.1", "--port", str(self._wishes.port)),
            ],
            env={
                "DAGSTER_HOME": str(home),
                "SHOP_MONGODB_URI": source.uri,
                **{f"CDC_{name.upper()}": str(value) for name, value in settings.model_dump().items()},
            },
            port=PortClaim("the Dagster UI", "--port", self._wishes.port),
        )
        self._until(lambda: webserver.job_is_loaded(JOB), 90, "Dagster did not load the definitions")
        self._say(f"Dagster's UI is at {self._url}")
        return webserver

    def _await_snapshot(self, settings: Settings, source: Source) -> None:
        goal, last, lake = self._wishes.documents, -LOOK_EVERY, DemoLake(settings, source)

        def complete() -> bool:
            nonlocal last
            rows = lake.rows(Kind.CHANGELOG)
            if time.monotonic() - last >= LOOK_EVERY:
                last = time.monotonic()
                self._say(f"initial snapshot: {rows:,} of {goal:,} rows in the changelog")
            return rows >= goal

        self._until(complete, SNAPSHOT_SECONDS, "the initial snapshot did not reach the lake")

    def _write_and_prove(
        self, settings: Settings, source: Source, shop: Shop, webserver: Webserver
    ) -> Report:
        since, lake = utc_now(), DemoLake(settings, source)
        self._say(
            f"changing the shop: about {self._wishes.rate:,} changes/s for {self._wishes.seconds:.0f} s"
        )
        with Writers(shop, self._wishes.rate, self._wishes.seconds) as writers:
            self._until(lambda: writers.passed > 3, 30, "the writers did not start")
            self._say("proving the lake against the source while the writers run")
            proof = webserver.launch(JOB)
            self._watch(lake, writers)
            done = writers.result()
            until = utc_now()
        during = self._verdicts(webserver, source, proof)
        self._say(f"{done.total():,} changes made in {writers.passed:.1f} s")
        self._await_quiet(lake)
        self._say("proving once more, now that it is quiet")
        after = self._verdicts(webserver, source, webserver.launch(JOB))
        # The proof waits for both tables, so every change of the window is in the lake now.
        window = (since, until + timedelta(milliseconds=1))
        return Report(
            tables=tuple(lake.report(target, found, window) for target, found in after.items()),
            while_writing={target.path: str(found["cdc/verdict"]) for target, found in during.items()},
            changes=done.total(),
            changes_per_second=done.total() / writers.passed,
            seconds=time.monotonic() - self._began,
        )

    def _await_quiet(self, lake: DemoLake) -> None:
        """Until no table has got a commit for QUIET seconds."""
        versions: list[int] = []
        since = time.monotonic()

        def quiet() -> bool:
            nonlocal versions, since
            now = lake.versions()
            if now != versions:
                versions, since = now, time.monotonic()
            return time.monotonic() - since > QUIET

        self._until(quiet, PROOF_SECONDS, "the lake did not come to rest")

    def _verdicts(
        self, webserver: Webserver, source: Source, run_id: str
    ) -> dict[Target, Mapping[str, object]]:
        """Metadata of each content check, as this run left it."""
        status = webserver.wait(run_id, PROOF_SECONDS)
        found: dict[Target, Mapping[str, object]] = {}
        for target in source.targets:
            check = webserver.check([target.format, source.name, target.table], "content")
            if check is None or check.run_id != run_id or "cdc/verdict" not in check.metadata:
                raise Terminal(
                    f"the proof of {target} gave no verdict (its run ended as {status})",
                    where=f"{self._url}/runs/{run_id}",
                    remedy="look at the run in the Dagster UI",
                )
            found[target] = check.metadata
            self._say(str(check.metadata["cdc/reason"]))
        return found

    def _watch(self, lake: DemoLake, writers: Writers) -> None:
        """Until the writers are done: a table that moves on a terminal, otherwise a line now and then."""
        if self._journal or not self._console.is_terminal:
            while writers.running:
                self._say(self._progress(lake, writers))
                time.sleep(LOOK_EVERY)
            return
        view = LiveView(lake, writers, self._wishes.documents)
        with Live(view.table(), console=self._console, auto_refresh=False) as live:
            while writers.running:
                live.update(view.table(), refresh=True)
                time.sleep(0.5)

    def _progress(self, lake: DemoLake, writers: Writers) -> str:
        rows = lake.rows(Kind.CHANGELOG) - self._wishes.documents
        return f"{writers.made:,} changes made, {max(0, rows):,} in the changelogs"

    def _until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise Transient(
                    f"{what} in {seconds:.0f} s",
                    where=str(self._stack.paths.logs),
                    remedy="the logs of MongoDB, Kafka, Connect and Dagster are there",
                )
            time.sleep(0.2)
