"""A lake whose root is in S3, as settings and environment give it: both formats, upkeep and past."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from cdc_platform.core.columns import INGESTED_ON, KEY, OFFSET, OPERATION
from cdc_platform.core.errors import CdcError
from cdc_platform.core.history import Forgotten
from cdc_platform.core.model import Format, Kind, Target
from cdc_platform.core.offsets import Range
from cdc_platform.core.ports import Lake, LakeTable
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.lake.s3 import S3Folder
from cdc_platform.local.s3 import S3Server
from cdc_platform.platform import lake_of, lake_place, notes
from tests.lake.contract import add, apply, content
from tests.lake.rows import STREAM, row
from tests.simulation.program import run
from tests.simulation.replicator import Parts

NAME = ("shop", "orders")
FORMATS = list(Format)


@pytest.fixture
def settings(
    s3_server: S3Server, bucket: S3Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CDC_LAKE_ROOT", f"s3://{bucket.bucket}/some/lake")
    return Settings(state_dir=tmp_path / "state")


# Pairs of formats and properties; all of them: make test-matrix.
ONLY_DELTA = [Format.DELTA, pytest.param(Format.ICEBERG, marks=pytest.mark.matrix)]
ONLY_ICEBERG = [Format.ICEBERG, pytest.param(Format.DELTA, marks=pytest.mark.matrix)]


@pytest.fixture
def lake(request: pytest.FixtureRequest, settings: Settings) -> Lake:
    return lake_of(settings, request.param)


def keys_of(s3: S3Server, place: S3Folder) -> list[str]:
    pages = s3.client().get_paginator("list_objects_v2").paginate(Bucket=place.bucket, Prefix=place.key)
    return [each["Key"] for page in pages for each in page.get("Contents", [])]


def root_of(settings: Settings) -> S3Folder:
    root = lake_place(settings)
    assert isinstance(root, S3Folder)
    return root


def test_what_is_local_stays_local(settings: Settings, tmp_path: Path, s3_server: S3Server) -> None:
    table = lake_of(settings, Format.ICEBERG).table(NAME, Kind.CHANGELOG)
    add(table, [row(0, 0, "a")], {0: Range(0, 1)})
    assert (tmp_path / "state" / "iceberg" / "catalog.db").exists()
    found = [key for key in keys_of(s3_server, root_of(settings)) if not key.endswith("_cdc_probe")]
    assert found
    assert all(key.startswith("some/lake/iceberg/shop/orders/") for key in found)
    source = Source(name="shop", uri="mongodb://h", database="shop", collections=("orders",))
    kept = notes(settings, source, Target("orders", Format.DELTA))
    assert kept.folder == tmp_path / "state" / "checks" / "shop"


def test_a_folder_stays_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDC_LAKE_ROOT", str(tmp_path))
    settings = Settings()
    assert lake_place(settings) == settings.lake_root == tmp_path


@pytest.mark.parametrize("stored", FORMATS)
def test_nothing_is_asked_before_the_first_table_is_needed(
    stored: Format, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    settings = Settings(lake_root="s3://bucket/lake", state_dir=tmp_path)
    lake = lake_of(settings, stored)
    table = lake.table(NAME, Kind.CHANGELOG)
    assert lake.history(NAME).uri == table.uri
    with pytest.raises(CdcError):
        table.open(STREAM)


@pytest.mark.parametrize("lake", ONLY_ICEBERG, indirect=True)
def test_upkeep_changes_files_and_no_row(lake: Lake, settings: Settings, s3_server: S3Server) -> None:
    table = lake.table(NAME, Kind.CURRENT)
    for n in range(6):
        apply(table, [row(0, n, f"k{n}", n=n)], {0: Range(n, n + 1)})
    before = content(table)
    done = lake.compact(NAME)
    assert done.files_before == 6
    assert done.files_after == 1
    files = len(keys_of(s3_server, root_of(settings)))
    assert lake.clean(NAME, 0) > 0
    assert len(keys_of(s3_server, root_of(settings))) < files
    assert content(table).sort(OFFSET).equals(before.sort(OFFSET))
    assert table.open(STREAM).offsets == {0: 6}
    apply(table, [row(0, 6, "k0", "u", n=60)], {0: Range(6, 7)})
    assert table.rows().select(pl.len()).collect().item() == 6


@pytest.mark.parametrize("lake", ONLY_DELTA, indirect=True)
def test_the_past_is_told_and_what_is_missing_of_it(
    lake: Lake, settings: Settings, s3_server: S3Server
) -> None:
    table, history = lake.table(NAME, Kind.CURRENT), lake.history(NAME)
    first = apply(table, [row(0, 0, "a", n=1), row(0, 1, "b", n=1)], {0: Range(0, 2)})
    last = apply(table, [row(0, 2, "a", "u", n=2)], {0: Range(2, 3)})
    versions = [commit.version for commit in history.commits(first.version - 1, last.version)]
    assert versions[0] == first.version
    assert versions[-1] == last.version
    changed = pl.concat(list(history.changes(first.version, last.version, [KEY, "n"])), how="diagonal")
    assert {("a", 1), ("a", 2)} <= set(changed.select(KEY, "n").rows())
    assert sorted(history.rows(first.version).select(KEY, "n").collect().rows()) == [("a", 1), ("b", 1)]
    assert history.damaged() == ()
    assert table.snapshot()[1] == 2
    for key in keys_of(s3_server, root_of(settings)):
        if key.endswith(".parquet") and "checkpoint" not in key:
            s3_server.client().delete_object(Bucket=root_of(settings).bucket, Key=key)
    assert "missing" in "".join(history.damaged())
    with pytest.raises(Forgotten):
        list(history.changes(first.version, last.version, [KEY, "n"]))


@pytest.mark.parametrize("stored", ONLY_DELTA)
def test_a_partitioned_table_of_any_name_is_found_again(settings: Settings, stored: Format) -> None:
    table = lake_of(settings, stored).table(
        ("shop", "Or-ders.of_2"), Kind.CHANGELOG, [INGESTED_ON, OPERATION]
    )
    for n in range(12):
        add(table, [row(0, n, f"k{n}", "u" if n % 2 else "c", n=n)], {0: Range(n, n + 1)})
    assert table.exists()
    assert content(table)["n"].to_list() == list(range(12))
    assert content(table, {0: Range(3, 5)})["n"].to_list() == [3, 4]


@pytest.mark.matrix
@pytest.mark.parametrize("lake", FORMATS, indirect=True)
@pytest.mark.parametrize("seed", range(6))
def test_the_invariants_hold_in_s3(lake: Lake, seed: int) -> None:
    def in_s3(name: str) -> LakeTable:
        return lake.table(("shop", name), "dead_letters" if name == "letters" else Kind(name))

    run(seed, Parts(tables=in_s3))
