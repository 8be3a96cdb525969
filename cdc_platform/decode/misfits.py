"""Values that have no place in their column, set aside where the policy says so, the rest left as it is.

Invariants
- Only documents that hold a misfit are written anew, all others keep their text.
- A value set aside leaves its field null and stands beside it, in the same document: ``price__json`` has the
  text of ``price``, ``_others`` the fields whose names cannot be columns. Nothing else is put there, so what
  a document had can be put together again.
- The text of a value set aside is that of the value as the document had it, also if parts of it were set
  aside before the whole was looked at.
- Python looks at documents one by one here, and nowhere else: only at those that name a contested field. It
  keeps no document, as many objects at once are slow.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import orjson
import polars as pl

from cdc_platform.core.columns import JSON_SUFFIX, OTHERS
from cdc_platform.core.logical import Path
from cdc_platform.decode.canonical import canonical_json
from cdc_platform.decode.fitting import Field, type_at
from cdc_platform.decode.splice import Splice

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


Spot = tuple[Path, int, Any]
"""A value: its field, the how-manieth object it is in of those that can have the field, in the document's
order, and what it is."""


def set_aside(texts: pl.Series, contested: Contested, table: pl.Schema) -> Found:
    """``table``: types that are settled. Documents with a field twice are left for the parser to refuse."""
    found = Found(texts)
    if not contested:
        return found
    whole = texts.to_list()
    written: dict[int, str] = {}
    for layer in _layers(contested):
        for row, spots in _misfits(whole, written, layer, contested, table, found):
            text = written.get(row, whole[row])
            original = whole[row] if row in written else None
            if (changed := _moved(text, spots, contested, original)) is not None:
                written[row] = changed
    if written:
        for row, text in written.items():
            whole[row] = text
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


def _layers(contested: Contested) -> Iterator[list[Path]]:
    """Fields that can be looked at together, as none is a part of another one.

    Names first: a field may have the very name that another's text is given. Then parts before wholes: a part
    that does not fit is set aside, and then the whole may fit.
    """
    unnameable = [path for path, why in contested.items() if why]
    if unnameable:
        yield [path for path in unnameable if not any(_is_part(path, other) for other in unnameable)]
    left = [path for path, why in contested.items() if not why]
    while left:
        layer = [path for path in left if not any(_is_part(other, path) for other in left)]
        yield layer
        left = [path for path in left if path not in layer]


def _is_part(path: Path, of: Path) -> bool:
    return len(path) > len(of) and path[: len(of)] == of


def _misfits(
    whole: list[str],
    written: Mapping[int, str],
    layer: list[Path],
    contested: Contested,
    table: pl.Schema,
    found: Found,
) -> Iterator[tuple[int, list[Spot]]]:
    """Rows with their values that do not fit, as they are now. Notes them in ``found``."""
    spots: list[tuple[Path, list[tuple[int, int, Any]]]] = [(path, []) for path in layer]
    for row in _naming(found.texts, layer):
        document = parsed(written.get(row, whole[row]))
        if document is None:
            continue
        for path, candidates in spots:
            if len(path) > 1:
                candidates += [(row, place, value) for place, value in _values(document, path)]
            elif (value := document.get(str(path[0]))) is not None:
                candidates.append((row, 0, value))
    misfits: defaultdict[int, list[Spot]] = defaultdict(list)
    for path, candidates in spots:
        unnameable = contested[path]
        judge = Field(type_at(table, path), (value for _, _, value in candidates), len(path))
        for row, place, value in candidates:
            if (why := unnameable or judge.misfit(value)) is not None:
                misfits[row].append((path, place, value))
                found.misfits.setdefault(row, (path, why))
                found.paths.add(path)
    return iter(misfits.items())


def _values(document: Document | None, path: Path) -> Iterator[tuple[int, Any]]:
    name = str(path[-1])
    for place, container in enumerate(_containers(document, path[:-1])):
        if (value := container.get(name)) is not None:
            yield place, value


def _containers(value: Any, steps: Path) -> Iterator[Document]:
    if not steps:
        if isinstance(value, dict):
            yield value
    elif steps[0] is None:
        for each in value if isinstance(value, list) else ():
            yield from _containers(each, steps[1:])
    elif isinstance(value, dict) and steps[0] in value:
        yield from _containers(value[steps[0]], steps[1:])


def _moved(text: str, spots: list[Spot], contested: Contested, original: str | None) -> str | None:
    """The text with these values set aside; None if it has a field twice.

    ``original``: the text as it came, if something was set aside already.
    """
    if original is None and not any(contested[path] for path, _, _ in spots):
        quick: str | None = text
        for path, _, value in spots:
            quick = quick and _splice(path).aside(quick, value)
        if quick is not None:
            return quick
    return None if has_field_twice(text) else _rewritten(text, spots, contested, original)


def _rewritten(text: str, spots: list[Spot], contested: Contested, original: str | None) -> str:
    document, source = parsed(text), parsed(original or text)
    assert document is not None
    others: dict[int, tuple[Document, Document]] = {}
    for path in dict.fromkeys(path for path, _, _ in spots):
        name, places = str(path[-1]), {place for each, place, _ in spots if each == path}
        # As the document had it: what was set aside from a part of the value is put back.
        values = dict(_values(source, path))
        for place, container in enumerate(list(_containers(document, path[:-1]))):
            if place not in places:
                continue
            del container[name]
            if contested[path]:
                others.setdefault(id(container), (container, {}))[1][name] = values[place]
            else:
                container[name + JSON_SUFFIX] = canonical_json(values[place])
    for container, fields in others.values():
        container[OTHERS] = canonical_json(fields)
    return json.dumps(document, separators=(",", ":"))


@lru_cache(maxsize=1024)
def _splice(path: Path) -> Splice:
    return Splice(str(path[-1]))


def _naming(texts: pl.Series, layer: list[Path]) -> list[int]:
    """Documents that may have one of the fields, by the text of its name."""
    names = {str(path[-1]) for path in layer}
    if "" in names:
        return list(range(len(texts)))
    # Which characters are escaped is for the writer to choose, so any escape may be one of such a name's.
    spelled = names if all(map(_PLAIN.fullmatch, names)) else names | {"\\"}
    return texts.str.contains_any(sorted(spelled)).arg_true().to_list()


_PLAIN: Final = re.compile(r"[ !#-.0-\[\]-~]+")
"""Names that no JSON writer escapes: of ASCII, without control characters, quotes and slashes."""
