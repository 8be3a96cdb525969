"""Documents that no column can hold as they are: too deep, or with names that are taken."""

from __future__ import annotations

import json

import polars as pl
import pytest

from cdc_platform.core.logical import stored
from cdc_platform.core.model import Policy
from cdc_platform.decode.depth import COLUMN_LEVELS, TEXT_LEVELS, levels, too_deep
from cdc_platform.decode.documents import Documents, Layout, read_documents


def documents(*texts: str, policy: Policy = Policy.JSON) -> Documents:
    return read_documents(pl.Series(texts, dtype=pl.String), pl.Schema(), policy, Layout())


def nested(levels: int) -> str:
    return '{"a":' * levels + '"[{\\""' + "}" * levels


def listed(levels: int) -> str:
    return '{"a":' + "[" * (levels - 1) + "1" + "]" * (levels - 1) + "}"


def test_the_depth_of_a_text_is_that_of_its_brackets_outside_of_strings() -> None:
    wide = '{"a":[' + ",".join(['{"b": "]"}'] * 1000) + "]}"
    texts = [nested(TEXT_LEVELS), nested(TEXT_LEVELS + 1), listed(TEXT_LEVELS), listed(5000), wide, "{}"]
    assert too_deep(pl.Series(texts)) == [1, 3]


@pytest.mark.parametrize("text", [nested(TEXT_LEVELS + 1), listed(100_000)])
@pytest.mark.parametrize("policy", list(Policy))
def test_what_is_deeper_than_mongodb_takes_is_refused_by_itself(text: str, policy: Policy) -> None:
    found = documents('{"a": 1}', text, '{"a": 2}', policy=policy)
    assert found.rows == [0, 2]
    (refused,) = found.refused
    assert refused.what == "the document nests deeper than 200 levels"


@pytest.mark.parametrize("depth", [COLUMN_LEVELS - 1, COLUMN_LEVELS, COLUMN_LEVELS + 1, 100, 179])
@pytest.mark.parametrize("nest", [nested, listed])
def test_columns_go_down_to_a_level_and_what_is_below_is_text(nest: object, depth: int) -> None:
    assert callable(nest)
    found = documents(nest(depth), '{"b": 1}')
    assert found.rows == [0, 1]
    assert max(map(levels, found.frame.dtypes)) <= COLUMN_LEVELS
    text = json.dumps(pl.DataFrame(stored(found.frame)).to_dicts()[0])
    assert ("__json" in text) == (depth > COLUMN_LEVELS)


def test_what_is_too_deep_for_a_column_is_refused_where_nothing_is_kept_beside() -> None:
    (refused,) = documents(nested(40), policy=Policy.QUARANTINE).refused
    assert "it nests down to level 40, columns go to level 32" in refused.what


@pytest.mark.parametrize(
    "name",
    [
        "_change_type",
        "_Commit_Version",
        "_commit_timestamp",
        "__delta_rs_source",
        "a`b",
        "_key",
        "_OTHERS",
        "",
        "\0",
    ],
)
def test_a_field_whose_name_cannot_be_a_columns_is_kept_among_the_others(name: str) -> None:
    found = documents(json.dumps({"x": 1, name: 2}))
    assert found.frame.to_dicts() == [
        {
            "x": 1,
            "_others": json.dumps({name: {"$numberInt": "2"}}, separators=(",", ":"), ensure_ascii=False),
        }
    ]


@pytest.mark.parametrize("name", ["_change_type", "a`b", "_key"])
def test_such_a_name_further_down_is_like_any_other(name: str) -> None:
    assert documents(json.dumps({"x": {name: 2}})).frame.to_dicts() == [{"x": {name: 2}}]


@pytest.mark.parametrize("name", ["$bytes", "$uuid", "$UUID"])
def test_a_document_that_looks_like_what_the_decoder_makes_stays_a_document(name: str) -> None:
    found = documents(json.dumps({"a": {name: "%%"}}), '{"a": {"$binary": "AQ==","$type": "00"}}')
    first, second = pl.DataFrame(stored(found.frame)).to_dicts()
    assert json.loads(first.get("a__json") or first["a"]["_others"]) == {name: "%%"}
    assert second["a"] == b"\x01" or second["a__json"]


def test_many_fields_of_mixed_types_are_found_at_once() -> None:
    texts = [
        json.dumps({f"f{k}": row if (row + k) % 3 else str(row) for k in range(12)}) for row in range(3_000)
    ]
    found = documents(*texts)
    assert (found.rows, found.refused) == (list(range(3_000)), ())
    assert len(found.frame.columns) == 24


def test_parts_that_do_not_fit_are_put_back_where_the_whole_does_not_fit_either() -> None:
    texts = [
        '{"a": {"b": 1}}',
        '{"a": {"b": 2}}',
        '{"a": {"b": "x"}}',
        '{"a": [{"b": "y", "_others": 1}]}',
        '{"a": [[{"b": 1}]]}',
    ]
    rows = documents(*texts).frame.to_dicts()
    assert rows[2] == {"a": {"b": None, "b__json": '"x"'}, "a__json": None}
    assert rows[3]["a__json"] == '[{"b":"y","_others":{"$numberInt":"1"}}]'
    assert rows[4]["a__json"] == '[[{"b":{"$numberInt":"1"}}]]'


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ('{"[]": 1}', '{"[]": "x"}'),
        ('{"a/b": 1}', '{"a/b": "x"}'),
        ('{"d": {"[]": 1}}', '{"d": {"[]": "x"}}'),
        ('{"d": [{"/": {"a/b": 1}}]}', '{"d": [{"/": {"a/b": "x"}}]}'),
        ('{"d": {"a": {"b": 1}, "a/b": 1}}', '{"d": {"a": {"b": 1}, "a/b": "x"}}'),
        ('{"d": {"a": {"b": 1}, "a/b": 1}}', '{"d": {"a": {"b": "x"}, "a/b": 1}}'),
    ],
)
def test_a_field_is_found_whatever_its_name_does_to_a_path(first: str, second: str) -> None:
    found = documents(first, first, second)
    assert (found.rows, found.refused) == ([0, 1, 2], ())
    assert '\\"x\\"' in json.dumps(found.frame.to_dicts()[2])


@pytest.mark.parametrize("value", ["[1]", "1", '"x"', '{"a": 1}'])
def test_a_name_of_the_platforms_is_among_the_others_whatever_type_the_platforms_column_has(
    value: str,
) -> None:
    table = pl.Schema({"_kafka_offset": pl.Int64()})
    found = read_documents(pl.Series([f'{{"_kafka_offset": {value}}}']), table, Policy.JSON, Layout())
    assert found.frame.columns == ["_others"]
