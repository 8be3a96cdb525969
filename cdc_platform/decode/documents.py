"""A batch of documents as columns that fit their table, whatever is in them.

Read as one block. Where that does not work, the fields it does not work for become *contested*: they are
looked at value by value, what does not fit is dealt with as the policy says, and the block is read again.

Invariants
- Every document becomes a row, or is refused with its reason. No value is lost: it is in its field's column,
  or in ``field__json`` or ``_others`` beside it, or in the refused event.
- The columns fit the table (``core.schema``): at the gate before the commit there is nothing left to refuse.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import polars as pl
import pyarrow as pa

from cdc_platform.core.columns import JSON_SUFFIX
from cdc_platform.core.logical import Path
from cdc_platform.core.model import Policy
from cdc_platform.core.schema import compare, first_offender, inexact, path_text
from cdc_platform.decode.columnar import Columns, read_columns
from cdc_platform.decode.depth import TEXT_LEVELS, too_deep
from cdc_platform.decode.extended import Clash
from cdc_platform.decode.lines import NOTHING, Unreadable, parse_as
from cdc_platform.decode.misfits import Contested, has_field_twice, parsed, set_aside
from cdc_platform.decode.names import no_column, reserved
from cdc_platform.decode.refusal import Refusal, sift

_ONE_TYPE: Final = (
    "give the field one type in all documents of the source, or let the source keep what does not fit "
    "(values: json), then replay the event"
)
_SAMPLE: Final = 1_000
_NO_DOCUMENT: Final = "let only Debezium's MongoDB connector write to this topic"


@dataclass(frozen=True, slots=True)
class Layout:
    """How the last batch's documents were laid out. Losing it costs one slower batch, nothing else."""

    schema: pa.Schema = NOTHING
    contested: Contested = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Documents:
    """``frame``: a column a top-level field, for the documents at ``rows``. ``refused``: the others."""

    frame: pl.DataFrame
    rows: list[int]
    refused: tuple[Refusal, ...]
    layout: Layout


def read_documents(texts: pl.Series, table: pl.Schema, policy: Policy, layout: Layout) -> Documents:
    """``texts``: extended JSON without nulls. ``table``: the table's columns, by their logical types."""
    batch = _Batch(texts, list(range(len(texts))), dict(layout.contested))
    batch.refuse_deep()
    batch.contested |= reserved(batch.texts)
    while True:
        found = set_aside(batch.texts, batch.contested, table)
        if policy is not Policy.JSON and found.misfits:
            batch.refuse_misfits(found.misfits)
            continue
        read = read_columns(found.texts, layout.schema)
        if isinstance(read, Columns):
            clashes = dict(_clashes(read.frame, table))
            if not clashes:
                used = {path: why for path, why in batch.contested.items() if path in found.paths}
                return Documents(read.frame, batch.rows, tuple(batch.refused), Layout(read.layout, used))
            if not batch.contest(clashes):
                batch.refuse_first(found.texts, layout.schema, table)
        elif isinstance(read, Unreadable) and read.column is None:
            batch.refuse_unreadable(found.texts, read.reason)
        else:
            paths = [read.path] if isinstance(read, Clash) else _paths(read.column or "", found.texts)
            if any(batch.contest({path: ""}) for path in paths):
                batch.contest_more(table, layout)
            else:
                batch.refuse_first(found.texts, layout.schema, table)


