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
import yaml
from dagster import DagsterInstance
from dagster._core.scheduler.instigation import InstigatorType

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
        for state in self.instance.all_instigator_state(instigator_type=InstigatorType.SENSOR):
            ticks = self.instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
            return (ticks[0].skip_reason or "") if ticks else ""
        return ""


@contextmanager
def daemon(
    lake: Lake, prepare: Callable[[Daemon], None] = lambda _: None, **settings: object
) -> Iterator[Daemon]:
    """The daemon runs within the block; none of its processes, nor of its runs, outlives it. ``prepare``:
    what is done to its instance before it starts."""
    env = environment(lake, **settings)
    command = ["-m", "dagster._daemon", "run", "-f", "tests/project.py", "-d", str(ROOT)]
    with _instance(env) as instance:
        prepare(dagster := Daemon(lake, instance, env))
        with _running(env, ROOT, command):
            yield dagster


@contextmanager
def project(lake: Lake, name: str, port: int) -> Iterator[Daemon]:
    """`dagster dev` with a webserver at ``port``, for a project whose YAML declares the lake's source."""
    folder = lake.settings.state_dir / name
    home = folder / name / "defs" / "source"
    home.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(_PROJECT.format(name=name))
    (folder / name / "__init__.py").touch()
    (folder / name / "definitions.py").write_text(_DEFINITIONS)
    declared = lake.source.model_dump(mode="json", exclude_defaults=True)
    declared["collections"] += declared.pop("globs", [])
    component = {"type": "cdc_platform.orchestrate.component.CdcSource", "attributes": declared}
    (home / "defs.yaml").write_text(yaml.safe_dump(component))
    env = {**environment(lake), "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"}
    command = ["-m", "dagster", "dev", "-m", f"{name}.definitions", "-p", str(port), "-h", "127.0.0.1"]
    with _instance(env) as instance, _running(env, folder, command):
        yield Daemon(lake, instance, env)


_PROJECT = """[project]
name = "{name}"
version = "0"
[tool.dg]
directory_type = "project"
[tool.dg.project]
root_module = "{name}"
"""
_DEFINITIONS = """from pathlib import Path
import dagster as dg


@dg.definitions
def defs():
    return dg.load_from_defs_folder(path_within_project=Path(__file__))
"""


def _instance(env: dict[str, str]) -> DagsterInstance:
    """Made before any process needs it: SQLite's tables cannot be made by two at once."""
    shutil.copy(ROOT / "dagster.yaml", env["DAGSTER_HOME"])
    instance = DagsterInstance.from_config(env["DAGSTER_HOME"])
    instance.get_runs(limit=1)
    instance.all_instigator_state()
    return instance


@contextmanager
def _running(env: dict[str, str], folder: Path, command: list[str]) -> Iterator[None]:
    home = Path(env["DAGSTER_HOME"])
    with (home / "daemon.log").open("w") as log:
        running = subprocess.Popen([sys.executable, *command], cwd=folder, env=env, stdout=log, stderr=log)
        try:
            yield
        finally:
            running.send_signal(signal.SIGINT)
            _end(running, home)


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
