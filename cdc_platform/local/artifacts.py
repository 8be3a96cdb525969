"""The programs of the stack: where they come from, which versions, and where they are kept.

Invariants
----------
* `jars.lock` beside this file names every jar with its SHA-256. Nothing else is ever loaded into a JVM:
  what is fetched is compared before it is used, so two machines run the same bytes. Versions are changed by
  `write_lock`, and nowhere else (`python -m cdc_platform.local.artifacts`).
* A directory under `cache_dir/jars` appears in one rename, complete and checked. A fetch that was
  interrupted leaves only a directory that the next fetch removes.
* Neither Java nor Maven is needed: jgo resolves and downloads in Python, the JRE and mongod come as wheels.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from filelock import FileLock

from cdc_platform.core.errors import Terminal, Transient
from cdc_platform.local import packaged
from cdc_platform.local.cache import make_directory, require_space

if TYPE_CHECKING:
    from jgo.maven import MavenContext

Progress = Callable[[str], None]
"""Receives one line for a person each time something worth knowing happens."""

KAFKA_VERSION: Final = "4.1.1"
DEBEZIUM_VERSION: Final = "3.4.0.Final"
LOG4J_VERSION: Final = "2.24.3"
ICEBERG_VERSION: Final = "1.10.1"

LOCK_FILE: Final = Path(__file__).with_name("jars.lock")

_NEEDED_BYTES: Final = 300_000_000
_PROVIDED_BY_CONNECT: Final = ("kafka-clients", "connect-", "slf4j-")
"""A plugin that brings these along loads classes that Connect has too, and fails on the difference."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A set of jars kept in one directory.

    `roots` are the coordinates that the lock is resolved from, with all that they need; `alone` are taken
    as they are. A coordinate is `group:artifact:version`, with `:classifier` where it has one.
    """

    name: str
    title: str
    roots: tuple[str, ...]
    alone: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()


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
DEBEZIUM: Final = Bundle(
    "debezium-mongodb",
    f"Debezium {DEBEZIUM_VERSION} for MongoDB",
    (f"io.debezium:debezium-connector-mongodb:{DEBEZIUM_VERSION}",),
    leave_out=_PROVIDED_BY_CONNECT,
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

BUNDLES: Final = (KAFKA, DEBEZIUM, ICEBERG_REST, SPARK)


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of the lock."""

    bundle: str
    coordinate: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Artifacts:
    """Paths of everything that is run. `plugins` is what Connect calls plugin.path."""

    java: Path
    mongod: Path
    kafka_jars: Path
    plugins: Path


def ensure(cache_dir: Path, progress: Progress) -> Artifacts:
    """Everything in place, fetched if need be. `Transient` without network, `Terminal` for other trouble."""
    kafka, debezium = (ensure_bundle(bundle, cache_dir, progress) for bundle in (KAFKA, DEBEZIUM))
    return Artifacts(
        java=packaged.java(),
        mongod=packaged.mongod(cache_dir.expanduser().resolve()),
        kafka_jars=kafka,
        plugins=debezium.parent,
    )


def ensure_bundle(bundle: Bundle, cache_dir: Path, progress: Progress) -> Path:
    """The directory with the bundle's jars. Raises as `ensure`."""
    root = cache_dir.expanduser().resolve() / "jars"
    make_directory(root)
    return _ensure_bundle(bundle, read_lock(LOCK_FILE.read_text()), root, progress)


def read_lock(text: str) -> tuple[Jar, ...]:
    """Parse `bundle coordinate sha256` lines; `#` starts a comment line."""
    lines = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return tuple(Jar(*fields) for fields in lines)


