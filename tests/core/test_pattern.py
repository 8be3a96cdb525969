"""Which collections a declaration means."""

import re
from typing import Any

import pytest
from pydantic import ValidationError

from cdc_platform.connect.config import connector_config
from cdc_platform.core.pattern import expression, matches, nearly_matches
from cdc_platform.core.source import Source

GIVEN: dict[str, Any] = {"name": "shop", "uri": "mongodb://db/", "database": "shop.eu"}


def declared(*collections: str, **more: Any) -> Source:
    return Source.model_validate({**GIVEN, "collections": collections, **more})


@pytest.mark.parametrize(
    ("glob", "taken", "left"),
    [
        ("audit_*", ["audit_", "audit_2026", "audit_a.b-c"], ["audit", "xaudit_1", "Audit_1", "audit_a b"]),
        ("log?", ["log1", "log_"], ["log", "log12"]),
        ("*", ["orders", "a.b"], ["system.views", "a,b", "café"]),
        ("a.b*", ["a.b", "a.bc"], ["aXb"]),
    ],
)
def test_a_glob_takes_whole_names_in_their_case_and_no_others(
    glob: str, taken: list[str], left: list[str]
) -> None:
    assert [name for name in taken + left if matches([glob], name)] == taken


def test_a_name_that_only_lacks_a_carried_character_is_known_as_such() -> None:
    assert nearly_matches(["audit_*"], "audit_a b")
    assert not nearly_matches(["audit_*"], "audit_a")
    assert not nearly_matches(["audit_*"], "orders")
    assert not nearly_matches(["*"], "system.views")


def test_globs_are_told_from_names_and_only_names_are_collections() -> None:
    source = declared("orders", "audit_*")
    assert source.collections == ("orders",)
    assert source.globs == ("audit_*",)
    assert Source.model_validate(source.model_dump()) == source


def test_what_is_found_joins_the_collections_once_if_a_glob_takes_it() -> None:
    source = declared("orders", "audit_1", "audit_*")
    grown = source.with_collections(["audit_2", "audit_1", "orders", "other", "cdc_markers", "audit_0"])
    assert grown.collections == ("orders", "audit_1", "audit_0", "audit_2")
    assert declared("orders", "*").with_collections(["cdc_markers"]).collections == ("orders",)


def test_a_source_of_globs_alone_is_one_and_a_source_of_nothing_is_none() -> None:
    assert declared("*").collections == ()
    with pytest.raises(ValidationError, match="name one, at least"):
        declared()


def test_the_connectors_filter_takes_names_and_globs_and_does_not_change_with_what_is_found() -> None:
    source = declared("orders", "audit_*", "log?")
    config = connector_config(source)
    included = config["collection.include.list"].split(",")
    assert len(included) == 5

    def captured(name: str) -> bool:
        return any(re.fullmatch(f"(?:{each})", f"shop.eu.{name}") for each in included)

    wanted = ["orders", "cdc_markers", "cdc_signals", "audit_1", "log1"]
    assert [name for name in [*wanted, "order", "Audit_1", "audit_a b", "logs2"] if captured(name)] == wanted
    assert not re.fullmatch(included[-1], "shopXeu.log1")
    assert connector_config(source.with_collections(["audit_1", "log1"])) == config


def test_an_expression_holds_no_comma() -> None:
    assert "," not in expression("a*b?c.d-e")
