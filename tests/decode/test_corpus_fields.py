"""Fields as the real Debezium printed them that change their type, are empty, odd, deep or many."""

from __future__ import annotations

import json
import re
from typing import Any

import polars as pl
import pytest

from cdc_platform.core.model import Policy
from cdc_platform.decode.decoded import Rules
from cdc_platform.decode.mongodb import decode
from tests.corpus.rows import At, lake, one_by_one, recorded, rows, same
from tests.corpus.values import KINDS

FITS = [("int", "long"), ("long", "int"), ("double", "int")]
DOCUMENTS = ("document", "timestamp", "regex")
"""Types without a column type of their own: documents to the lake, which share a column."""
COLUMN: dict[str, Any] = {
    "int": 1,
    "long": 9007199254740993,
    "double": 1.5,
    "text": "x",
    "bool": True,
    "date": At(0),
    "object_id": "65a000000000000000000001",
    "decimal": "1.10",
    "uuid": "00112233-4455-6677-8899-aabbccddeeff",
    "binary": b"\x00\x01\xff",
    "timestamp": {"$timestamp": {"t": 1, "i": 2}},
    "regex": {"$regex": "a", "$options": "i"},
    "document": {"a": 1},
    "list": [1],
}
TEXT: dict[str, str] = {
    "int": '{"$numberInt":"1"}',
    "long": '{"$numberLong":"9007199254740993"}',
    "double": '{"$numberDouble":"1.5"}',
    "text": '"x"',
    "bool": "true",
    "date": '{"$date":{"$numberLong":"0"}}',
    "object_id": '{"$oid":"65a000000000000000000001"}',
    "decimal": '{"$numberDecimal":"1.10"}',
    "uuid": '{"$binary":{"base64":"ABEiM0RVZneImaq7zN3u/w==","subType":"04"}}',
    "binary": '{"$binary":{"base64":"AAH/","subType":"00"}}',
    "timestamp": '{"$timestamp":{"t":1,"i":2}}',
    "regex": '{"$regularExpression":{"pattern":"a","options":"i"}}',
    "document": '{"a":{"$numberInt":"1"}}',
    "list": '[{"$numberInt":"1"}]',
}


def test_in_a_stream_the_first_value_of_a_field_settles_its_type_and_every_other_type_is_beside_it() -> None:
    kinds = list(KINDS)
    for number, row in enumerate(rows(one_by_one("changing"))):
        del row["_id"]
        for place, first in enumerate(kinds):
            kind = kinds[(place + number) % len(kinds)]
            fits = kind == first or (first, kind) in FITS or {first, kind} <= set(DOCUMENTS)
            if fits:
                expected = float(COLUMN[kind]) if first == "double" else COLUMN[kind]
                same(row.pop(f"from_{first}"), expected)
            else:
                same(row.pop(f"from_{first}__json"), TEXT[kind])
        assert row == {}


def test_in_a_batch_a_field_that_changes_its_type_keeps_every_value_in_one_place() -> None:
    kinds = list(KINDS)
    for number, row in enumerate(rows(lake(recorded("changing")))):
        del row["_id"]
        for place, first in enumerate(kinds):
            kind = kinds[(place + number) % len(kinds)]
            in_column, beside = row.pop(f"from_{first}", None), row.pop(f"from_{first}__json", None)
            assert (in_column is None) != (beside is None)
            assert beside in (None, TEXT[kind])
            assert in_column in (None, COLUMN[kind])
        assert row == {}


def test_null_and_missing_are_one_and_empty_is_another() -> None:
    given, null, missing, empty, hollow = rows(lake(recorded("missing")))
    assert given == {"_id": 1, "text": "x", "list": [1], "document": {"a": 1}}
    assert null == {"_id": 2}
    assert missing == {"_id": 3}
    assert empty == {"_id": 4, "text": "", "list": [], "document": {}}
    assert hollow == {"_id": 5, "list": [None], "document": {}}