def _ensure_bundle(bundle: Bundle, jars: Iterable[Jar], root: Path, progress: Progress) -> Path:
    wanted = [jar for jar in jars if jar.bundle == bundle.name]
    # The digest of the lock is part of the name: another lock is another directory, and none is ever changed.
    digest = hashlib.sha256(
        "\n".join(f"{jar.coordinate} {jar.sha256}" for jar in wanted).encode()
    ).hexdigest()
    # One directory more, because Connect takes each directory *below* plugin.path for one plugin.
    target = root / f"{bundle.name}-{digest[:12]}" / bundle.name
    if target.is_dir():
        return target
    with FileLock(root / f"{bundle.name}.lock"):
        if target.is_dir():
            return target
        require_space(root, _NEEDED_BYTES)
        for leftover in root.glob(f".{bundle.name}-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{bundle.name}-", dir=root))
        try:
            _fetch(bundle, wanted, staging, progress)
            target.parent.mkdir(exist_ok=True)
            (staging / "libs").rename(target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return target


def _fetch(bundle: Bundle, jars: list[Jar], staging: Path, progress: Progress) -> None:
    libs = staging / "libs"
    libs.mkdir()
    progress(f"fetching {bundle.title}: {len(jars)} jars")
    done = 0
    with ThreadPoolExecutor(max_workers=8) as pool:
        jobs = {pool.submit(_download, jar, staging / "repository"): jar for jar in jars}
        for job in as_completed(jobs):
            try:
                path = job.result()
            except Exception as error:
                pool.shutdown(cancel_futures=True)
                raise _fetch_failed(bundle, jobs[job], staging, error) from error
            path.rename(libs / path.name)
            done += 1
            if done % 20 == 0 or done == len(jars):
                progress(f"fetching {bundle.title}: {done} of {len(jars)} jars")


def _download(jar: Jar, repository: Path) -> Path:
    from jgo.maven import MavenContext  # noqa: PLC0415  (0.3 s, and only needed once a machine)

    path = _resolved(MavenContext(repo_cache=repository, timeout=30), jar.coordinate)
    found = _sha256(path)
    if found != jar.sha256:
        raise Terminal(
            f"{path.name} is not the file it should be: SHA-256 {found} instead of {jar.sha256}",
            where=str(LOCK_FILE),
            remedy="something between this machine and the repository changes files; do not use it",
        )
    return path


def _resolved(context: MavenContext, coordinate: str) -> Path:
    group, name, version, *classifier = coordinate.split(":")
    return Path(context.project(group, name).at_version(version).artifact(*classifier).resolve())


def _fetch_failed(bundle: Bundle, jar: Jar, staging: Path, error: Exception) -> Exception:
    import requests  # noqa: PLC0415  (jgo's client, loaded with it)

    if isinstance(error, Terminal):
        return error
    if isinstance(error, requests.exceptions.SSLError):
        return Terminal(
            f"could not fetch {bundle.title}: the server's certificate is not trusted",
            where=jar.coordinate,
            remedy="if this network has its own certificate authority, name its file in REQUESTS_CA_BUNDLE",
        )
    if isinstance(error, requests.exceptions.RequestException):
        return Transient(
            f"could not fetch {bundle.title}: no connection to the Maven repository",
            where=jar.coordinate,
            remedy="connect this machine to the network (HTTPS_PROXY is honoured) and run it again",
        )
    if isinstance(error, OSError):
        return Terminal(f"could not store {bundle.title}: {error.strerror or error}", where=str(staging))
    return Transient(f"could not fetch {bundle.title}: {error}", where=jar.coordinate, remedy="run it again")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_lock(target: Path, progress: Progress) -> None:
    """Resolve the roots of every bundle again and write the lock: done by hand when a version is raised."""
    from jgo import resolve  # noqa: PLC0415
    from jgo.maven import MavenContext  # noqa: PLC0415

    lines = [f"# bundle coordinate sha256; written by `python -m {__spec__.name}`"]
    with tempfile.TemporaryDirectory() as directory:
        context = MavenContext(repo_cache=Path(directory))
        for bundle in BUNDLES:
            progress(f"resolving {bundle.title}")
            needed = resolve("+".join(bundle.roots)) if bundle.roots else ()
            found = {":".join(str(artifact.component).split(":")[:3]) for artifact in needed}
            for coordinate in sorted(found.union(bundle.alone)):
                if coordinate.split(":")[1].startswith(bundle.leave_out):
                    continue
                lines.append(f"{bundle.name} {coordinate} {_sha256(_resolved(context, coordinate))}")
                progress(lines[-1])
    target.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    write_lock(LOCK_FILE, print)
