"""Every BSON type at its edges, by a name each."""

from __future__ import annotations

import struct
import uuid
from datetime import UTC, datetime
from typing import Any

from bson import (
    Binary,
    Code,
    DatetimeMS,
    DBRef,
    Decimal128,
    Int64,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
)

from tests.corpus.raw import Fields, Raw, text

OBJECT_ID = ObjectId("65a000000000000000000001")
UUID_BYTES = bytes.fromhex("00112233445566778899aabbccddeeff")
THREE_BYTES = b"\x00\x01\xff"

NUMBERS: dict[str, Any] = {
    "int32_max": 2**31 - 1,
    "int32_min": -(2**31),
    "int64_one": Int64(1),
    "int64_max": Int64(2**63 - 1),
    "int64_min": Int64(-(2**63)),
    "int64_53": Int64(2**53 + 1),
    "double_whole": 1.0,
    "double_negative_zero": -0.0,
    "double_nan": float("nan"),
    "double_nan_payload": Raw(1, struct.pack("<Q", 0xFFF8_0000_0000_0123)),
    "double_infinity": float("inf"),
    "double_negative_infinity": float("-inf"),
    "double_largest": 1.7976931348623157e308,
    "double_smallest": 5e-324,
    "double_subnormal": 2.225073858507201e-308,
    "double_below_53": 2.0**53 - 1,
    "double_53": 2.0**53,
    "double_above_53": 2.0**53 + 2,
    "double_63": 2.0**63,
    "double_tenth": 0.1,
}
DECIMALS: dict[str, Any] = {
    f"decimal_{name}": Decimal128(value)
    for name, value in {
        "zero": "0",
        "negative_zero": "-0",
        "zeros": "1.000",
        "zero_exponent": "0E-6176",
        "largest": "9.999999999999999999999999999999999E+6144",
        "smallest": "-1E-6176",
        "digits": "12345678901234567890.12345678901234",
        "thousand": "1E+3",
        "nan": "NaN",
        "signalling_nan": "sNaN",
        "infinity": "Infinity",
        "negative_infinity": "-Infinity",
    }.items()
}
DATES: dict[str, Any] = {
    "date": datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC),
    "date_epoch": DatetimeMS(0),
    "date_before_1970": DatetimeMS(-1),
    "date_year_1": DatetimeMS(-62_135_596_800_000),
    "date_year_0": DatetimeMS(-62_135_596_800_001),
    "date_after_2262": DatetimeMS(9_300_000_000_000),
    "date_year_10000": DatetimeMS(253_402_300_800_000),
    "date_last": DatetimeMS(9_223_372_036_854_775),
    "date_first": DatetimeMS(-9_223_372_036_854_775),
    "date_too_late": DatetimeMS(9_223_372_036_854_776),
    "date_too_early": DatetimeMS(-9_223_372_036_854_776),
    "date_largest": DatetimeMS(2**63 - 1),
    "date_smallest": DatetimeMS(-(2**63)),
}
BINARIES: dict[str, Any] = {
    **{f"binary_{kind}": Binary(THREE_BYTES, kind) for kind in (0, 1, 2, 5, 6, 8, 128, 255)},
    "binary_vector": Binary(b"\x27\x00\xfe\x07", 9),
    "binary_empty": Binary(b"", 0),
    "binary_empty_user": Binary(b"", 128),
    "uuid": Binary.from_uuid(uuid.UUID(bytes=UUID_BYTES)),
    "uuid_legacy": Binary(UUID_BYTES, 3),
    "uuid_short": Binary(THREE_BYTES, 4),
}
TEXTS: dict[str, Any] = {
    "text_empty": "",
    "text_nul": "a\0b",
    "text_emoji": "😀",
    "text_controls": "\b\f\n\r\t\x01\x1f\x7f\x80\u2028\ufeff",
    "text_json": '{"$oid": "65a000000000000000000001"} \\ " / </script>',
    "text_date": "2020-01-01T00:00:00Z",
    "text_number": "9007199254740993",
    "text_long": "ü" * 8_000,
    "text_not_utf8": Raw(2, text(b"a\xed\xa0\x80b")),
}
SPECIALS: dict[str, Any] = {
    "true": True,
    "false": False,
    "object_id": OBJECT_ID,
    "timestamp": Timestamp(1_700_000_000, 5),
    "timestamp_largest": Timestamp(2**32 - 1, 2**32 - 1),
    "regex": Regex('^a/b"\\d\nß.*$', "imsx"),
    "regex_all_options": Raw(11, b"a\0ilmsux\0"),
    "regex_empty": Raw(11, b"\0\0"),
    "code": Code('return "1"'),
    "code_scope": Code("return x", {"x": Int64(1), "d": 1.0}),
    "code_empty_scope": Code("", {}),
    "min_key": MinKey(),
    "max_key": MaxKey(),
    "dbref": DBRef("orders", 1),
    "dbref_database": DBRef("orders", OBJECT_ID, "shop", {"more": Int64(1)}),
    "symbol": Raw(14, text(b'sy"m')),
    "undefined": Raw(6),
    "db_pointer": Raw(12, text(b"shop.orders") + OBJECT_ID.binary),
    "name_twice": Fields((("a", 1), ("a", "x"))),
}
EDGES: dict[str, Any] = {**NUMBERS, **DECIMALS, **DATES, **BINARIES, **TEXTS, **SPECIALS}

KINDS: dict[str, Any] = {
    "int": 1,
    "long": Int64(2**53 + 1),
    "double": 1.5,
    "text": "x",
    "bool": True,
    "date": DatetimeMS(0),
    "object_id": OBJECT_ID,
    "decimal": Decimal128("1.10"),
    "uuid": BINARIES["uuid"],
    "binary": Binary(THREE_BYTES, 0),
    "timestamp": Timestamp(1, 2),
    "regex": Regex("a", "i"),
    "document": {"a": 1},
    "list": [1],
}
"""One value of each type that can take another's place in a field."""

NAMES = (
    *(
        "a.b",
        "$a",
        "a/b",
        "[]",
        "a[]",
        "a b",
        " ",
        "ü",
        "😀",
        'a"b\\c',
        "a\nb",
        "a'b",
        "a,b;c{d}(e)=f\tg",
        "%2F",
    ),
    *("A", "a", "x", "x__json", "_others", "_key", "_KEY", "_cdc_operation", "_change_type", "a`b", ""),
    *("__json", "N" * 300),
)


def changing() -> list[dict[str, Any]]:
    """Each field has one type in the first document and then every other type, one a document."""
    kinds = list(KINDS)
    return [
        {f"from_{name}": KINDS[kinds[(place + row) % len(kinds)]] for place, name in enumerate(kinds)}
        for row in range(len(kinds))
    ]


def nested(levels: int, kind: str) -> Any:
    """A 1 inside of as many documents or lists."""
    value: Any = 1
    for level in range(levels):
        as_list = kind == "lists" or (kind == "both" and level % 2)
        value = [value] if as_list else {"a": value}
    return value