@dataclass(slots=True)
class _Batch:
    """What is still to be read: texts, and the rows they came from."""

    texts: pl.Series
    rows: list[int]
    contested: dict[Path, str]
    refused: list[Refusal] = field(default_factory=list)

    def contest(self, clashes: Contested) -> bool:
        """Look at these fields value by value; False if all of them are already."""
        before = dict(self.contested)
        for path, why in clashes.items():
            while path[-1] is None:
                path = path[:-1]  # noqa: PLW2901  (beside the items of a list there is no place)
            # A field of this name is ours here: two fields differ only in case, and neither fits.
            path = (*path[:-1], path[-1].removesuffix(JSON_SUFFIX))  # noqa: PLW2901
            self.contested[path] = why or self.contested.get(path, "")
        return self.contested != before

    def contest_more(self, table: pl.Schema, layout: Layout) -> None:
        """Where one field does not work, others may not either: a few documents soon tell which."""
        if len(self.texts) > 2 * _SAMPLE:
            known = Layout(layout.schema, self.contested)
            sample = self.texts.sample(_SAMPLE, seed=0)
            self.contested |= read_documents(sample, table, Policy.JSON, known).layout.contested

    def refuse_deep(self) -> None:
        reason = f"the document nests deeper than {TEXT_LEVELS} levels"
        self._drop(dict.fromkeys(too_deep(self.texts), reason))

    def refuse_misfits(self, misfits: dict[int, tuple[Path, str]]) -> None:
        faults = {
            at: f"field {path_text(path)} does not fit: {reason}" for at, (path, reason) in misfits.items()
        }
        self._drop(faults, schema=True)

    def refuse_unreadable(self, texts: pl.Series, reason: str) -> None:
        def fault(start: int, stop: int) -> str | None:
            # No field is looked at, so this is about each text by itself.
            parsed = parse_as(texts[start:stop], NOTHING, others="ignore")
            return parsed.reason if isinstance(parsed, Unreadable) else None

        faults = dict(sift(len(texts), fault))
        if not faults:
            faults = {at: reason for at, text in enumerate(texts) if has_field_twice(text)}
        self._drop(faults or {_first(texts, NOTHING, pl.Schema()): reason})

    def refuse_first(self, texts: pl.Series, hint: pa.Schema, table: pl.Schema) -> None:
        """The first document that does not go with those before it, for no reason that a field's value
        tells.
        """
        at = _first(texts, hint, table)
        upto = read_columns(texts.head(at + 1), hint)
        reason = "its fields do not go together" if isinstance(upto, Columns) else upto.reason
        self._drop({at: reason}, schema=True)

    def _drop(self, faults: dict[int, str], *, schema: bool = False) -> None:
        if not faults:
            return
        remedy = _ONE_TYPE if schema else _NO_DOCUMENT
        self.refused += [
            Refusal(self.rows[at], reason, remedy, schema=schema) for at, reason in faults.items()
        ]
        kept = [at for at in range(len(self.rows)) if at not in faults]
        self.texts, self.rows = self.texts[kept], [self.rows[at] for at in kept]


def _first(texts: pl.Series, hint: pa.Schema, table: pl.Schema) -> int:
    def fits(count: int) -> bool:
        read = read_columns(texts.head(count), hint)
        return isinstance(read, Columns) and not dict(_clashes(read.frame, table))

    return first_offender(len(texts), fits)


def _clashes(frame: pl.DataFrame, table: pl.Schema) -> Iterator[tuple[Path, str]]:
    """Fields that cannot be columns of the table, with the reason if it is their name."""
    unnameable = {name: reason for name in frame.columns if (reason := no_column(name))}
    for name, reason in unnameable.items():
        yield (name,), reason
    frame = frame.drop(unnameable)  # the table may have a column of that name, of another type
    evolution, conflicts = compare(table, frame.schema)
    for conflict in conflicts or inexact(frame, evolution.schema):
        yield conflict.path, conflict.what if conflict.by_name else ""


def _paths(column: str, texts: pl.Series) -> Iterator[Path]:
    """What the parser's path of a field may mean: names with a slash or brackets make it ambiguous."""
    first, *inner = column.removeprefix("/").split("/")
    yield (first, *(None if step == "[]" else step for step in inner))
    for text in texts:
        yield from _leading((), parsed(text), column)


def _leading(path: Path, value: Any, column: str) -> Iterator[Path]:
    """The paths in a value that the parser would write as ``column``."""
    if not column:
        yield path
    elif isinstance(value, dict):
        for name, each in value.items():
            if f"{column}/".startswith(f"/{name}/"):
                yield from _leading((*path, name), each, column[len(name) + 1 :])
    elif isinstance(value, list) and f"{column}/".startswith("/[]/"):
        for each in value:
            yield from _leading((*path, None), each, column[3:])
