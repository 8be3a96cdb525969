"""Names of fields that cannot be names of columns: such fields go into ``_others``.

Invariant: nothing in the lake can be taken for what it is not. A field of the source that is called like
something the platform or Delta puts there itself never becomes a column.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import polars as pl

from cdc_platform.core.columns import JSON_SUFFIX, METADATA, OTHERS
from cdc_platform.core.logical import Path
from cdc_platform.core.schema import path_text
from cdc_platform.decode.extended import OWN_WRAPPERS
from cdc_platform.decode.misfits import parsed

_CHANGE_FEED: Final = frozenset({"_change_type", "_commit_version", "_commit_timestamp"})
"""Columns that Delta adds to a table's changes: a column of that name makes them unreadable."""
_ENGINE: Final = "__delta_rs_"
"""What deltalake 1.6 calls columns it merges with."""
_QUOTE: Final = "`"
"""deltalake 1.6 quotes names with it when it merges, and does not double the ones inside."""

_MARKS: Final = [
    f'{JSON_SUFFIX}"',
    f'"{OTHERS}"',
    '"":',
    '"" :',
    "\\u0000",
    *(f'"{x}"' for x in OWN_WRAPPERS),
]
"""In the text of every document that has a field of such a name."""


def no_column(name: str) -> str | None:
    """Why a field at the top of a document cannot be a column of the table, None if it can."""
    lower = name.lower()
    if lower in METADATA:
        return f"{name} is a column of the platform"
    if lower in _CHANGE_FEED or lower.startswith(_ENGINE):
        return f"{name} is a column that Delta itself makes"
    if _QUOTE in name:
        return f"{name} has a {_QUOTE}, which no name of a column may have"
    return None


def reserved(texts: pl.Series) -> dict[Path, str]:
    """Fields, at any level, named like something that is the platform's own, and those whose name no table
    can have; each with the reason."""
    suspects = texts.filter(texts.str.contains_any(_MARKS, ascii_case_insensitive=True))
    paths = {path for text in suspects for path in _reserved((), parsed(text))}
    return {path: f"{path_text(path)} is a name that no field of a table can have" for path in paths}


def _reserved(path: Path, value: Any) -> Iterator[Path]:
    if isinstance(value, list):
        for each in value:
            yield from _reserved((*path, None), each)
    elif isinstance(value, dict):
        for name, each in value.items():
            if _is_reserved(name):
                yield (*path, name)
            else:
                yield from _reserved((*path, name), each)


def _is_reserved(name: str) -> bool:
    lower = name.lower()
    ours = lower == OTHERS or lower.endswith(JSON_SUFFIX) or lower in OWN_WRAPPERS
    return ours or not name or "\0" in name
