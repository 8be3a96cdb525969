"""Types that are stored as text come back as what they are."""

from __future__ import annotations

import polars as pl

from cdc_platform.core.logical import marked, stored, unstored

OID = pl.Struct({"$oid": pl.String})
ROWS = pl.DataFrame(
    {
        "text": pl.Series(["a", None, "65"], dtype=pl.String),
        "ref": pl.Series([{"$oid": "65"}, None, {"$oid": "66"}], dtype=OID),
        "refs": pl.Series([[{"$oid": "1"}, None], None, []], dtype=pl.List(OID)),
        "deep": pl.Series(
            [{"n": {"$numberDecimal": "1.50"}, "ids": [[{"$uuid": "z"}]]}, None, {"n": None, "ids": []}],
            dtype=pl.Struct(
                {
                    "n": pl.Struct({"$numberDecimal": pl.String}),
                    "ids": pl.List(pl.List(pl.Struct({"$uuid": pl.String}))),
                }
            ),
        ),
    }
)


def test_what_is_stored_is_text_and_nulls_stay() -> None:
    plain = pl.DataFrame(stored(ROWS))
    assert plain.to_dicts()[0] == {
        "text": "a",
        "ref": "65",
        "refs": ["1", None],
        "deep": {"n": "1.50", "ids": [["z"]]},
    }
    assert plain.to_dicts()[1] == {"text": None, "ref": None, "refs": None, "deep": None}


def test_rows_come_back_as_they_were_slices_too() -> None:
    plain = pl.DataFrame(stored(ROWS))
    assert unstored(plain, ROWS.schema).equals(ROWS)
    assert unstored(plain[1:], ROWS.schema).equals(ROWS[1:])
    assert unstored(plain[:0], ROWS.schema).schema == ROWS.schema
    assert unstored(plain.select("text"), ROWS.schema).equals(ROWS.select("text"))


def test_a_mark_makes_the_type_again_at_its_place() -> None:
    stored_type = pl.Struct({"a": pl.String, "b": pl.List(pl.String)})
    assert marked(stored_type, {("x", "b", None): "objectId"}, ("x",)) == pl.Struct(
        {"a": pl.String, "b": pl.List(OID)}
    )
