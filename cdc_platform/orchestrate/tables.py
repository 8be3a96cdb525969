"""Which tables an operator's configuration means, and work on one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches

import dagster as dg
from pydantic import Field

from cdc_platform.core.errors import CdcError, Terminal
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.platform import holds


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


Part = tuple[str, Callable[[], None]]
"""What to call a part of the work in messages, and the part."""


def one_by_one(
    context: dg.OpExecutionContext,
    source: Source,
    settings: Settings,
    names: Sequence[str],
    parts: Callable[[str], Iterable[Part]],
) -> None:
    """Do the parts of the work of each table that nobody holds back. One part's trouble is its own: the
    others are done, and the run fails at its end, naming those that could not be.
    """
    held = holds(settings, source).all()
    failed = []
    for name in names:
        if name in held:
            context.log.warning(f"{name} is held back and is left as it is: {held[name].reason}")
            continue
        for label, work in parts(name):
            try:
                work()
            except CdcError as error:
                context.log.error(f"{label}: {error}")
                failed.append(f"{label}: {error}")
    if failed:
        raise dg.Failure("\n".join(failed), allow_retries=False)
