"""Key texts as the Java driver 5.5.1 printed them, run with the writer settings Debezium 3.4 has for keys."""

from __future__ import annotations

import uuid
from typing import Any

import bson
import pytest
from bson import Binary, Code, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp

from cdc_platform.core.errors import SchemaRefused
from cdc_platform.verify.key import id_of, java_double, key_text

OID = "507f1f77bcf86cd799439011"


KEYS = [
    (1, "1"),
    (Int64(1), "1"),
    (True, "true"),
    (None, "null"),
    (1.0, "1.0"),
    (float("nan"), '{"$numberDouble": "NaN"}'),
    (float("-inf"), '{"$numberDouble": "-Infinity"}'),
    ("abc", '"abc"'),
    (
        "abc\"\\/\b\f\n\r\t\0é😀\u0301\u02b0\u200b\u00a0\u2028\ue000<>&'",
        '"abc\\"\\\\/\\b\\f\\n\\r\\t\\u0000é\\ud83d\\ude00\\u0301\\u02b0\\u200b\u00a0\\u2028\\ue000<>&\'"',
    ),
    (ObjectId(OID), f'{{"$oid": "{OID}"}}'),
    (
        {"a": 1, "b": [1, "x", {}], "c": {}, "d": [], "e": {"f": None}},
        '{"a": 1,"b": [1,"x",{}],"c": {},"d": [],"e": {"f": null}}',
    ),
    ({}, "{}"),
    (DatetimeMS(-5), '{"$date": {"$numberLong": "-5"}}'),
    (DatetimeMS(0), '{"$date": "1970-01-01T00:00:00Z"}'),
    (DatetimeMS(1700000000120), '{"$date": "2023-11-14T22:13:20.12Z"}'),
    (DatetimeMS(1700000000001), '{"$date": "2023-11-14T22:13:20.001Z"}'),
    (DatetimeMS(253402300799999), '{"$date": "9999-12-31T23:59:59.999Z"}'),
    (DatetimeMS(253402300800000), '{"$date": {"$numberLong": "253402300800000"}}'),
    (b"\x01\x02", '{"$binary": {"base64": "AQI=","subType": "00"}}'),
    (Binary(b"\x01\x02\xff", 0x80), '{"$binary": {"base64": "AQL/","subType": "80"}}'),
    (
        Binary.from_uuid(uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")),
        '{"$binary": {"base64": "ABEiM0RVZneImaq7zN3u/w==","subType": "04"}}',
    ),
    (Timestamp(4294967291, 7), '{"$timestamp": {"t": 4294967291,"i": 7}}'),
    (Decimal128("1.50"), '{"$numberDecimal": "1.50"}'),
    (Decimal128("1E+3"), '{"$numberDecimal": "1E+3"}'),
    (Decimal128("-0"), '{"$numberDecimal": "-0"}'),
    (Decimal128("NaN"), '{"$numberDecimal": "NaN"}'),
    (Decimal128("-Infinity"), '{"$numberDecimal": "-Infinity"}'),
    (Decimal128("1E-7"), '{"$numberDecimal": "1E-7"}'),
    (MinKey(), '{"$minKey": 1}'),
    (MaxKey(), '{"$maxKey": 1}'),
    (
        {"a": Code("f()"), "b": Code("f()", {"x": 1}), "c": Regex("a/b", "xi")},
        '{"a": {"$code": "f()"},"b": {"$code": "f()","$scope": {"x": 1}},'
        '"c": {"$regularExpression": {"pattern": "a/b","options": "ix"}}}',
    ),
    ({"$weird.name": Int64(5)}, '{"$weird.name": 5}'),
    (bson.DBRef("n", 1), '{"$ref": "n","$id": 1}'),
]


@pytest.mark.parametrize(("value", "text"), KEYS)
def test_a_key_reads_as_the_connector_writes_it(value: Any, text: str) -> None:
    assert key_text(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e7, "1.0E7"),
        (123456.789, "123456.789"),
        (1e-3, "0.001"),
        (9.9e-4, "9.9E-4"),
        (-0.0, "-0.0"),
        (1.7976931348623157e308, "1.7976931348623157E308"),
        (2e-323, "2.0E-323"),
        (12345678.9, "1.23456789E7"),
    ],
)
def test_a_double_reads_as_java_writes_it(value: float, text: str) -> None:
    assert java_double(value) == text


def test_a_type_that_cannot_be_a_key_is_refused() -> None:
    with pytest.raises(SchemaRefused):
        key_text(object())


@pytest.mark.parametrize("text", [text for _, text in KEYS])
def test_a_key_s_text_is_read_as_an_id_that_has_this_text_or_not_at_all(text: str) -> None:
    try:
        found = id_of(text)
    except SchemaRefused:
        return
    assert key_text(found) == text


@pytest.mark.parametrize(
    "value", [1, -5, 2**40, 1.5, 'a "b" é', True, None, ObjectId(), {"a": 1, "b": ["x"]}, b"x"]
)
def test_the_ids_that_people_use_are_read_from_their_keys_texts(value: Any) -> None:
    assert id_of(key_text(value)) == value


@pytest.mark.parametrize("text", ["1.00", "{", "01", '{"$oid": "x"}', "abc"])
def test_a_text_that_no_id_has_is_refused_without_being_told(text: str) -> None:
    with pytest.raises(SchemaRefused) as refused:
        id_of(text)
    assert text not in str(refused.value)


def test_java_s_doubles_are_read_as_they_are() -> None:
    assert id_of("1.0E7") == 1e7
