"""The canonical text of single values, as a source's drivers give them and as a column store holds them.

See ``core.digest``, which puts rows together from them, for what is equal and what is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache, partial
from typing import Any, Final

import polars as pl

from cdc_platform.core.errors import SchemaRefused

_EPOCH: Final = datetime(1970, 1, 1)
_FIRST_DAY: Final = date(1970, 1, 1).toordinal()
_MICROSECOND: Final = timedelta(microseconds=1)
_EXACT: Final = 2**53
"""Integers that a double holds exactly."""
_SMALLEST: Final = 1_000
"""Halvings of one after which a double holds as many digits as ever."""

Encoder = Callable[[Any], str]


class Moment(int):
    """Microseconds since 1970 in UTC; for times that ``datetime`` cannot hold (years before 1 or after
    9999)."""


class LocalMoment(int):
    """Microseconds since 1970 of a time without a zone."""


class Day(int):
    """Days since 1970."""


def text(value: str) -> str:
    return f"s{len(value)}:{value}"


def _boolean(value: bool) -> str:
    return "T" if value else "F"


def _integer(value: int) -> str:
    return f"i{value}"


def _real(value: float) -> str:
    if value.is_integer() and (value or math.copysign(1.0, value) > 0):
        return f"i{int(value)}"
    return f"f{value!r}"


def _binary(value: bytes) -> str:
    return f"b{value.hex()}"


def _moment(value: int) -> str:
    return f"t{int(value)}"


def _local_moment(value: int) -> str:
    return f"w{int(value)}"


def _day(value: int) -> str:
    return f"d{int(value)}"


def _time_of_day(nanoseconds: int) -> str:
    return f"o{nanoseconds}"


def _time(value: time) -> str:
    if value.tzinfo is not None:
        raise without_form("time of day in a zone")
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    return _time_of_day((seconds * 1_000_000 + value.microsecond) * 1000)


def _decimal(value: Decimal) -> str:
    """As a double prints if it is one exactly; otherwise its digits, without zeros at their end."""
    if not value.is_finite():
        return _real(float(value))
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    unscaled = int("".join(map(str, digits)))
    return _scaled(-unscaled if sign else unscaled, -exponent)


def _scaled(unscaled: int, scale: int) -> str:
    """Of ``unscaled / 10**scale``, where Python's integers are exact whatever their length."""
    while scale > 0 and unscaled % 10 == 0:
        unscaled, scale = unscaled // 10, scale - 1
    if scale <= 0:
        return _integer(unscaled * 10**-scale)
    # Without zeros at its end it is odd / 2**scale, or no double.
    odd, rest = divmod(unscaled, 5**scale)
    if rest == 0 and abs(odd) < _EXACT and scale < _SMALLEST:
        return _real(unscaled / 10**scale)
    return f"m{unscaled}E-{scale}"


def _datetime(value: datetime) -> str:
    if value.tzinfo is None:
        return f"w{(value - _EPOCH) // _MICROSECOND}"
    return f"t{(value.astimezone(UTC).replace(tzinfo=None) - _EPOCH) // _MICROSECOND}"


SCALARS: Final[Mapping[type, Encoder]] = {
    type(None): lambda _: "n",
    str: text,
    int: _integer,
    float: _real,
    bool: _boolean,
    bytes: _binary,
    datetime: _datetime,
    Moment: _moment,
    LocalMoment: _local_moment,
    Day: _day,
    date: lambda value: _day(value.toordinal() - _FIRST_DAY),
    time: _time,
    Decimal: _decimal,
}


def leaf(dtype: pl.DataType) -> Encoder:
    if dtype.is_integer():
        return _integer
    if dtype.is_float():
        return _real
    if isinstance(dtype, pl.Datetime):
        return _time_encoder(dtype)
    if isinstance(dtype, pl.Decimal):
        return lru_cache(maxsize=65_536)(partial(_scaled, scale=dtype.scale))
    if (encode := _LEAVES.get(type(dtype))) is not None:
        return encode
    raise without_form(f"column of type {dtype}")


def _time_encoder(dtype: pl.Datetime) -> Encoder:
    tag = "t" if dtype.time_zone else "w"
    match dtype.time_unit:
        case "us":
            return lambda value: f"{tag}{value}"
        case "ms":
            return lambda value: f"{tag}{value * 1000}"
    raise without_form(f"column of type {dtype}, finer than a microsecond,")


_LEAVES: Final[Mapping[type[pl.DataType], Encoder]] = {
    pl.Null: SCALARS[type(None)],
    pl.String: text,
    pl.Boolean: _boolean,
    pl.Binary: _binary,
    pl.Date: _day,
    pl.Time: _time_of_day,
}


def without_form(what: str) -> SchemaRefused:
    return SchemaRefused(
        f"a {what} has no canonical form",
        remedy="teach the canonical form this type, with a test of what it is equal to",
    )
