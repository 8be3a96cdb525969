"""A table of the lake by its names, as declared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cdc_platform.core.errors import Terminal
from cdc_platform.core.model import Format, Kind
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.platform import SOURCES, lake_of, lake_table, load_sources, table_name
from cdc_platform.reading.table import Changelog, Stored, Table


def open_table(
    source: str | Source,
    table: str,
    *,
    format: Format | str | None = None,
    settings: Settings | None = None,
    sources: Path = SOURCES,
) -> Table:
    """A table of a source, in one of the formats that it is stored in.

    ``source``: its name, declared in ``<sources>/*/defs.yaml``, or the declaration itself. ``format``: delta
    or iceberg; without it, the first one declared. ``settings``: where the lake is; without it, by the
    environment (``CDC_*``). Nothing is read yet: a table that does not exist is found out by its first
    reader. Raises Terminal for names that are not declared.
    """
    settings = settings or Settings()
    declared = source if isinstance(source, Source) else _declared(sources, source)
    if table not in declared.collections:
        raise _unknown("table", table, declared.collections, where=f"source {declared.name}")
    formats = declared.formats_of(table)
    chosen = formats[0] if format is None else format
    if chosen not in formats:
        raise _unknown("format", str(chosen), formats, where=f"source {declared.name}, table {table}")
    kept = Format(chosen)
    past = lake_of(settings, kept).history
    return Table(
        table,
        Stored(
            lake_table(settings, declared, table, Kind.CURRENT, kept),
            past(table_name(declared, table, Kind.CURRENT)),
        ),
        Changelog(
            lake_table(settings, declared, table, Kind.CHANGELOG, kept),
            past(table_name(declared, table, Kind.CHANGELOG)),
        ),
    )


def _declared(folder: Path, name: str) -> Source:
    found = load_sources(folder)
    if name not in found:
        raise _unknown("source", name, list(found), where=str(folder))
    return found[name]


def _unknown(kind: str, name: str, known: Sequence[str], *, where: str) -> Terminal:
    return Terminal(
        f"there is no {kind} {name!r}",
        where=where,
        remedy=f"name one of: {', '.join(known) or '(none is declared)'}",
    )
