"""A writer that lost to others again and again reserves the next commit, in a commit of no rows.

It is part of the newest commit's metadata, and so is over with the next commit, whoever makes that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

RESERVATION: Final = "cdc.reservation"
"""Key of a commit's metadata: for whom, and for how many seconds."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """``writer``: names one among all that ever were. ``seconds``: how long others may have to wait for its
    commit."""

    writer: str
    seconds: float

    @property
    def info(self) -> dict[str, str]:
        """What the commit carries that makes it."""
        return {RESERVATION: f"{self.writer} {self.seconds:.1f}"}


def reservation_of(info: Mapping[str, str]) -> Reservation | None:
    """The one that a commit made, by its metadata; None if it made none."""
    writer, _, seconds = info.get(RESERVATION, "").partition(" ")
    return Reservation(writer, float(seconds)) if seconds else None
