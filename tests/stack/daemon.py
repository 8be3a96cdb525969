"""Dagster's daemon for the source of one test: its sensor ticks, its runs are processes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
from dagster import DagsterInstance

from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from tests.stack.lake import Lake

Job = Callable[[Source, Settings], dg.JobDefinition]

ROOT = Path(__file__).parents[2]


def environment(lake: Lake, **settings: object) -> dict[str, str]:
    """Of a Dagster process that has the lake's source; ``settings`` differ from the lake's."""
    home = lake.settings.state_dir / "dagster"
    home.mkdir(exist_ok=True)
    every = {**lake.settings.model_dump(), **settings}
    return {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "CDC_TEST_SOURCE": lake.source.model_dump_json(),
        **{f"CDC_{name.upper()}": str(value) for name, value in every.items()},
    }


@dataclass(frozen=True)
class Daemon:
    lake: Lake
    instance: DagsterInstance
    env: dict[str, str]

    def runs(self) -> list[dg.DagsterRun]:
        """Staying runs, the newest first."""
        return list(self.instance.get_runs(dg.RunsFilter(tags={"cdc/mode": "stay"})))

    def status(self, run: dg.DagsterRun) -> dg.DagsterRunStatus:
        found = self.instance.get_run_by_id(run.run_id)
        assert found is not None
        return found.status

    def process(self, run: dg.DagsterRun) -> psutil.Process:
        """The process of a run, as the run's own log names it."""
        text = "\n".join(entry.message for entry in self.instance.all_logs(run.run_id))
        found = re.search(r"\(pid: (\d+)\)", text)
        assert found is not None, text
        return psutil.Process(int(found.group(1)))

    def execute(self, make: Job, **config: Any) -> str:
        """Run a job of the source on the daemon's instance; what it logged."""
        job = make(self.lake.source, self.lake.settings)
        [op] = job.graph.node_dict
        done = job.execute_in_process({"ops": {op: {"config": config}}}, instance=self.instance)
        return "\n".join(entry.user_message for entry in self.instance.all_logs(done.run_id))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """``dagster`` on the command line."""
        return subprocess.run(
            [sys.executable, "-m", "dagster", *command],
            cwd=ROOT,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def said(self) -> str:
        """Why the sensor did not start a run at its last tick."""
        [state] = self.instance.all_instigator_state() or [None]
        if state is None:
            return ""
        ticks = self.instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
        return (ticks[0].skip_reason or "") if ticks else ""


@contextmanager
def daemon(lake: Lake, **settings: object) -> Iterator[Daemon]:
    """The daemon runs within the block; none of its processes, nor of its runs, outlives it."""
    env = environment(lake, **settings)
    home = Path(env["DAGSTER_HOME"])
    shutil.copy(ROOT / "dagster.yaml", home)
    log = (home / "daemon.log").open("w")
    command = ["-m", "dagster._daemon", "run", "-f", "tests/project.py", "-d", str(ROOT)]
    running = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=env, stdout=log, stderr=log)
    try:
        with DagsterInstance.from_config(str(home)) as instance:
            yield Daemon(lake, instance, env)
    finally:
        running.send_signal(signal.SIGINT)
        _end(running, home)
        log.close()


def _end(running: subprocess.Popen[bytes], home: Path) -> None:
    left = list(_started_in(home))
    try:
        running.wait(timeout=20)
    except subprocess.TimeoutExpired:
        running.kill()
        running.wait()
    for process in {*left, *_started_in(home)}:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


def _started_in(home: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            if process.environ().get("DAGSTER_HOME") == str(home) and process.pid != os.getpid():
                yield process
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
