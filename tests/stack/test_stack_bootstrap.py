"""Setting up on a real interpreter, with a real pip."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cdc_platform.local import bootstrap

pytestmark = pytest.mark.stack

SOURCE = Path(bootstrap.__file__)


def test_a_project_without_network_is_told_so_in_one_message(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "cdc_platform" / "local").mkdir(parents=True)
    (project / "cdc_platform" / "local" / "bootstrap.py").write_text(SOURCE.read_text())
    (project / "pyproject.toml").write_text("[project]\nname = 'x'\nversion = '1'\n")
    (project / "requirements.txt").write_text("absent==1 --hash=sha256:" + "0" * 64 + "\n")
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PATH": "/usr/bin:/bin"}
    result = subprocess.run(
        [sys.executable, "cdc_platform/local/bootstrap.py"],
        cwd=project,
        env=nowhere,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "there is no connection to the package index" in result.stderr
    assert "Traceback" not in result.stderr
    assert str(project / ".cdc" / "setup.log") in result.stderr
