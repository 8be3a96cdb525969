"""A growing text file, as its new text comes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

LOOK_EVERY: Final = 0.2
"""Seconds between two looks at a file that does not grow."""


def appended(path: Path, position: int) -> Iterator[str]:
    """What is written after byte ``position``, without end. A replaced file is read from its start."""
    while True:
        if path.exists() and (size := path.stat().st_size) != position:
            position = 0 if size < position else position
            with path.open("rb") as file:
                file.seek(position)
                text = file.read()
            position += len(text)
            yield text.decode(errors="replace")
        else:
            time.sleep(LOOK_EVERY)
