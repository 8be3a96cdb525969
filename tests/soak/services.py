"""Services of the stack that are killed under load, and come back."""

from __future__ import annotations

import psutil

from cdc_platform.local import sweep
from cdc_platform.local.stack import Stack
from tests.stack.conftest import eventually


def killed(stack: Stack, name: str) -> None:
    """SIGKILL: no connection is closed, no transaction ended, no file synchronised by it."""
    [pid] = [status.pid for status in stack.status() if status.name == name]
    assert pid is not None
    process = psutil.Process(pid)
    process.kill()
    eventually(lambda: not sweep.alive(process))
