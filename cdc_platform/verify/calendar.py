"""Days and moments of the proleptic Gregorian calendar as ISO 8601 text and back, in any year."""

from __future__ import annotations

import re
from datetime import date
from typing import Final

from cdc_platform.core.scalars import Moment

_DAY: Final = 86_400_000_000
_CYCLE: Final = 146_097
"""Days of 400 years, after which the calendar repeats itself."""
_EPOCH: Final = date(1970, 1, 1).toordinal()
_ISO: Final = re.compile(r"([+-]?\d{4,})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?Z")


def moment_of(text: str) -> Moment | str:
    """``+10000-01-01T00:00:00.000000Z``; what is no time is given back as it is."""
    if not (found := _ISO.fullmatch(text)):
        return text
    year, month, day, hour, minute, second = map(int, found.groups()[:6])
    seconds = (hour * 60 + minute) * 60 + second
    micros = int((found[7] or "").ljust(6, "0"))
    try:
        return Moment(_days(year, month, day) * _DAY + seconds * 1_000_000 + micros)
    except ValueError:  # a 31st of February
        return text


def day_text(days: int) -> str:
    """``2026-11-21``, from days since 1970; years beyond 9999 have a sign, as ISO 8601 has it."""
    cycles, inside = divmod(days + _EPOCH - 1, _CYCLE)
    found = date.fromordinal(inside + 1)
    year = found.year + 400 * cycles
    sign = "+" if year > 9999 else "-" if year < 0 else ""
    return f"{sign}{abs(year):04}-{found:%m-%d}"


def moment_text(micros: int) -> str:
    """``2026-11-21T12:34:56.789012``, from microseconds since 1970."""
    days, rest = divmod(micros, _DAY)
    seconds, fraction = divmod(rest, 1_000_000)
    minutes, second = divmod(seconds, 60)
    return f"{day_text(days)}T{minutes // 60:02}:{minutes % 60:02}:{second:02}.{fraction:06}"


def _days(year: int, month: int, day: int) -> int:
    cycles, inside = divmod(year - 1, 400)
    return date(inside + 1, month, day).toordinal() + cycles * _CYCLE - _EPOCH
