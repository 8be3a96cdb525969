"""The declared sources, and the ones a command is about."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cdc_platform.cli.environment import unknown
from cdc_platform.cli.failures import UsageError
from cdc_platform.core.errors import Terminal
from cdc_platform.core.source import Source
from cdc_platform.platform import SOURCES, load_sources


def chosen(folder: Path | None, name: str | None) -> list[Source]:
    """The source of that name, or all. Raises UsageError for an unknown one, Terminal if none is declared."""
    folder = folder or SOURCES
    declared = load_sources(folder)
    if not declared:
        remedy = "declare one: <name>/defs.yaml in that folder"
        raise Terminal("no source is declared", where=str(folder), remedy=remedy)
    if name is None:
        return list(declared.values())
    if name not in declared:
        raise unknown("source", name, list(declared), where=str(folder))
    return [declared[name]]


def only(folder: Path | None, name: str | None, tables: Iterable[str] = ()) -> Source:
    """The source of that name; without one the only one there is, or the only one that has these tables."""
    found = chosen(folder, name)
    wanted = set(tables)
    if len(having := [source for source in found if wanted and wanted <= set(source.collections)]) == 1:
        return having[0]
    if len(found) > 1:
        names = ", ".join(source.name for source in found)
        raise UsageError("which source?", where=str(folder or SOURCES), remedy=f"name one of: {names}")
    return found[0]


def table_of(source: Source, name: str) -> str:
    """A table of the source by its name. Raises UsageError with the known ones."""
    if name not in source.collections:
        raise unknown("table", name, list(source.collections), where=f"source {source.name}")
    return name
