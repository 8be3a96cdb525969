"""Collections that vanish or come back as others are noticed, once."""

from __future__ import annotations

from pathlib import Path

from cdc_platform.connect.collections import KnownCollections

TABLES = ("orders", "people")


def test_a_first_look_finds_nothing_strange_even_if_a_collection_is_not_there_yet(tmp_path: Path) -> None:
    known = KnownCollections(tmp_path / "state" / "shop.json")
    assert known.changes(TABLES, {"orders": "a"}) == {}
    known.keep(TABLES, {"orders": "a"})
    assert known.changes(TABLES, {"orders": "a", "people": "b", "others": "c"}) == {}


def test_what_is_gone_or_another_is_named_with_a_remedy_until_it_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "shop.json"
    KnownCollections(path).keep(TABLES, {"orders": "a", "people": "b"})
    known = KnownCollections(path)
    for _ in range(2):
        changes = known.changes(TABLES, {"people": "z"})
        assert "dropped or renamed" in changes["orders"]
        assert "made again" in changes["people"]
        assert "cdc resume" in changes["people"]
    known.keep(TABLES, {"people": "z"})
    assert known.changes(TABLES, {"people": "z"}) == {}
    assert known.changes(TABLES, {"people": "z", "orders": "new"}) == {}


def test_a_file_that_cannot_be_read_is_a_first_look(tmp_path: Path) -> None:
    path = tmp_path / "shop.json"
    path.write_text("{")
    assert KnownCollections(path).changes(TABLES, {}) == {}
