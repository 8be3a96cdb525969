"""The folder that holds the lake."""

from __future__ import annotations

import os
from pathlib import Path

from cdc_platform.core.errors import Transient


def require_place(root: Path) -> None:
    """Make the lake's folder if it is not there. Raises Transient if it cannot be written to."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        allowed = os.access(root, os.W_OK | os.X_OK)
    except OSError as error:
        raise _unusable(root, str(error)) from error
    if not allowed:
        raise _unusable(root, "no permission to write")


def _unusable(root: Path, why: str) -> Transient:
    return Transient(
        f"the lake's folder cannot be written to: {why}",
        where=str(root),
        remedy="check that the disk is mounted, that it has space, and CDC_LAKE_ROOT",
    )
