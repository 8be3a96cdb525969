"""Fold: the last change of a key by partition and offset."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from cdc_platform.core.columns import KEY, OFFSET, OPERATION, PARTITION, RESENT, TIMESTAMP
from cdc_platform.decode.fold import fold

SCHEMA = pl.Schema(
    {
        KEY: pl.String,
        "value": pl.Int64,
        OPERATION: pl.String,
        TIMESTAMP: pl.Int64,
        PARTITION: pl.Int32,
        OFFSET: pl.Int64,
        RESENT: pl.Boolean,
    }
)


def changes(*rows: tuple[str, int, str]) -> pl.DataFrame:
    """(key, value, operation) at offsets 0, 1, … of partition 0; later rows have earlier times."""
    full = [(key, value, op, -offset, 0, offset, False) for offset, (key, value, op) in enumerate(rows)]
    return pl.DataFrame(full, schema=SCHEMA, orient="row")


def kept(*rows: tuple[str, int, str]) -> list[tuple[str, int, str]]:
    return fold(changes(*rows)).rows.select(KEY, "value", OPERATION).rows()


def test_the_last_change_wins_whole_by_offset_and_not_by_time() -> None:
    assert kept(("a", 1, "c"), ("a", 2, "u"), ("a", 3, "u")) == [("a", 3, "u")]


def test_created_updated_and_deleted_is_a_delete() -> None:
    assert kept(("a", 1, "c"), ("a", 2, "u"), ("a", 2, "d")) == [("a", 2, "d")]


def test_deleted_and_created_again_is_created() -> None:
    assert kept(("a", 1, "d"), ("a", 2, "c")) == [("a", 2, "c")]


def test_rows_come_in_the_order_of_their_offsets() -> None:
    assert kept(("b", 1, "c"), ("a", 2, "c"), ("b", 3, "u")) == [("a", 2, "c"), ("b", 3, "u")]


def test_nothing_folds_to_nothing() -> None:
    folded = fold(changes())
    assert (folded.rows.height, folded.superseded) == (0, 0)


@st.composite
def histories(draw: st.DrawFn) -> pl.DataFrame:
    """Changes of a few keys, each key in one partition, offsets with gaps."""
    rows, offset = [], 0
    for key, value, op in draw(
        st.lists(st.tuples(st.integers(0, 5), st.integers(), st.sampled_from("cudr")))
    ):
        offset += draw(st.integers(1, 3))
        rows.append((str(key), value % 1000, op, draw(st.integers(0, 9)), key % 2, offset, False))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


@given(histories())
def test_folding_again_changes_nothing(history: pl.DataFrame) -> None:
    once = fold(history).rows
    assert fold(once).rows.equals(once)


@given(histories(), st.integers(0, 50))
def test_it_does_not_matter_where_a_history_is_split(history: pl.DataFrame, cut: int) -> None:
    first, rest = history[:cut], history[cut:]
    assert fold(pl.concat([fold(first).rows, rest])).rows.equals(fold(history).rows)


@given(histories(), st.integers(0, 2**32 - 1))
def test_it_does_not_matter_in_what_order_the_rows_arrive(history: pl.DataFrame, seed: int) -> None:
    shuffled = history.sample(fraction=1, shuffle=True, seed=seed)
    assert fold(shuffled).rows.equals(fold(history).rows)


@given(histories())
def test_rows_in_are_rows_out_plus_superseded(history: pl.DataFrame) -> None:
    folded = fold(history)
    assert folded.rows.height + folded.superseded == history.height
    assert folded.rows[KEY].n_unique() == folded.rows.height == history[KEY].n_unique()
