"""The text of a table's key: what the decoder must write, and the truth writes by itself."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from cdc_platform.core.scalars import Day, LocalMoment, Moment
from cdc_platform.decode.keys import key_texts
from cdc_platform.verify.truth.sql import key_text

DECIMAL = pl.Struct({"$numberDecimal": pl.String})
UTC = pl.Datetime("us", "UTC")

GOLDEN: list[tuple[str, dict[str, Any], dict[str, tuple[Any, pl.DataType]]]] = [
    ('{"id":1}', {"id": 1}, {"id": (1, pl.Int64())}),
    ('{"id":-9223372036854775808}', {"id": -(2**63)}, {"id": (-(2**63), pl.Int64())}),
    ('{"b":"x","a":2}', {"b": "x", "a": 2}, {"b": ("x", pl.String()), "a": (2, pl.Int64())}),
    ('{"k":true}', {"k": True}, {"k": (True, pl.Boolean())}),
    ('{"k":""}', {"k": ""}, {"k": ("", pl.String())}),
    ('{"k":"a \\"b\\" \\\\ ß😀/"}', {"k": 'a "b" \\ ß😀/'}, {"k": ('a "b" \\ ß😀/', pl.String())}),
    (
        '{"k":"\\u0001\\b\\t\\n\\f\\r\u007f"}',
        {"k": "\1\b\t\n\f\r\x7f"},
        {"k": ("\1\b\t\n\f\r\x7f", pl.String())},
    ),
    ('{"größe \\"x\\"":7}', {'größe "x"': 7}, {'größe "x"': (7, pl.Int64())}),
    ('{"k":"1.50"}', {"k": Decimal("1.50")}, {"k": (Decimal("1.50"), pl.Decimal(38, 2))}),
    ('{"k":"-0.0000000001"}', {"k": Decimal("-1E-10")}, {"k": (Decimal("-1E-10"), pl.Decimal(38, 10))}),
    ('{"k":"1.1"}', {"k": Decimal("1.1")}, {"k": ({"$numberDecimal": "1.1"}, DECIMAL)}),
    ('{"k":"18446744073709551615"}', {"k": Decimal(2**64 - 1)}, {"k": (2**64 - 1, pl.Decimal(38, 0))}),
    ('{"k":"1969-12-31"}', {"k": Day(-1)}, {"k": (-1, pl.Date())}),
    ('{"k":"+10000-01-01"}', {"k": Day(2_932_897)}, {"k": (2_932_897, pl.Date())}),
    (
        '{"k":"2026-01-01T00:00:00.500000"}',
        {"k": LocalMoment(1_767_225_600_500_000)},
        {"k": (1_767_225_600_500_000, pl.Datetime("us"))},
    ),
    (
        '{"k":"1969-12-31T23:59:59.999999Z"}',
        {"k": Moment(-1)},
        {"k": (-1, UTC)},
    ),
    ('{"k":"00ff"}', {"k": b"\0\xff"}, {"k": (b"\0\xff", pl.Binary())}),
    ('{"k":"0.1"}', {"k": 0.1}, {"k": (0.1, pl.Float64())}),
    ('{"k":"-0.0"}', {"k": -0.0}, {"k": (-0.0, pl.Float64())}),
    ('{"k":"1e+300"}', {"k": 1e300}, {"k": (1e300, pl.Float64())}),
    ('{"k":"12:34:56.789012"}', {"k": "12:34:56.789012"}, {"k": ("12:34:56.789012", pl.String())}),
    ('{"k":[1,2]}', {"k": [1, 2]}, {"k": ([1, 2], pl.List(pl.Int64))}),
]


@pytest.mark.parametrize(("text", "key", "columns"), GOLDEN, ids=[each[0] for each in GOLDEN])
def test_truth_and_decoder_write_the_same_key(
    text: str, key: dict[str, Any], columns: dict[str, tuple[Any, pl.DataType]]
) -> None:
    assert key_text(key) == text
    assert key_texts(pl.DataFrame([_column(name, *each) for name, each in columns.items()]))[0] == text


def _column(name: str, value: Any, dtype: pl.DataType) -> pl.Series:
    if isinstance(dtype, pl.Date | pl.Datetime):
        return pl.Series(name, [value]).cast(pl.Int32 if dtype == pl.Date else pl.Int64).cast(dtype)
    return pl.Series(name, [value], dtype=dtype)
