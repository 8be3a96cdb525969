"""Events recorded from Debezium itself (``tests/corpus``), and the rows they must become."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from cdc_platform.core.errors import EventRefused, SchemaRefused
from cdc_platform.core.logical import stored
from cdc_platform.core.model import Policy
from cdc_platform.decode.decoded import Rules
from cdc_platform.decode.mongodb import decode
from tests.corpus.rows import recorded


def decoded(name: str) -> list[dict[str, Any]]:
    """The rows as they are stored."""
    return pl.DataFrame(stored(decode(recorded(name)).frame)).to_dicts()


def test_inserts_carry_their_document_and_position() -> None:
    rows = sorted(decoded("insert"), key=lambda row: int(row["_id"]))
    assert [(row["_key"], row["_id"], row["n"], row["_cdc_operation"]) for row in rows] == [
        (str(n), n, n, "c") for n in range(len(rows))
    ]
    positions = [tuple(row["_cdc_position"].values()) for row in rows]
    assert positions == sorted(set(positions))


def test_updates_carry_the_document_after_each_of_them() -> None:
    rows = decoded("update")
    assert [row["_cdc_operation"] for row in rows] == ["c", "u", "u", "u"]
    assert rows[0]["gone"] == "x"
    assert rows[1]["gone"] is None
    assert rows[1]["deep"] == {"a": 9, "b": 2}, "a 64-bit integer joins a 32-bit one"
    assert [row["list"] for row in rows] == [None, None, [1, 2, 3], [1, 2]]


def test_a_replaced_document_is_an_update_with_the_new_fields_alone() -> None:
    before, after = decoded("replace")
    assert (before["old"], before["new"]) == (True, None)
    assert (after["_cdc_operation"], after["old"], after["new"]) == ("u", None, True)


def test_a_delete_carries_the_document_as_it_was_and_its_key_may_come_again() -> None:
    assert [(row["_cdc_operation"], row["n"]) for row in decoded("delete")] == [("c", 1), ("d", 1), ("c", 2)]


def test_a_transaction_shares_a_cluster_time_and_orders_its_events() -> None:
    positions = [row["_cdc_position"] for row in decoded("transaction")]
    assert len({(p["seconds"], p["ord"]) for p in positions}) == 1
    assert sorted(p["total_order"] for p in positions) == [1, 2]


def test_nested_documents_become_structs_with_typed_fields() -> None:
    (row,) = decoded("nested")
    since = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    assert row["customer"] == {"name": "Ann", "address": {"city": "Bern", "zip": 3000, "since": since}}


def test_a_list_of_mixed_types_is_kept_as_its_text() -> None:
    (row,) = decoded("arrays")
    assert json.loads(row["mixed__json"])[:1] == [{"$numberInt": "1"}]


def test_a_field_that_changes_its_type_has_each_value_in_one_place() -> None:
    for row in decoded("change_type"):
        assert (row["value"] is None) or (row["value__json"] is None)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("change_type", SchemaRefused, r"field value does not fit(.|\n)*offset \d"),
        ("arrays", SchemaRefused, r"field mixed does not fit"),
        ("without_images", EventRefused, r"the document after the change is missing(.|\n)*offset 1"),
    ],
)
def test_what_does_not_fit_is_refused_by_field_and_offset(
    name: str, error: type[Exception], message: str
) -> None:
    refused = decode(recorded(name), rules=Rules(Policy.REFUSE)).refused
    assert isinstance(refused, error)
    assert re.search(message, str(refused))
    assert "what to do:" in str(refused)
