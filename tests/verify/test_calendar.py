"""Times in any year, as text and back."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_platform.core.scalars import Moment
from cdc_platform.verify.calendar import day_text, moment_of, moment_text

MICROS = st.integers(-(2**62), 2**62)


@given(MICROS)
def test_a_moment_comes_back_from_its_text(micros: int) -> None:
    assert moment_of(f"{moment_text(micros)}Z") == Moment(micros)


@given(st.datetimes())
def test_in_the_calendar_of_python_it_is_that_calendar(moment: datetime) -> None:
    micros = (moment - datetime(1970, 1, 1)) // (datetime.resolution)
    assert moment_text(micros) == moment.isoformat(timespec="microseconds")
    assert moment_of(f"{moment.isoformat()}Z") == Moment(micros)


@given(st.integers(-3_000_000, 3_000_000))
def test_days_are_written_as_polars_writes_them(days: int) -> None:
    assert day_text(days) == pl.Series([days]).cast(pl.Date).cast(pl.String)[0]


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("+10000-01-01T00:00:00.000000Z", 253_402_300_800_000_000),
        ("-4712-01-01T00:00:00.000000Z", -210_863_520_000_000_000),
        ("0000-12-31T00:00:00Z", -62_135_683_200_000_000),
        ("2026-11-21T12:34:56.789Z", datetime(2026, 11, 21, 12, 34, 56, 789_000, UTC).timestamp() * 1e6),
    ],
)
def test_times_as_debezium_writes_them(text: str, micros: int) -> None:
    assert moment_of(text) == micros


@pytest.mark.parametrize("text", ["infinity", "2026-02-31T00:00:00Z", "2026-11-21", ""])
def test_what_is_no_time_stays_a_text(text: str) -> None:
    assert moment_of(text) == text
