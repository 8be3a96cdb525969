"""What a check remembers for the next one: small files beside the lake.

Invariants
- A note says what was *verified*: it is only written by a check that found nothing wrong, so a fault stays
  visible until it is mended and is not the next check's starting point.
- A note names the very table it is about. One about another table is no ground to stand on.
- Notes lie in the lake's folder, not in the tables': a table that is moved back, removed or made anew does
  not take them along, and whoever has the lake has them, with or without Dagster.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, ValidationError

from cdc_platform.core.digest import BucketDigest
from cdc_platform.core.errors import Terminal
from cdc_platform.core.model import Format, Kind

M = TypeVar("M", bound=BaseModel)


class Anchor(BaseModel):
    """A table's whole content at a version: rows and sum of row digests for each of 256 buckets."""

    model_config = ConfigDict(frozen=True)

    identity: str
    version: int
    taken_at: datetime
    counts: tuple[int, ...]
    sums: tuple[int, ...]

    def digest(self) -> BucketDigest:
        """A copy to count on from."""
        return BucketDigest(list(self.counts), list(self.sums))


class Extent(BaseModel):
    """How much a changelog held at a version: partition → rows, and the sum of their offsets modulo 2**64."""

    model_config = ConfigDict(frozen=True)

    identity: str
    version: int
    taken_at: datetime
    partitions: dict[int, tuple[int, int]]


class Columns(BaseModel):
    """The columns a check saw, nested fields too, each by its path with its type."""

    model_config = ConfigDict(frozen=True)

    identity: str
    version: int
    taken_at: datetime
    columns: dict[str, str]


class Reading(BaseModel):
    """A position of the source, ``at``, its time there, and when it was read (both UTC)."""

    model_config = ConfigDict(frozen=True)

    at: str
    source_time: datetime
    taken_at: datetime


class Proven(BaseModel):
    """What the last proof that passed compared, and where the next one may begin.

    ``identity``, ``version``: of the current table. ``rows``: its rows at that version. ``stream``: of its
    topic. ``since``: offsets of the topic before the proof's position was taken; every event below them had
    been seen. ``shape``: of the source's table. ``last``: the proof's position. ``whole``: that of the last
    one that read all rows. ``through``: that up to which the whole table is proven. ``ground``: what the
    source needs to tell what has changed since then. ``doubted``: a later proof that read all rows has
    failed.
    """

    model_config = ConfigDict(frozen=True)

    identity: str
    version: int
    rows: int
    stream: str
    since: dict[int, int]
    shape: str
    last: Reading
    whole: Reading
    through: Reading
    ground: str | None = None
    doubted: bool = False


@dataclass(frozen=True, slots=True)
class Notes:
    """Of one table in one format. ``folder``: of its source; made with the first note."""

    folder: Path
    table: str
    format: Format = Format.DELTA

    def read(self, kind: Kind, note: type[M]) -> M | None:
        """The note of that kind of the changelog or the current table; None if no check has left one.

        Raises Terminal if there is one that cannot be read.
        """
        path = self._path(kind, note)
        try:
            return note.model_validate_json(path.read_text())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise Terminal(
                f"the note of the last check cannot be read: {error}",
                where=str(path),
                remedy="remove the file: the next check starts from what it finds",
            ) from error

    def keep(self, kind: Kind, note: BaseModel) -> None:
        """In place of the one before; a reader sees the old or the new, never half of it."""
        path = self._path(kind, type(note))
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{threading.get_native_id()}")
        draft.write_text(note.model_dump_json())
        draft.replace(path)

    def _path(self, kind: Kind, note: type[BaseModel]) -> Path:
        name = f"{quote(self.table, safe='')}.{self.format}.{kind}.{note.__name__.lower()}"
        return self.folder / f"{name}.json"