def test_what_is_empty_first_is_text_until_a_value_tells_what_it_is_empty_of() -> None:
    empty, filled, again = rows(one_by_one("untyped"))
    assert empty == {
        "_id": 1,
        "list__json": "[]",
        "document__json": "{}",
        "lists__json": "[[]]",
        "documents__json": "[{}]",
        "nulls__json": "[null]",
    }
    assert filled == {
        "_id": 2,
        "list": [1],
        "document": {"x": 1},
        "lists": [[1]],
        "documents": [{"x": 1}],
        "nulls": ["x"],
        "null": 1,
    }
    assert again == {
        "_id": 3,
        "list": [],
        "document": {},
        "lists": [[]],
        "documents": [{}],
        "nulls": [None],
    }


def test_what_is_empty_takes_the_type_that_another_document_of_the_batch_tells() -> None:
    empty, _, again = rows(lake(recorded("untyped")))
    del empty["_id"], again["_id"]
    assert empty == again == {"list": [], "document": {}, "lists": [[]], "documents": [{}], "nulls": [None]}


def test_integers_join_fractions_only_where_a_double_holds_them_exactly() -> None:
    first, second, third, fourth = rows(one_by_one("widening"))
    same(first, {"_id": 1, "int_first": 1, "long_first": 9007199254740993, "double_first": 1.5})
    same(second, {"_id": 2, "int_first": 9007199254740993, "long_first": 1, "double_first": 1.0})
    same(
        third,
        {
            "_id": 3,
            "double_first": 9007199254740991.0,
            "int_first__json": '{"$numberDouble":"1.5"}',
            "long_first__json": '{"$numberDouble":"1.5"}',
        },
    )
    assert fourth == {
        "_id": 4,
        "int_first__json": '{"$numberDouble":"2.0"}',
        "long_first__json": '{"$numberDouble":"2.0"}',
        "double_first__json": '{"$numberLong":"9007199254740992"}',
    }


def test_lists_of_several_types_are_kept_whole_as_text() -> None:
    (row,) = rows(lake(recorded("mixed_lists")))
    everything = row.pop("everything__json")
    assert everything == f"[{','.join(TEXT[kind] for kind in KINDS)},null,[],{{}}]"
    same(
        row,
        {
            "_id": 1,
            "ints_and_doubles": [1.0, 1.5],
            "documents": [{"a": 1, "b": 1}, {"b": 2, "a__json": '"x"'}],
            "ints_and_texts__json": '[{"$numberInt":"1"},"1"]',
            "object_ids_and_texts__json": '[{"$oid":"65a000000000000000000001"},"65a000000000000000000001"]',
            "dates_and_ints__json": '[{"$date":{"$numberLong":"0"}},{"$numberInt":"0"}]',
            "lists__json": '[[{"$numberInt":"1"}],["x"]]',
            "longs_and_doubles__json": '[{"$numberLong":"9007199254740993"},{"$numberDouble":"1.5"}]',
            "nulls__json": "[null,null]",
        },
    )


PLAIN_NAMES = (
    *("a.b", "$a", "a/b", "[]", "a[]", "a b", " ", "ü", "😀", 'a"b\\c', "a\nb", "a'b", "a,b;c{d}(e)=f\tg"),
    *("%2F", "A", "x", "N" * 300),
)
ONLY_NESTED = ("_key", "_cdc_operation", "_change_type", "a`b")
NEVER = ("x__json", "_others", "", "__json")


def test_names_that_no_column_can_have_are_kept_together() -> None:
    (row,) = rows(lake(recorded("names")))
    others = json.loads(row.pop("_others"))
    assert row == {"_id": 1, **dict.fromkeys(PLAIN_NAMES, 1)}
    assert others == {name: {"$numberInt": "1"} for name in (*ONLY_NESTED, "_KEY", "a", *NEVER)}


def test_further_down_only_empty_names_doubled_ones_and_those_of_the_platform_are_kept_together() -> None:
    (row,) = rows(lake(recorded("names_nested")))
    others = json.loads(row["nested"].pop("_others"))
    assert row == {"_id": 1, "nested": dict.fromkeys((*PLAIN_NAMES, *ONLY_NESTED), 1)}
    assert others == {name: {"$numberInt": "1"} for name in ("_KEY", "a", *NEVER)}


