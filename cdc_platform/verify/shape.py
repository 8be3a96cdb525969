"""What a source's catalog says of a table, and how the lake's columns stand for the table's.

Invariants
- The columns that the source has are compared, by their own names. A column that the lake has beyond those,
  as one that was dropped keeps what it held, is no part of the row; ``beyond`` names it.
- A column whose type was changed lies in the lake under several names, ``price`` and ``price__v2``: a row has
  its value in one of them. Where two have one, the row equals no other.
- Documents have whatever fields they have.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from cdc_platform.core.columns import JSON_SUFFIX, METADATA

_VERSION: Final = re.compile(r"__v[1-9]\d*$")


class Text(StrEnum):
    """What a text of a column is, where the lake keeps one."""

    ITSELF = "text"
    DECIMAL = "decimal"
    MOMENT = "moment"


@dataclass(frozen=True, slots=True)
class Shape:
    """``columns``: of the source's table; None: documents. ``keyed``: whether it has a key, without which
    there is no current state. ``remarks``: sentences that belong to a difference.
    """

    columns: Mapping[str, Text] | None = None
    keyed: bool = True
    remarks: tuple[str, ...] = ()

    def called(self, renamed: Mapping[str, str]) -> Shape:
        """By the names that the lake has for columns that were renamed in the source."""
        columns = {renamed.get(name, name): text for name, text in (self.columns or {}).items()}
        return replace(self, columns=columns)

    def field(self, column: str) -> str | None:
        """The source's name of a lake column; None: it has no such column."""
        if column in METADATA:
            return None
        if self.columns is None or column in self.columns:
            return column
        earlier = _VERSION.sub("", column.removesuffix(JSON_SUFFIX))
        return earlier if earlier in self.columns else None

    def is_beside(self, column: str) -> bool:
        """Whether a lake column has, as JSON, the values that do not fit the column beside it."""
        return self.columns is not None and column not in self.columns and column.endswith(JSON_SUFFIX)

    def text(self, field: str) -> Text:
        """What the texts of a source's column are."""
        return Text.ITSELF if self.columns is None else self.columns.get(field, Text.ITSELF)

    def beyond(self, columns: Iterable[str]) -> list[str]:
        """The lake's columns that the source does not have (any more)."""
        return sorted(name for name in columns if name not in METADATA and self.field(name) is None)


DOCUMENTS: Final = Shape()
