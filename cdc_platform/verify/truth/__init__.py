"""The truth: what a source's table holds, read from its database itself.

Independent on purpose: nothing here is shared with the code that decodes events, so that one mistake cannot
hide itself by being made on both sides. What is shared is the canonical form (``core.digest``).

Invariants
- Every reading of one position sees the same rows, while writers go on.
- Rows are streamed: one batch is held at a time. Every wait is bounded.
- Values take the shape the lake keeps them in (each engine's module says which).
- What can no longer be read as of the position is an error, never an empty table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from datetime import timedelta
from typing import Final, Protocol

from cdc_platform.core.errors import Terminal
from cdc_platform.verify.position import SourcePosition
from cdc_platform.verify.shape import Shape

MARKER_LIFE: Final = timedelta(hours=1)
"""A marker is needed for the minutes of one proof; older ones are removed when the next is written."""


class NotByKey(Terminal):
    """Rows of the table cannot be asked for by the text of their keys: it has to be read as a whole."""


class Truth(Protocol):
    """A table that can be read at a position. Every method may raise Unprovable."""

    def position(self) -> SourcePosition:
        """The newest position that can be read. It can be read until the next call, or ``close``."""
        ...

    def shape(self) -> Shape:
        """What the source says of the table at the last position."""
        ...

    def digests(self, at: SourcePosition, buckets: Set[int] | None = None) -> Iterator[tuple[str, int]]:
        """Key text and row digest of every row at that position, or of those in ``buckets``, in any order."""
        ...

    def of_keys(self, at: SourcePosition, keys: Set[str]) -> Iterator[tuple[str, int]]:
        """The same of the rows with these keys, and few others; a row may come twice.

        Raises NotByKey where a text does not say for certain which row it means.
        """
        ...

    def rows(self, at: SourcePosition) -> int:
        """How many there are at that position, as the database itself counts them."""
        ...

    def ground(self) -> str | None:
        """What ``changed`` asks for at a later position; None: this source does not tell what has changed."""
        ...

    def changed(self, at: SourcePosition, ground: str) -> frozenset[str] | None:
        """Keys of all rows at that position that were not there, as they are now, when the ground was
        remembered; of other rows some. None: the source cannot tell that any more.

        Says nothing of rows that are gone.
        """
        ...

    def cells(self, at: SourcePosition, keys: Set[str]) -> Mapping[str, Mapping[str, str]]:
        """Of the rows with these keys, each column's canonical text, ``{}`` without a value; of documents
        nothing."""
        ...

    def mark(self, marker: str) -> None:
        """Write a marker that the connector captures; when it is seen, all that came before it has been
        sent."""
        ...

    def close(self) -> None:
        """Let go of what is held in the source. The truth may be used again."""
        ...
