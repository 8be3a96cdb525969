"""Who shares no code with our writers reads what they wrote: Spark, DuckDB and polars see the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from cdc_platform.core.history import CHANGE, COMMIT
from cdc_platform.core.model import Format, Kind
from cdc_platform.lake.iceberg.catalog import embedded
from tests.lake import independent
from tests.readers import spark
from tests.readers.written import ORDERS, RECORDED, Written, table_name, told, used

# pyspark leaves the sockets to its JVM to the garbage collector.
pytestmark = [
    pytest.mark.stack,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

TABLES = [(name, kind) for name in (ORDERS, *RECORDED) for kind in Kind]
FORMATS = tuple(Format)


def delta_path(written: Written, name: str, kind: Kind) -> str:
    return str(written.root / "delta" / Path(*table_name(name, kind)))


def iceberg_name(name: str, kind: Kind) -> str:
    return ".".join(("cdc", *(f"`{part}`" for part in table_name(name, kind))))


def metadata_path(written: Written, name: str, kind: Kind) -> str:
    """The newest metadata file: a reader without a catalog begins there."""
    return embedded(written.root).load_table(table_name(name, kind)).metadata_location


def snapshots(written: Written, name: str, kind: Kind) -> dict[int, int]:
    """Snapshots by our version."""
    table = embedded(written.root).load_table(table_name(name, kind))
    return {each.sequence_number or 0: each.snapshot_id for each in table.snapshots()}


def by_spark(session: SparkSession, written: Written, form: Format, name: str, kind: Kind) -> pa.Table:
    if form is Format.DELTA:
        return session.read.format("delta").load(delta_path(written, name, kind)).toArrow()
    return session.table(iceberg_name(name, kind)).toArrow()


@pytest.fixture(scope="module")
def duck() -> Iterator[duckdb.DuckDBPyConnection]:
    """With its extensions for both formats, as they come from the package registry."""
    with independent.duck() as connection:
        yield connection


@pytest.mark.parametrize(("name", "kind"), TABLES)
@pytest.mark.parametrize("form", FORMATS)
def test_spark_reads_what_was_written(
    spark_session: SparkSession, written: Written, form: Format, name: str, kind: Kind
) -> None:
    assert told(by_spark(spark_session, written, form, name, kind)) == written.newest(name, kind).rows


@pytest.mark.parametrize(("name", "kind"), [each for each in TABLES if each[0] != "deep"])
@pytest.mark.parametrize("form", FORMATS)
def test_duckdb_reads_what_was_written(
    duck: duckdb.DuckDBPyConnection, written: Written, form: Format, name: str, kind: Kind
) -> None:
    """But for documents a hundred levels deep: DuckDB 1.4 plans a scan of those for ever."""
    scan = {
        Format.DELTA: f"delta_scan('{delta_path(written, name, kind)}')",
        Format.ICEBERG: f"iceberg_scan('{metadata_path(written, name, kind)}')",
    }[form]
    found = duck.execute(f"SELECT * FROM {scan}").fetch_arrow_table()
    assert told(found) == written.newest(name, kind).rows


@pytest.mark.parametrize(("name", "kind"), TABLES)
@pytest.mark.parametrize("form", FORMATS)
def test_polars_reads_what_was_written(written: Written, form: Format, name: str, kind: Kind) -> None:
    found = {
        Format.DELTA: lambda: pl.scan_delta(delta_path(written, name, kind)),
        Format.ICEBERG: lambda: pl.scan_iceberg(metadata_path(written, name, kind)),
    }[form]()
    assert told(found.collect().to_arrow()) == written.newest(name, kind).rows


@pytest.mark.parametrize("kind", Kind)
def test_spark_travels_in_time(spark_session: SparkSession, written: Written, kind: Kind) -> None:
    known = snapshots(written, ORDERS, kind)
    for state in written.states[ORDERS, kind]:
        at = spark_session.read.format("delta").option("versionAsOf", state.versions[Format.DELTA])
        delta = at.load(delta_path(written, ORDERS, kind)).toArrow()
        assert told(used(delta)) == told(used(state.table))
        snapshot = known[state.versions[Format.ICEBERG]]
        iceberg = spark_session.sql(f"SELECT * FROM {iceberg_name(ORDERS, kind)} VERSION AS OF {snapshot}")
        assert told(used(iceberg.toArrow())) == told(used(state.table))


@pytest.mark.parametrize("form", FORMATS)
def test_the_changes_of_the_current_table_by_spark_are_those_of_our_history(
    spark_session: SparkSession, written: Written, form: Format
) -> None:
    upto = written.newest(ORDERS, Kind.CURRENT).versions[form]
    ours = pl.concat(
        written.lakes[form].history(table_name(ORDERS, Kind.CURRENT)).changes(0, upto), how="diagonal"
    )
    theirs = spark_changes(spark_session, written, form)
    columns = ["_key", "name", CHANGE, COMMIT]
    # Spark takes two rows with the same bytes in them for two values, and so a row that was only moved for
    # an update.
    theirs, ours = (each.filter(pl.col("raw").is_null()).select(columns) for each in (theirs, ours))
    assert sorted(theirs.rows(), key=repr) == sorted(ours.rows(), key=repr)
    assert set(theirs[CHANGE].to_list()) == {"insert", "update_preimage", "update_postimage", "delete"}


def spark_changes(session: SparkSession, written: Written, form: Format) -> pl.DataFrame:
    if form is Format.DELTA:
        feed = session.read.format("delta").option("readChangeFeed", "true").option("startingVersion", 1)
        feed_of_all = feed.load(delta_path(written, ORDERS, Kind.CURRENT))
        return pl.DataFrame(feed_of_all.select("_key", "name", "raw", CHANGE, COMMIT).toArrow())
    name = ".".join(table_name(ORDERS, Kind.CURRENT))
    view = f"{ORDERS}_changed"
    session.sql(
        f"CALL cdc.system.create_changelog_view(table => '{name}', changelog_view => '{view}', "
        "identifier_columns => array('_key'))"
    )
    changed = pl.DataFrame(
        session.table(view).select("_key", "name", "raw", CHANGE, "_commit_snapshot_id").toArrow()
    )
    session.catalog.dropTempView(view)
    versions = {snapshot: version for version, snapshot in snapshots(written, ORDERS, Kind.CURRENT).items()}
    return changed.with_columns(
        pl.col(CHANGE)
        .str.to_lowercase()
        .str.replace("update_before", "update_preimage")
        .str.replace("update_after", "update_postimage"),
        pl.col("_commit_snapshot_id").replace_strict(versions).alias(COMMIT),
    )


def test_spark_sees_the_same_commits(spark_session: SparkSession, written: Written) -> None:
    table = iceberg_name(ORDERS, Kind.CURRENT)
    made = pl.DataFrame(spark_session.sql(f"SELECT * FROM {table}.snapshots").toArrow())
    known = snapshots(written, ORDERS, Kind.CURRENT)
    assert made["snapshot_id"].to_list() == [known[n] for n in sorted(known)]
    path = delta_path(written, ORDERS, Kind.CURRENT)
    history = pl.DataFrame(spark_session.sql(f"DESCRIBE HISTORY delta.`{path}`").toArrow())
    newest = written.newest(ORDERS, Kind.CURRENT).versions[Format.DELTA]
    assert sorted(history["version"].to_list()) == list(range(newest + 1))


def test_what_tables_say_of_themselves_is_there_in_a_new_session(
    java: Path, spark_session: SparkSession, written: Written
) -> None:
    before = said_of(spark_session, written)
    spark_session.stop()
    after = said_of(again := spark.session(written.root, java / "warehouse"), written)
    again.stop()
    assert before == after
    assert set(after["tables"]) == {table_name(*each)[1] for each in TABLES}
    assert "cdc.offsets" in after["iceberg"]
    assert "delta.enableChangeDataFeed" in after["delta"]


def said_of(session: SparkSession, written: Written) -> dict[str, Any]:
    path = delta_path(written, ORDERS, Kind.CURRENT)
    iceberg = iceberg_name(ORDERS, Kind.CURRENT)
    return {
        "tables": [row.tableName for row in session.sql("SHOW TABLES IN cdc.shop").collect()],
        "iceberg": str(session.sql(f"DESCRIBE EXTENDED {iceberg}").collect()),
        "delta": str(session.sql(f"DESCRIBE DETAIL delta.`{path}`").collect()),
        "schema": session.read.format("delta").load(path).schema.json(),
    }
