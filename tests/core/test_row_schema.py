"""Which changes of a table's schema each policy takes."""

from __future__ import annotations

import pytest

from cdc_platform.core.row_schema import Column, Compatibility, RowSchema, changes, violations

ID = Column(name="id", type="int32", optional=False)
V = Column(name="v", type="int32")


def schema(*columns: Column, key: tuple[str, ...] = ("id",)) -> RowSchema:
    return RowSchema(columns=(ID, *columns), key=key)


def of(**changed: object) -> RowSchema:
    return schema(V.model_copy(update=changed))


NEEDED = Column(name="n", type="string", optional=False)
DEFAULTED = Column(name="n", type="string", optional=False, default=True)


@pytest.mark.parametrize(
    ("new", "backward", "forward"),
    [
        (schema(V, Column(name="n", type="string")), True, True),
        (schema(V, DEFAULTED), True, True),
        (schema(V, NEEDED), False, True),
        (schema(), True, True),
        (of(type="int64"), True, False),
        (of(type="int16"), False, True),
        (of(type="double"), True, False),
        (of(type="string"), False, False),
        (of(optional=False), False, True),
    ],
)
def test_a_policy_takes_what_its_readers_can_read(new: RowSchema, backward: bool, forward: bool) -> None:
    old = schema(V)
    assert not violations(old, new, Compatibility.NONE)
    assert (not violations(old, new, Compatibility.BACKWARD)) is backward
    assert (not violations(old, new, Compatibility.FORWARD)) is forward
    assert (not violations(old, new, Compatibility.FULL)) is (backward and forward)


def test_a_column_that_had_to_be_there_may_not_go_where_old_readers_go_on() -> None:
    old, new = schema(V, NEEDED), schema(V)
    assert not violations(old, new, Compatibility.BACKWARD)
    assert violations(old, new, Compatibility.FORWARD) == ("n is gone, was not null and had no default",)


@pytest.mark.parametrize(
    ("old", "new", "allowed"),
    [("decimal(10,2)", "decimal(12,2)", True), ("decimal(10,2)", "decimal(12,3)", False),
     ("decimal(10,2)", "decimal(9,2)", False)],
)  # fmt: skip
def test_a_decimal_may_gain_digits_but_not_places(old: str, new: str, allowed: bool) -> None:
    assert (not violations(of(type=old), of(type=new), Compatibility.BACKWARD)) is allowed


def test_another_key_is_never_taken() -> None:
    old, new = schema(V), schema(V, key=("id", "v"))
    assert violations(old, new, Compatibility.NONE) == ("the key was (id) and is (id, v)",)


def test_every_change_is_told_in_words() -> None:
    old = schema(V, NEEDED)
    new = schema(Column(name="v", type="int64", optional=False), Column(name="w", type="date"))
    assert changes(old, new) == (
        "added w date",
        "dropped n string not null",
        "v: int32 became int64",
        "v: not null now",
    )


def test_the_order_of_columns_makes_no_other_schema() -> None:
    columns = (ID, V, NEEDED)
    assert RowSchema(columns=columns).fingerprint == RowSchema(columns=tuple(reversed(columns))).fingerprint
    assert RowSchema(columns=columns).fingerprint != RowSchema(columns=(ID, V)).fingerprint
