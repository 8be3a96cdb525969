"""A lake that was written once, and a Spark to read it with."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.readers import spark
from tests.readers.written import Written, write


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write(tmp_path_factory.mktemp("lake"))


@pytest.fixture(scope="session")
def java(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Spark's JVM, for all its sessions; its folder goes with the test run's."""
    folder = tmp_path_factory.mktemp("spark")
    with spark.gateway(folder):
        yield folder
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()  # pyspark leaves its sockets to it, and later tests would be blamed


@pytest.fixture(scope="module")
def spark_session(java: Path, written: Written) -> Iterator[SparkSession]:
    """With Delta's and Iceberg's readers; the embedded catalog is ``cdc``. Up in 6 s on two cores."""
    session = spark.session(written.root, java / "warehouse")
    yield session
    session.stop()
