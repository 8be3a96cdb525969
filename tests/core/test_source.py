from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from cdc_platform.core.model import Kind
from cdc_platform.core.source import Source
from cdc_platform.core.verification import Verification

SECRET = "mongodb://ann:s3cret@db/"
GIVEN = {"name": "shop", "uri": SECRET, "database": "shop", "collections": ["orders"]}


def test_a_source_shows_no_password() -> None:
    assert "s3cret" not in repr(Source.model_validate(GIVEN))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"partitions": 0}, "partitions"),
        ({"database": None}, "database"),
        ({"url": SECRET}, "url"),
        ({"uri": "ann:s3cret@db:1"}, "begins with mongodb://"),
    ],
)
def test_a_wrong_declaration_is_told_without_the_password(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        Source.model_validate({**GIVEN, **wrong})

    assert named in str(refusal.value)
    assert "s3cret" not in str(refusal.value)


def test_tables_are_partitioned_as_their_collection_says_or_else_as_the_source_says() -> None:
    source = Source.model_validate(
        {
            **GIVEN,
            "collections": ["orders", "carts"],
            "partition_by": {"changelog": ["_ingestion_date"]},
            "partition_collections_by": {"carts": {"current": ["_kafka_partition", "_cdc_operation"]}},
        }
    )

    assert source.partitioned_by("orders", Kind.CHANGELOG) == ("_ingestion_date",)
    assert source.partitioned_by("orders", Kind.CURRENT) == ()
    assert source.partitioned_by("carts", Kind.CHANGELOG) == ()
    assert source.partitioned_by("carts", Kind.CURRENT) == ("_kafka_partition", "_cdc_operation")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"partition_by": {"changelog": ["country"]}}, "fields of the documents are not known"),
        ({"partition_by": {"current": ["_key"]}}, "nearly every row has another value"),
        ({"partition_by": {"current": ["_kafka_topic"]}}, "all its rows have one"),
        ({"partition_by": {"changelog": ["_ingestion_date"] * 2}}, "named twice"),
        ({"partition_by": ["_ingestion_date"]}, "partition_by"),
        ({"partition_collections_by": {"cart": {}}}, "no collection here: cart"),
    ],
)
def test_a_partitioning_that_cannot_work_is_refused_with_what_can(
    wrong: dict[str, object], told: str
) -> None:
    with pytest.raises(ValidationError, match=told):
        Source.model_validate({**GIVEN, **wrong})


@pytest.mark.parametrize(
    ("engine", "verify", "said"),
    [
        ("mongodb", {"prefilter": True}, "MongoDB does not tell which rows have changed"),
        ("mariadb", {"prefilter": True}, "MariaDB does not tell which rows have changed"),
        ("postgresql", {"read_from": "secondary"}, "read preferences are MongoDB's"),
        ("mongodb", {"full_hours": -1}, "greater than or equal to 0"),
        ("mongodb", {"rows_per_second": 0}, "greater than or equal to 1"),
    ],
)
def test_what_a_source_s_engine_cannot_do_for_its_proofs_is_refused(
    engine: str, verify: dict[str, Any], said: str
) -> None:
    given = {"name": "shop", "engine": engine, "uri": f"{engine}://h", "database": "d", "collections": ["t"]}
    with pytest.raises(ValidationError, match=said):
        Source.model_validate({**given, "verify": verify})


def test_a_source_may_have_every_proof_read_every_row() -> None:
    assert Verification(full_hours=0).every is None
    assert Verification(full_hours=0.5).every == timedelta(minutes=30)
