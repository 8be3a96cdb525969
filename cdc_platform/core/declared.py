"""Types of columns as people declare them: ``double``, ``list<string>``, ``struct<a: long>``."""

from __future__ import annotations

import re
from typing import Final

import polars as pl

from cdc_platform.core.columns import UTC_MICROS
from cdc_platform.core.logical import TEXTS

_PLAIN: Final[dict[str, pl.DataType]] = {
    "double": pl.Float64(),
    "long": pl.Int64(),
    "string": pl.String(),
    "boolean": pl.Boolean(),
    "timestamp": UTC_MICROS,
    "binary": pl.Binary(),
    **{mark: pl.Struct({name: pl.String()}) for name, mark in TEXTS.items()},
}
_TOKEN: Final = re.compile(r"\s*([A-Za-z0-9_$]+|[<>,:])")


def column_type(text: str) -> pl.DataType:
    """The logical type. Raises ValueError, naming what can be written, for anything else."""
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != re.sub(r"\s", "", text) or not tokens:
        raise _unknown(text)
    tokens.reverse()
    found = _type(tokens, text)
    if tokens:
        raise _unknown(text)
    return found


def _type(tokens: list[str], text: str) -> pl.DataType:
    """``tokens``: what is left, the next one last."""
    name = _next(tokens, text)
    if name in _PLAIN:
        return _PLAIN[name]
    if name == "list":
        _expect("<", tokens, text)
        items = _type(tokens, text)
        _expect(">", tokens, text)
        return pl.List(items)
    if name == "struct":
        return _struct(tokens, text)
    raise _unknown(text)


def _struct(tokens: list[str], text: str) -> pl.Struct:
    fields = {}
    separator = _next(tokens, text)
    if separator != "<":
        raise _unknown(text)
    while separator != ">":
        name = _next(tokens, text)
        _expect(":", tokens, text)
        fields[name] = _type(tokens, text)
        separator = _next(tokens, text)
        if separator not in (",", ">"):
            raise _unknown(text)
    return pl.Struct(fields)


def _next(tokens: list[str], text: str) -> str:
    if not tokens:
        raise _unknown(text)
    return tokens.pop()


def _expect(token: str, tokens: list[str], text: str) -> None:
    if _next(tokens, text) != token:
        raise _unknown(text)


def _unknown(text: str) -> ValueError:
    return ValueError(f"{text!r} is no type: write {', '.join(_PLAIN)}, list<type> or struct<name: type, …>")
