"""What MongoDB's values are on the side of the truth. Against a real server: tests/stack/test_truth.py."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.codec_options import CodecOptions, DatetimeConversion

from cdc_platform.core.digest import encoder
from cdc_platform.core.scalars import Moment
from cdc_platform.verify.position import ClusterTime
from cdc_platform.verify.truth.mongodb import ADAPTERS, MongoTruth, connect
from cdc_platform.verify.verdict import Cause, Unprovable

encode = encoder()
CODEC: CodecOptions[dict[str, Any]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)
OID = "507f1f77bcf86cd799439011"


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        (ObjectId(OID), OID),
        (Int64(2**60), 2**60),
        (5, 5.0),
        (1.5, 1.5),
        (Decimal128("1.50"), "1.50"),
        (datetime(1969, 12, 31, 23, 59, 59, 999000, UTC), Moment(-1_000)),
        (bson.DatetimeMS(2**55), Moment(2**55 * 1_000)),
        (b"\x01\x02", b"\x01\x02"),
        (Binary(b"\x01\x02\xff", 0x80), {"$binary": "AQL/", "$type": "80"}),
        (
            Binary.from_uuid(uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")),
            "00112233-4455-6677-8899-aabbccddeeff",
        ),
        (Binary(b"\x01\x02", 4), {"$binary": "AQI=", "$type": "04"}),
        (Binary(b"0123456789abcdef", 3), {"$binary": "MDEyMzQ1Njc4OWFiY2RlZg==", "$type": "03"}),
        (Regex("a/b", "xi"), {"$regex": "a/b", "$options": "ix"}),
        (Timestamp(4294967291, 7), {"$timestamp": {"t": 4294967291, "i": 7}}),
        (Code("f()"), {"$code": "f()"}),
        (Code("f()", {"x": Int64(1)}), {"$code": "f()", "$scope": {"x": 1}}),
        (MinKey(), {"$minKey": 1}),
        (MaxKey(), {"$maxKey": 1}),
        (bson.DBRef("n", ObjectId(OID)), {"$ref": "n", "$id": OID}),
        ({"a": [None, {"b": None}]}, {"a": [None, {}]}),
    ],
)
def test_a_value_from_mongodb_has_the_shape_the_lake_keeps(value: Any, shape: Any) -> None:
    read = bson.decode(bson.encode({"v": [value]}), CODEC)
    assert encoder(ADAPTERS)(read) == encode({"v": [shape]})


def test_a_source_that_cannot_be_reached_cannot_be_proven() -> None:
    with connect("mongodb://127.0.0.1:1/", timeout=0.2) as client:
        truth = MongoTruth(client, "shop", "orders")
        for call in (truth.position, lambda: list(truth.digests(ClusterTime(1, 1))), lambda: truth.mark("m")):
            with pytest.raises(Unprovable, match="could not be read") as caught:
                call()
            assert caught.value.cause is Cause.SOURCE_UNREACHABLE
