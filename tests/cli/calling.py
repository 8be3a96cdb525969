"""Calls ``cdc`` as a person would, in this process or in one of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import yaml
from typer.testing import CliRunner, Result

from cdc_platform.cli import app

COMMAND = (sys.executable, "-c", "import sys; sys.argv[0] = 'cdc'; from cdc_platform.cli import main; main()")


def cdc(*words: str, env: dict[str, str] | None = None, stdin: str | None = None) -> Result:
    wide = {"COLUMNS": "200"}  # lines are not folded, wherever the tests run
    return CliRunner().invoke(app, [*words], env={**wide, **(env or {})}, input=stdin)


def document(result: Result) -> Any:
    """What stands on stdout, which must be one JSON document."""
    return orjson.loads(result.stdout)


def process(*words: str, env: dict[str, str], cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *words],
        env={**os.environ, **env},
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def declare(folder: Path, name: str, **attributes: object) -> None:
    """Write ``<folder>/<name>/defs.yaml``, of two collections unless ``attributes`` say otherwise."""
    given = {
        "name": name,
        "uri": "mongodb://127.0.0.1:1/?replicaSet=rs0",
        "database": name,
        "collections": ["orders", "customers"],
        **attributes,
    }
    path = folder / name / "defs.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        yaml.safe_dump({"type": "cdc_platform.orchestrate.component.CdcSource", "attributes": given})
    )


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
