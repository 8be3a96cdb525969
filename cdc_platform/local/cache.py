"""The cache directory, and what can be wrong with the disk that it is on.

Invariant: what goes wrong here names the directory and the setting that moves it; left alone, it would
surface as a bare `OSError` in the middle of a download.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from cdc_platform.core.errors import Terminal

_MB = 1_000_000


def make_directory(directory: Path) -> None:
    """Create it with its parents. Raises `Terminal` where that is not allowed."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Terminal(
            f"cannot create the cache directory: {error.strerror}",
            where=str(directory),
            remedy="set CDC_CACHE_DIR to a directory that can be written",
        ) from error


def require_space(directory: Path, needed_bytes: int) -> None:
    """Raise `Terminal` if the disk of an existing directory has less room than that."""
    free = shutil.disk_usage(directory).free
    if free < needed_bytes:
        raise Terminal(
            f"too little disk space: {free // _MB} MB free, {needed_bytes // _MB} MB needed",
            where=str(directory),
            remedy="make room there, or set CDC_CACHE_DIR to a directory on another disk",
        )
