"""Upkeep of a source's lake tables: few files in place of many, and none that no version needs.

Invariants
- No row and no offset changes, writers and readers go on meanwhile (``lake.*.upkeep``).
- Each lake table is a part of its own, in each format: what becomes of one says nothing of another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from cdc_platform.core.errors import Conflict
from cdc_platform.core.model import Contents, Format, Kind
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.platform import lake_of, table_name

T = TypeVar("T")

_CONTENTS: Final[tuple[Contents, ...]] = (*Kind, "dead_letters", "schemas")


@dataclass(frozen=True, slots=True)
class Part:
    """One lake table of a collection, in one format."""

    source: Source
    collection: str
    contents: Contents
    format: Format

    @property
    def label(self) -> str:
        """For messages: ``orders (changelog, delta)``."""
        return f"{self.collection} ({self.contents.replace('_', ' ')}, {self.format})"


@dataclass(frozen=True, slots=True)
class Work:
    """``compact``: make few files of many. ``clean_hours``: remove what no version of so many hours needs;
    None for nothing."""

    compact: bool
    clean_hours: float | None


@dataclass(frozen=True, slots=True)
class Kept:
    """What was done. None for what was not asked for; ``removed``: files."""

    files_before: int | None = None
    files_after: int | None = None
    removed: int | None = None


def parts(source: Source, collection: str) -> Iterator[Part]:
    """All that a collection may have in the lake."""
    for stored in source.formats_of(collection):
        for contents in _CONTENTS:
            yield Part(source, collection, contents, stored)


def keep_up(settings: Settings, part: Part, work: Work) -> Kept | None:
    """Do the work; None if there is no such table.

    Raises Conflict if writers were in the way again and again, Transient if the table cannot be read or
    written.
    """
    lake = lake_of(settings, part.format)
    name = table_name(part.source, part.collection, part.contents)
    if not lake.table(name, part.contents).exists():
        return None
    compacted = patiently(lambda: lake.compact(name)) if work.compact else None
    hours = work.clean_hours
    removed = None if hours is None else patiently(lambda: lake.clean(name, hours))
    if compacted is None:
        return Kept(removed=removed)
    return Kept(compacted.files_before, compacted.files_after, removed)


def patiently(keep: Callable[[], T]) -> T:
    """Do it, again after a Conflict, ten times at most.

    Writers commit every second; between two of their commits there is room for one of upkeep's.
    """
    return Retrying(
        retry=retry_if_exception_type(Conflict),
        stop=stop_after_attempt(10),
        wait=wait_random_exponential(multiplier=0.2, max=5),
        reraise=True,
    )(keep)
