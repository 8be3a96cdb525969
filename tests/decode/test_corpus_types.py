"""Every BSON type at its edges, as the real Debezium printed it: what the lake must hold, stated by hand."""

from __future__ import annotations

import json
import math
from typing import Any

import bson
import polars as pl
import pytest
from bson import Regex, json_util
from bson.codec_options import CodecOptions, DatetimeConversion

from tests.corpus.raw import document
from tests.corpus.rows import At, lake, recorded, rows, same
from tests.corpus.values import BINARIES, DATES, DECIMALS, EDGES, TEXTS

BINARY_SUBTYPES = {1: "01", 2: "02", 5: "05", 6: "06", 8: "08", 128: "80", 255: "FF"}

IN_COLUMNS: dict[str, Any] = {
    "int32_max": 2147483647,
    "int32_min": -2147483648,
    "int64_one": 1,
    "int64_max": 9223372036854775807,
    "int64_min": -9223372036854775808,
    "int64_53": 9007199254740993,
    "double_whole": 1.0,
    "double_negative_zero": -0.0,
    "double_nan": math.nan,
    "double_nan_payload": math.nan,
    "double_infinity": math.inf,
    "double_negative_infinity": -math.inf,
    "double_largest": 1.7976931348623157e308,
    "double_smallest": 5e-324,
    "double_subnormal": 2.225073858507201e-308,
    "double_below_53": 9007199254740991.0,
    "double_53": 9007199254740992.0,
    "double_above_53": 9007199254740994.0,
    "double_63": 9223372036854775808.0,
    "double_tenth": 0.1,
    "decimal_zero": "0",
    "decimal_negative_zero": "-0",
    "decimal_zeros": "1.000",
    "decimal_zero_exponent": "0E-6176",
    "decimal_largest": "9.999999999999999999999999999999999E+6144",
    "decimal_smallest": "-1E-6176",
    "decimal_digits": "12345678901234567890.12345678901234",
    "decimal_thousand": "1E+3",
    "decimal_nan": "NaN",
    "decimal_signalling_nan": "NaN",
    "decimal_infinity": "Infinity",
    "decimal_negative_infinity": "-Infinity",
    "date": At(1767323045678),
    "date_epoch": At(0),
    "date_before_1970": At(-1),
    "date_year_1": At(-62135596800000),
    "date_year_0": At(-62135596800001),
    "date_after_2262": At(9300000000000),
    "date_year_10000": At(253402300800000),
    "date_last": At(9223372036854775),
    "date_first": At(-9223372036854775),
    "binary_0": b"\x00\x01\xff",
    **{f"binary_{number}": {"$binary": "AAH/", "$type": text} for number, text in BINARY_SUBTYPES.items()},
    "binary_vector": {"$binary": "JwD+Bw==", "$type": "09"},
    "binary_empty": b"",
    "binary_empty_user": {"$binary": "", "$type": "80"},
    "uuid": "00112233-4455-6677-8899-aabbccddeeff",
    "uuid_legacy": {"$binary": "ABEiM0RVZneImaq7zN3u/w==", "$type": "03"},
    "uuid_short": {"$binary": "AAH/", "$type": "04"},
    "text_empty": "",
    "text_nul": "a\0b",
    "text_emoji": "😀",
    "text_controls": "\b\f\n\r\t\x01\x1f\x7f\x80\u2028\ufeff",
    "text_json": '{"$oid": "65a000000000000000000001"} \\ " / </script>',
    "text_date": "2020-01-01T00:00:00Z",
    "text_number": "9007199254740993",
    "text_long": "ü" * 8_000,
    "text_not_utf8": "a\ufffdb",
    "true": True,
    "false": False,
    "object_id": "65a000000000000000000001",
    "timestamp": {"$timestamp": {"t": 1700000000, "i": 5}},
    "timestamp_largest": {"$timestamp": {"t": 4294967295, "i": 4294967295}},
    "regex": {"$regex": '^a/b"\\d\nß.*$', "$options": "imsx"},
    "regex_all_options": {"$regex": "a", "$options": "ilmsux"},
    "regex_empty": {"$regex": "", "$options": ""},
    "code": {"$code": 'return "1"'},
    "code_scope": {"$code": "return x", "$scope": {"x": 1, "d": 1.0}},
    "code_empty_scope": {"$code": "", "$scope__json": "{}"},
    "min_key": {"$minKey": 1},
    "max_key": {"$maxKey": 1},
    "dbref": {"$ref": "orders", "$id": 1},
    "dbref_database": {"$ref": "orders", "$id": "65a000000000000000000001", "$db": "shop", "more": 1},
    "symbol": {"$symbol": 'sy"m'},
    "undefined": {"$undefined": True},
    "db_pointer": {"$ref": "shop.orders", "$id": "65a000000000000000000001"},
    "name_twice": {"a": "x"},
}
BESIDE = {
    "date_too_late": '{"$date":{"$numberLong":"9223372036854776"}}',
    "date_too_early": '{"$date":{"$numberLong":"-9223372036854776"}}',
    "date_largest": '{"$date":{"$numberLong":"9223372036854775807"}}',
    "date_smallest": '{"$date":{"$numberLong":"-9223372036854775808"}}',
}
MARKED = {**dict.fromkeys(DECIMALS, b"decimal"), "uuid": b"uuid", "object_id": b"objectId"}


