"""Values that have no place in their column, set aside where the policy says so, the rest left as it is.

Invariants
- Only documents that hold a misfit are written anew, all others keep their text.
- A value set aside leaves its field null and stands beside it, in the same document: ``price__json`` has the
  text of ``price``, ``_others`` the fields whose names cannot be columns. Nothing else is put there, so what
  a document had can be put together again.
- Python looks at documents one by one here, and nowhere else: only at those that name a contested field.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import polars as pl

from cdc_platform.core.columns import JSON_SUFFIX, OTHERS
from cdc_platform.core.logical import Path
from cdc_platform.decode.canonical import canonical_json
from cdc_platform.decode.fitting import Field, type_at

Document = dict[str, Any]

Contested = Mapping[Path, str]
"""Fields to look at value by value → why their name cannot be a column's, or an empty text."""


@dataclass(slots=True)
class Found:
    """``misfits``: path and reason of the first misfit of each document that has one, by row.

    ``texts``: the documents with their misfits set aside. ``paths``: the contested fields that had any.
    """

    texts: pl.Series
    misfits: dict[int, tuple[Path, str]] = field(default_factory=dict)
    paths: set[Path] = field(default_factory=set)


def set_aside(texts: pl.Series, contested: Contested, table: pl.Schema) -> Found:
    """``table``: types that are settled. Documents with a field twice are left for the parser to refuse."""
    if not contested:
        return Found(texts)
    documents = {row: document for row in _naming(texts, contested) if (document := parsed(texts[row]))}
    found = Found(texts)
    moves: dict[int, _Moves] = {}
    # Names first: a field may have the very name that another's text is given. Then the deepest: a part that
    # does not fit is set aside before the whole is looked at.
    for path in sorted(contested, key=lambda path: (not contested[path], -len(path))):
        for row, container, why in _misfits(documents, path, contested[path], table):
            found.misfits.setdefault(row, (path, why))
            found.paths.add(path)
            moves.setdefault(row, _Moves()).move(container, str(path[-1]), beside=not contested[path])
    if moves:
        whole = texts.to_list()
        for row, moved in moves.items():
            if not has_field_twice(whole[row]):
                moved.finish()
                whole[row] = json.dumps(documents[row], separators=(",", ":"))
        found.texts = pl.Series(texts.name, whole, dtype=pl.String)
    return found


def parsed(text: str) -> Document | None:
    """The document of a text, None if it is none."""
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:  # NaN and Infinity are not JSON
        try:
            document = json.loads(text)
        except json.JSONDecodeError:
            return None
    return document if isinstance(document, dict) else None


def has_field_twice(text: str) -> bool:
    """True if an object of a JSON text has two fields of one name."""
    twice = False

    def pairs(fields: list[tuple[str, Any]]) -> Document:
        nonlocal twice
        document = dict(fields)
        twice = twice or len(document) < len(fields)
        return document

    json.loads(text, object_pairs_hook=pairs)
    return twice


def _misfits(
    documents: Mapping[int, Document], path: Path, unnameable: str, table: pl.Schema
) -> list[tuple[int, Document, str]]:
    name = str(path[-1])
    spots = [
        (row, container)
        for row, document in documents.items()
        for container in _containers(document, path[:-1])
        if container.get(name) is not None
    ]
    if unnameable:
        return [(row, container, unnameable) for row, container in spots]
    judge = Field(type_at(table, path), (container[name] for _, container in spots))
    return [
        (row, container, why)
        for row, container in spots
        if (why := judge.misfit(container[name])) is not None
    ]


def _containers(value: Any, steps: Path) -> Iterator[Document]:
    if not steps:
        if isinstance(value, dict):
            yield value
    elif steps[0] is None:
        for each in value if isinstance(value, list) else ():
            yield from _containers(each, steps[1:])
    elif isinstance(value, dict) and steps[0] in value:
        yield from _containers(value[steps[0]], steps[1:])


class _Moves:
    """Of one document: which fields were set aside from which of its parts."""

    def __init__(self) -> None:
        self._beside: dict[int, list[tuple[str, Any]]] = {}
        self._others: dict[int, tuple[Document, Document]] = {}

    def move(self, container: Document, name: str, *, beside: bool) -> None:
        value = self._restored(container.pop(name))
        if beside:
            container[f"{name}{JSON_SUFFIX}"] = canonical_json(value)
            self._beside.setdefault(id(container), []).append((name, value))
        else:
            self._others.setdefault(id(container), (container, {}))[1][name] = value

    def finish(self) -> None:
        for container, others in self._others.values():
            if others:
                container[OTHERS] = canonical_json(others)

    def _restored(self, value: Any) -> Any:
        """A value as the document had it, with what was set aside from its parts put back."""
        if isinstance(value, list):
            for each in value:
                self._restored(each)
        elif isinstance(value, dict):
            for name, inner in self._beside.pop(id(value), []):
                del value[f"{name}{JSON_SUFFIX}"]
                value[name] = inner
            value.update(self._others.pop(id(value), (value, {}))[1])
            for each in value.values():
                self._restored(each)
        return value


def _naming(texts: pl.Series, contested: Contested) -> list[int]:
    """Documents that may have one of the fields, by the text of its name."""
    names = {str(path[-1]) for path in contested}
    if "" in names:
        return list(range(len(texts)))
    spelled = names | {json.dumps(name)[1:-1] for name in names}
    return texts.str.contains_any(sorted(spelled)).arg_true().to_list()
