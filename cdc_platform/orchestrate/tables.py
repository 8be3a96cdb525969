"""Which tables an operator's configuration means."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

import dagster as dg
from pydantic import Field

from cdc_platform.core.errors import Terminal
from cdc_platform.core.source import Source


class Tables(dg.Config):
    """Base of the configuration of jobs that work on some tables of a source."""

    tables: list[str] = Field(
        default=[], description="Tables, by the names of their collections. None named: all of the source's."
    )

    def of(self, source: Source) -> tuple[str, ...]:
        """The tables meant, in the source's order. Raises Terminal for a name that is not one of them."""
        return known(source, self.tables)


def known(source: Source, names: Sequence[str]) -> tuple[str, ...]:
    """``names`` in the source's order, all tables if none is named. Raises Terminal naming the known ones."""
    if strangers := [name for name in names if name not in source.collections]:
        close = [c for name in strangers for c in get_close_matches(name, source.collections, n=1)]
        hint = f"did you mean {', '.join(close)}? " if close else ""
        raise Terminal(
            f"source {source.name} has no table {', '.join(strangers)}",
            where="the run's configuration, tables",
            remedy=f"{hint}its tables are: {', '.join(source.collections)}",
        )
    return tuple(name for name in source.collections if not names or name in names)
