"""The check ``schema_consistent``: changelog and current state have the same columns, and keep them.

Invariants
- Columns are compared with the fields inside of them, by their paths: the two tables by the types that are
  stored, a table with itself by its logical types, where an ObjectId is not the text that it is stored as.
- The current table may lack a column that only rows beyond its own offsets have a value in: it is behind, not
  wrong.
- What the last check saw of this very table is still there, with the same types. A table only gains columns,
  unless it was rebuilt since: then what it was rebuilt with is still there, by the types that are stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

import polars as pl

from cdc_platform.core.columns import METADATA
from cdc_platform.core.history import History, last_rebuilt
from cdc_platform.core.logical import Path, instance, is_wrapper, named
from cdc_platform.core.model import Handle, Kind
from cdc_platform.core.offsets import Stream
from cdc_platform.core.schema import path_text, values_at
from cdc_platform.verify.as_of import Opened
from cdc_platform.verify.finding import Check, Fact, Finding, Part, combined, failed, part, passed, unknown
from cdc_platform.verify.notes import Columns, Notes
from cdc_platform.verify.stretch import Place
from cdc_platform.verify.verdict import SHOWN_KEYS, Cause, Verdict

_CONTAINERS: Final = {pl.Struct: "object", pl.List: "list"}


def schema_consistent(
    table: str,
    changelog: Place,
    current: Place,
    stream: Stream,
    notes: Notes,
    now: datetime,
    *,
    anew: bool = False,
) -> Finding:
    """``now``: UTC, kept with what is seen. ``anew``: whatever an earlier check saw.

    Raises CdcError if a table cannot be opened.
    """
    # The notes first, then the current table, then its changelog: each may only be ahead of the one before.
    noted = {kind: notes.read(kind, Columns) for kind in Kind}
    known = {kind: note for kind, note in noted.items() if note and not anew}
    opened = Opened(current.table, current.table.open(stream))
    changes = Opened(changelog.table, changelog.table.open(stream))
    seen = {
        Kind.CHANGELOG: _noted(changelog, changes.handle, now),
        Kind.CURRENT: _noted(current, opened.handle, now),
    }
    looks = [
        part(lambda: _same(changes, opened)),
        part(lambda: _kept(Kind.CHANGELOG, changelog.history, changes, seen, known)),
        part(lambda: _kept(Kind.CURRENT, current.history, opened, seen, known)),
    ]
    finding = combined(table, Check.SCHEMA_CONSISTENT, looks)
    if finding.verdict is not Verdict.FAIL:
        for kind, note in seen.items():
            notes.keep(kind, note)
    return finding


def _noted(place: Place, handle: Handle, now: datetime) -> Columns:
    identity = place.history.identity()
    columns = _named_fields(handle.logical)
    return Columns(identity=identity, version=handle.version, taken_at=now, columns=columns)


def _named_fields(schema: pl.Schema) -> dict[str, str]:
    return {path_text(path): dtype for path, dtype in _fields_of(schema).items()}


def _fields_of(schema: pl.Schema) -> dict[Path, str]:
    """Every field of a table, nested ones too, with the name of its type."""
    return {path: dtype for name, each in schema.items() for path, dtype in _fields((name,), instance(each))}


def _fields(path: Path, dtype: pl.DataType) -> Iterator[tuple[Path, str]]:
    """A field and those inside of it."""
    yield path, named(dtype) if is_wrapper(dtype) else _CONTAINERS.get(type(dtype), str(dtype))
    if isinstance(dtype, pl.List):
        yield from _fields((*path, None), instance(dtype.inner))
    elif isinstance(dtype, pl.Struct) and not is_wrapper(dtype):
        for each in dtype.fields:
            yield from _fields((*path, each.name), instance(each.dtype))


def _same(changelog: Opened, current: Opened) -> Part:
    in_changelog, in_current = _fields_of(changelog.handle.schema), _fields_of(current.handle.schema)
    shared = in_changelog.keys() & in_current.keys()
    wrong = [
        f"{path_text(path)} is {in_changelog[path]} in the changelog and {in_current[path]} in the current "
        "table"
        for path in shared
        if in_changelog[path] != in_current[path]
    ]
    wrong += [f"{path_text(path)} is in the current table alone" for path in in_current.keys() - shared]
    lacking = in_changelog.keys() - shared
    late = {path for path in lacking if not _has_value(changelog, current, path)}
    wrong += [f"{path_text(path)} is in the changelog alone" for path in lacking - late]
    facts = (Fact("changelog_columns", len(in_changelog)), Fact("current_columns", len(in_current)))
    if wrong:
        return failed(f"Columns differ: {_listed(wrong)}.", *facts)
    coming = f" {len(late)} more have no value in a merged row yet." if late else ""
    fields = len(in_current.keys() - {(name,) for name in METADATA})
    return passed(f"Changelog and current table have the same {fields} fields and types.{coming}", *facts)


def _has_value(changelog: Opened, current: Opened, path: Path) -> bool:
    """Whether a row that the current table has merged has a value in this field."""
    assert path[0] is not None
    merged = changelog.rows(current.handle.offsets).select(path[0]).filter(pl.col(path[0]).is_not_null())
    return any(
        values_at(batch, path).null_count() < len(values_at(batch, path))
        for batch in merged.collect_batches()
    )


def _kept(
    kind: Kind, history: History, opened: Opened, seen: Mapping[Kind, Columns], known: Mapping[Kind, Columns]
) -> Part:
    """Raises CdcError if the past of a table that lacks columns cannot be read."""
    now, before = seen[kind], known.get(kind)
    if before is None:
        return passed(f"No check has seen the {kind} table's columns before.")
    if before.identity != now.identity:
        return unknown(
            Cause.FIRST_LOOK,
            f"The {kind} table is another one than the last check saw: its columns are compared from now on.",
        )
    seen_at = f"version {before.version}, {before.taken_at:%Y-%m-%d %H:%M:%S} UTC"
    wrong = _lost(before.columns, now.columns)
    if not wrong:
        return passed(f"The {kind} table has kept its {len(before.columns)} columns since {seen_at}.")
    rebuilt = last_rebuilt(history.commits(before.version, now.version))
    if rebuilt is None:
        return _not_kept(kind, f"since {seen_at}", wrong)
    # How they are stored: what more was known of them then, nobody tells.
    then = _named_fields(history.rows(rebuilt).collect_schema())
    if lost := _lost(then, _named_fields(opened.handle.schema)):
        return _not_kept(kind, f"since version {rebuilt}, which rebuilt it", lost)
    return passed(
        f"The {kind} table was rebuilt in version {rebuilt}, with other columns than in {seen_at} "
        f"({_listed(wrong)}), and has kept them."
    )


def _lost(before: Mapping[str, str], present: Mapping[str, str]) -> list[str]:
    """Columns that are gone or have another type, in words."""
    return [f"{name} is gone" for name in before.keys() - present.keys()] + [
        f"{name} was {dtype} and is {present[name]}"
        for name, dtype in before.items()
        if present.get(name, dtype) != dtype
    ]


def _not_kept(kind: Kind, since: str, wrong: list[str]) -> Part:
    return failed(
        f"The {kind} table has not kept its columns {since}: {_listed(wrong)}. To accept them as they are: "
        "cdc verify --begin-anew."
    )


def _listed(wrong: list[str]) -> str:
    more = f"; and {len(wrong) - SHOWN_KEYS} more" if len(wrong) > SHOWN_KEYS else ""
    return "; ".join(sorted(wrong)[:SHOWN_KEYS]) + more
