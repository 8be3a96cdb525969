"""The contract over Iceberg tables in a REST catalog, and their upkeep there."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pyiceberg.catalog import Catalog

from cdc_platform.core.columns import DELETE, UPDATE
from cdc_platform.core.model import Kind
from cdc_platform.core.offsets import Range
from cdc_platform.core.ports import LakeTable
from cdc_platform.lake.iceberg.catalog import opened
from cdc_platform.lake.iceberg.table import IcebergLakeTable
from cdc_platform.lake.iceberg.upkeep import compact, expire, remove_orphans
from cdc_platform.local import iceberg_rest
from cdc_platform.local.s3 import ANY, REGION, S3Server
from cdc_platform.local.settings import StackSettings
from cdc_platform.local.stack import Stack
from tests.lake.buckets import access
from tests.lake.contract import LakeTableContract, MergeContract, Tables, apply, content
from tests.lake.rows import STREAM, row

pytestmark = pytest.mark.stack

NAME = ("shop", "orders")
KEPT = ("kept", "orders")


class _Rest:
    kind: Kind

    @pytest.fixture
    def tables(self, rest_catalog: Catalog) -> Tables:
        return lambda: IcebergLakeTable(lambda: rest_catalog, NAME, self.kind)

    def info(self, table: LakeTable) -> Mapping[str, str]:
        assert isinstance(table, IcebergLakeTable)
        return table.newest_info()


class TestChangelog(_Rest, LakeTableContract):
    kind = Kind.CHANGELOG


@pytest.mark.matrix
class TestCurrent(_Rest, MergeContract):
    kind = Kind.CURRENT


@pytest.fixture(scope="session")
def rest_over_s3(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    """A REST catalog that keeps its tables and its metadata in S3, as its clients do."""
    folder, bucket = tmp_path_factory.mktemp("rest-s3"), f"test-{uuid.uuid4().hex}"
    s3_server.make_bucket(bucket)
    given = access(s3_server.endpoint)
    properties = {
        "io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        "client.region": REGION,
        "s3.endpoint": s3_server.endpoint,
        "s3.path-style-access": "true",
        "s3.access-key-id": ANY,
        "s3.secret-access-key": ANY,
    }
    with Stack.attached(folder / "stack", StackSettings(), ephemeral=True) as stack:
        url = iceberg_rest.start(stack, folder, warehouse=f"s3://{bucket}/lake", properties=properties)
        made = opened("rest", {"type": "rest", "uri": url, **given.iceberg})
        yield made
        made.close()


class _RestOverS3(_Rest):
    @pytest.fixture
    def tables(self, rest_over_s3: Catalog) -> Tables:
        name = (f"t{uuid.uuid4().hex}", "orders")
        return lambda: IcebergLakeTable(lambda: rest_over_s3, name, self.kind)


class TestCurrentOverS3InShort(_RestOverS3):
    kind = Kind.CURRENT
    test_a_merge_inserts_replaces_and_deletes = MergeContract.test_a_merge_inserts_replaces_and_deletes
    test_creators_at_once_end_in_one_table = MergeContract.test_creators_at_once_end_in_one_table


@pytest.mark.matrix
class TestChangelogOverS3(_RestOverS3, LakeTableContract):
    kind = Kind.CHANGELOG


@pytest.mark.matrix
class TestCurrentOverS3(_RestOverS3, MergeContract):
    kind = Kind.CURRENT


def test_a_merge_in_a_rest_catalog_and_its_upkeep_keep_rows_and_offsets(rest_catalog: Catalog) -> None:
    table = IcebergLakeTable(lambda: rest_catalog, KEPT, Kind.CURRENT)
    for n in range(5):
        rows = [row(0, 2 * n, f"k{n}", v=n), row(0, 2 * n + 1, "k", UPDATE if n < 4 else DELETE, v=n)]
        apply(table, rows, {0: Range(2 * n, 2 * n + 2)})
    before = content(table)
    assert before["v"].to_list() == [0, 1, 2, 3, 4]
    soon = datetime.now(UTC) + timedelta(minutes=1)
    held = files(rest_catalog)
    remove_orphans(rest_catalog, KEPT, soon)
    assert files(rest_catalog) == held
    assert content(table).equals(before)
    assert compact(rest_catalog, KEPT).files_after == 1
    assert expire(rest_catalog, KEPT, soon) > 5
    remove_orphans(rest_catalog, KEPT, soon)
    assert content(table).equals(before)
    apply(table, [row(0, 10, "k0", DELETE)], {0: Range(10, 11)})
    assert content(table)["v"].to_list() == [1, 2, 3, 4]
    assert table.open(STREAM).offsets == {0: 11}


def files(catalog: Catalog) -> set[str]:
    """All but the checksums that Java writes beside its own files, and can do without."""
    folder = Path(catalog.load_table(KEPT).location().removeprefix("file://"))
    return {each.name for each in folder.rglob("*.*") if each.is_file() and each.suffix != ".crc"}
