"""Cron expressions: minute, hour, day of the month, month, day of the week; or a shorthand as ``@daily``."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import StringConstraints


def _field(value: str) -> str:
    """``*``, values, ranges, steps, and lists of these."""
    part = rf"(\*|({value})(-({value}))?)(/[1-9]\d?)?"
    return f"{part}(,{part})*"


_FIELDS: Final = (
    r"[0-5]?\d",
    r"1?\d|0\d|2[0-3]",
    r"0?[1-9]|[12]\d|3[01]",
    r"0?[1-9]|1[0-2]|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec",
    r"[0-7]|sun|mon|tue|wed|thu|fri|sat",
)

PATTERN: Final = rf"^(@(hourly|daily|weekly|monthly)|{' '.join(map(_field, _FIELDS))})$"

Cron = Annotated[str, StringConstraints(pattern=PATTERN)]
