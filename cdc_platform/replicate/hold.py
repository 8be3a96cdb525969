"""Tables that an operator holds back: neither read nor merged until they are released.

Invariant: a hold is a file, so that a running drain, a sensor and the command line see the same at once, and
nothing that ends or crashes forgets it. A held table loses nothing: it goes on from its own offsets.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote, unquote

from pydantic import BaseModel


class Hold(BaseModel, frozen=True):
    """Why a table is held, in the operator's words, and since when (UTC)."""

    reason: str
    since: datetime

    @property
    def text(self) -> str:
        return f"paused since {self.since:%Y-%m-%d %H:%M:%S} UTC: {self.reason}"


@dataclass(frozen=True, slots=True)
class Holds:
    """The holds of one source's tables. ``folder``: of this source alone; made with the first hold."""

    folder: Path

    def hold(self, table: str, reason: str, now: datetime) -> Hold:
        """Hold a table back; one that is held already keeps its first reason and time."""
        if (found := self.held(table)) is not None:
            return found
        self.folder.mkdir(parents=True, exist_ok=True)
        made = Hold(reason=reason, since=now)
        draft = self._path(table).with_suffix(".new")
        draft.write_text(made.model_dump_json())
        draft.replace(self._path(table))
        return made

    def release(self, table: str) -> bool:
        """Let a table go on; False if it was not held."""
        try:
            self._path(table).unlink()
        except FileNotFoundError:
            return False
        return True

    def held(self, table: str) -> Hold | None:
        try:
            return Hold.model_validate_json(self._path(table).read_text())
        except FileNotFoundError:
            return None

    def all(self) -> dict[str, Hold]:
        """Every held table, by name."""
        names = sorted(unquote(path.stem) for path in self.folder.glob("*.json"))
        return {name: hold for name in names if (hold := self.held(name)) is not None}

    def _path(self, table: str) -> Path:
        return self.folder / f"{quote(table, safe='')}.json"