def test_there_is_an_expectation_for_every_edge() -> None:
    assert IN_COLUMNS.keys() | BESIDE.keys() == EDGES.keys()


def test_every_type_at_its_edges_as_a_field_of_the_document() -> None:
    (row,) = rows(lake(recorded("edges")))
    del row["_id"]
    for name, expected in IN_COLUMNS.items():
        same(row.pop(name), expected)
    same(row, {f"{name}__json": text for name, text in BESIDE.items()})


def test_every_type_at_its_edges_in_a_document_in_the_document() -> None:
    (row,) = rows(lake(recorded("edges_nested")))
    for name, expected in IN_COLUMNS.items():
        same(row["nested"].pop(name), expected)
    same(row, {"_id": 1, "nested": {f"{name}__json": text for name, text in BESIDE.items()}})


def test_every_type_at_its_edges_in_a_list_beside_a_null() -> None:
    (row,) = rows(lake(recorded("edges_listed")))
    del row["_id"]
    for name, expected in IN_COLUMNS.items():
        same(row.pop(name), [expected, None, expected])
    same(row, {f"{name}__json": f"[{text},null,{text}]" for name, text in BESIDE.items()})


def test_texts_that_are_something_else_are_marked_at_every_level() -> None:
    top, listed = (lake(recorded(name)).schema for name in ("edges", "edges_listed"))
    nested = lake(recorded("edges_nested")).schema.field("nested").type
    for name in IN_COLUMNS:
        mark = MARKED.get(name)
        assert (top.field(name).metadata or {}).get(b"cdc.type") == mark
        assert (nested.field(name).metadata or {}).get(b"cdc.type") == mark
        assert (listed.field(name).metadata or {}).get(b"cdc.type[]") == mark


DEPRECATED = {
    "symbol": '{"$symbol":"sy\\"m"}',
    "undefined": '{"$undefined":true}',
    "db_pointer": '{"$ref":"shop.orders","$id":{"$oid":"65a000000000000000000001"}}',
    "name_twice": '{"a":"x"}',
    "text_not_utf8": '"a\ufffdb"',
    "double_nan_payload": '{"$numberDouble":"NaN"}',
    "decimal_signalling_nan": '{"$numberDecimal":"NaN"}',
}
"""What pymongo does not read as it was written, or Debezium does not print as it is."""


@pytest.mark.parametrize("collection", ["edges", "edges_listed"])
def test_a_value_of_another_type_is_beside_its_field_as_text_from_which_pymongo_reads_the_value(
    collection: str,
) -> None:
    """The columns are lists of lists of booleans: none of the values fits."""
    other = pl.List(pl.List(pl.Boolean))
    table = pl.Schema(dict.fromkeys(EDGES, other))
    (row,) = rows(lake(recorded(collection), table))
    options = json_util.CANONICAL_JSON_OPTIONS.with_options(
        datetime_conversion=DatetimeConversion.DATETIME_MS
    )
    edges = bson.decode(
        document(EDGES).raw,
        CodecOptions(
            datetime_conversion=DatetimeConversion.DATETIME_MS, unicode_decode_error_handler="replace"
        ),
    )
    for name, edge in edges.items():
        text = row[f"{name}__json"]
        assert row.get(name) is None
        if collection == "edges_listed":
            first, null, second = json.loads(text)
            assert (first, null) == (second, None)
            text = json.dumps(first, separators=(",", ":"), ensure_ascii=False)
        if name in DEPRECATED:
            assert text == DEPRECATED[name]
            continue
        found = json_util.loads(text, json_options=options)
        if name in DATES:
            found, edge = json.loads(text)["$date"]["$numberLong"], str(int(edge))  # noqa: PLW2901
        if name == "uuid":
            assert (bytes(found), found.subtype) == (bytes(edge), edge.subtype)
        elif name in BINARIES:
            subtype = json.loads(text)["$binary"]["subType"]
            assert (bytes(found), subtype) == (bytes(edge), f"{getattr(edge, 'subtype', 0):02X}")
        elif name in TEXTS or name in DECIMALS:
            assert str(found) == str(edge)
        elif isinstance(edge, Regex):
            assert (found.pattern, int(found.flags)) == (edge.pattern, int(edge.flags))
        else:
            assert (type(found), repr(found)) == (type(edge), repr(edge))