def test_documents_that_imitate_extended_json() -> None:
    """Debezium prints an ObjectId and a document ``{"$oid": …}`` alike: the lake cannot tell them apart."""
    (row,) = rows(lake(recorded("imitations")))
    same(
        row,
        {
            "_id": 1,
            "object_id": "65a000000000000000000001",
            "long": 5,
            "long_of_letters": {"$numberLong": "x"},
            "date": At(5),
            "date_of_text": {"$date": "2020-01-01"},
            "binary": b"\x00\x01\xff",
            "binary_of_letters": {"$binary": "%%", "$type": "00"},
            "bytes": {"_others": '{"$bytes":"%%"}'},
            "uuid": {"_others": '{"$uuid":"%%"}'},
            "decimal": "x",
            "beside": {"x": 1, "_others": '{"x__json":"{}"}'},
            "more__json": '{"$oid":"65a000000000000000000001","more":{"$numberInt":"1"}}',
        },
    )


def nested(levels: int, kind: str) -> Any:
    found: Any = 1
    for level in range(levels - 1):
        found = [found] if kind == "lists" or (kind == "both" and level % 2) else {"a": found}
    return found


def test_columns_go_32_levels_down_and_what_is_deeper_is_text() -> None:
    by_levels = {row["levels"]: row for row in rows(lake(recorded("deep")))}
    for kind in ("documents", "lists", "both"):
        assert by_levels[32][kind] == nested(32, kind)
    short = by_levels[10]["documents"]
    for _ in range(8):
        short = short["a"]
    assert short == {"a__json": '{"$numberInt":"1"}'}, "a number where others have documents"
    for levels in (33, 100, 178):
        row = by_levels[levels]
        number = '{"$numberInt":"1"}'
        assert row["lists__json"] == "[" * (levels - 1) + number + "]" * (levels - 1)
        documents = row["documents"]
        for _ in range(30):
            documents = documents["a"]
        assert documents == {"a__json": '{"a":' * (levels - 32) + number + "}" * (levels - 32)}
        assert "a__json" in str(row.get("both")) or "both__json" in row


def test_a_thousand_fields_are_a_thousand_columns() -> None:
    (row,) = rows(lake(recorded("wide")))
    assert row == {"_id": 1, **{f"field_{n}": n for n in range(1_000)}}


def test_keys_of_every_type_are_told_apart_by_their_text() -> None:
    keys = [json.loads(json.loads(key)["id"]) for key in recorded("keys").frame["key"]]
    assert {"a": [1, {"b": None}], "c": {"$date": {"$numberLong": "253402300800000"}}} in keys
    found = decode(recorded("keys")).frame
    created = found.filter(pl.col("_cdc_operation") == "c")
    texts = created["_key"].to_list()
    assert len(set(texts)) == len(texts) - 1, "a 32-bit and a 64-bit integer are one _id to MongoDB"
    assert '{"a": 1,"b": "x"}' in texts
    assert '{"b": "x","a": 1}' in texts


@pytest.mark.parametrize("policy", [Policy.QUARANTINE, Policy.REFUSE])
@pytest.mark.parametrize(
    ("collection", "reason"),
    [
        ("edges", "field date_(smallest|largest|too_early|too_late) does not fit"),
        ("mixed_lists", "field [a-z_.]+ does not fit"),
        ("names", "is a column of the platform|is a name that no field of a table can have"),
        ("imitations", "is a name that no field of a table can have"),
    ],
)
def test_without_a_place_beside_the_field_the_event_is_refused_with_the_reason(
    collection: str, reason: str, policy: Policy
) -> None:
    found = decode(recorded(collection), rules=Rules(policy))
    assert found.frame.height == 0
    if policy is Policy.REFUSE:
        assert re.search(reason, str(found.refused))
    else:
        assert found.refused is None
        (letter,) = found.letters["reason"].to_list()
        assert re.search(reason, letter)
