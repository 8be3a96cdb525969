"""Programs on a small disk of their own, which goes when they end: 12 MB in a mount namespace."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

_NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-ec")
_MOUNT = 'mount -t tmpfs -o size=12m tmpfs "$0"'


def require_small_disks(disk: Path) -> None:
    """Skip the test where none can be made. ``disk``: a folder to try it at."""
    try:
        tried = subprocess.run([*_NAMESPACE, _MOUNT, disk], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("unshare is not installed: no small disk can be made")
    if tried.returncode:
        pytest.skip(f"this machine lets nobody mount a small disk: {tried.stderr.strip()}")


def said_on(disk: Path, module: str, part: str, timeout: float) -> list[str]:
    """What a program says of each write that was refused; it is given the disk's folder and ``part``."""
    program = [sys.executable, "-m", module, disk, part]
    done = subprocess.run(
        [*_NAMESPACE, f'{_MOUNT}; exec "$@"', disk, *program],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told: list[str] = json.loads(done.stdout)
    return told
