"""The programs of the stack: where they come from, which versions, and where they are kept.

Invariants
----------
* `jars.lock` beside this file names every jar with its SHA-256. Nothing else is ever loaded into a JVM:
  what is fetched is compared before it is used, so two machines run the same bytes. Versions are changed by
  `write_lock`, and nowhere else (`python -m cdc_platform.local.artifacts`).
* A directory under `cache_dir/jars` appears in one rename, complete and checked. A fetch that was
  interrupted leaves only a directory that the next fetch removes.
* Neither Java nor Maven is needed: jgo resolves and downloads in Python; the JRE, mongod and PostgreSQL come
  as wheels, MariaDB and the registry as archives in Maven's repository.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from filelock import FileLock

from cdc_platform.core.errors import Terminal, Transient
from cdc_platform.local import packaged
from cdc_platform.local.bundles import BUNDLES, KAFKA, PLUGINS, Archive, Bundle, Provider
from cdc_platform.local.cache import make_directory, require_space

if TYPE_CHECKING:
    from jgo.maven import MavenContext

Progress = Callable[[str], None]
"""Receives one line for a person each time something worth knowing happens."""

LOCK_FILE: Final = Path(__file__).with_name("jars.lock")


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of the lock."""

    bundle: str
    coordinate: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Artifacts:
    """What Kafka and Connect are run from. `plugins` is what Connect calls plugin.path."""

    java: Path
    kafka_jars: Path
    plugins: tuple[Path, ...]


def ensure(cache_dir: Path, progress: Progress) -> Artifacts:
    """All of it in place, fetched if need be. `Transient` without network, `Terminal` for other trouble."""
    kafka, *plugins = (ensure_bundle(bundle, cache_dir, progress) for bundle in (KAFKA, *PLUGINS))
    return Artifacts(packaged.java(), kafka, tuple(plugin.parent for plugin in plugins))


def ensure_bundle(bundle: Bundle, cache_dir: Path, progress: Progress) -> Path:
    """The directory with the bundle's jars, or with what its archive holds. Raises as `ensure`."""
    root = cache_dir.expanduser().resolve() / "jars"
    make_directory(root)
    return _ensure_bundle(bundle, read_lock(LOCK_FILE.read_text()), root, progress)


def read_lock(text: str) -> tuple[Jar, ...]:
    """Parse `bundle coordinate sha256` lines; `#` starts a comment line."""
    lines = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return tuple(Jar(*fields) for fields in lines)


def _ensure_bundle(bundle: Bundle, jars: Iterable[Jar], root: Path, progress: Progress) -> Path:
    wanted = [jar for jar in jars if jar.bundle == bundle.name]
    declared = [f"{bundle.provider}"] if bundle.provider else []
    # The digest of the lock is part of the name: another lock is another directory, and none is ever changed.
    digest = hashlib.sha256(
        "\n".join([*(f"{jar.coordinate} {jar.sha256}" for jar in wanted), *declared]).encode()
    ).hexdigest()
    # One directory more, because Connect takes each directory *below* plugin.path for one plugin.
    target = root / f"{bundle.name}-{digest[:12]}" / bundle.name
    if target.is_dir():
        return target
    with FileLock(root / f"{bundle.name}.lock"):
        if target.is_dir():
            return target
        require_space(root, bundle.needed_bytes)
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
    size = f"some {bundle.needed_bytes // 2_000_000} MB"
    if bundle.provider is not None:
        _declare(bundle.provider, libs / "declared.jar")
    progress(f"fetching {bundle.title}: {size if bundle.archive else f'{len(jars)} jars'}")
    done = 0
    with ThreadPoolExecutor(max_workers=8) as pool:
        jobs = {pool.submit(_download, jar, staging / "repository"): jar for jar in jars}
        for job in as_completed(jobs):
            try:
                path = job.result()
            except Exception as error:
                pool.shutdown(cancel_futures=True)
                raise _fetch_failed(bundle, jobs[job], staging, error) from error
            if bundle.archive is None:
                path.rename(libs / path.name)
            else:
                unpack(bundle.archive, path, libs, staging / "unpacked")
            done += 1
            if done % 20 == 0 or done == len(jars) > 1:
                progress(f"fetching {bundle.title}: {done} of {len(jars)} jars")


def _declare(provider: Provider, jar: Path) -> None:
    with zipfile.ZipFile(jar, "w") as file:
        file.writestr(f"META-INF/services/{provider.service}", f"{provider.class_name}\n")


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


def unpack(archive: Archive, path: Path, target: Path, scratch: Path) -> None:
    """Put the members asked for below `target`; `path` and what is in `scratch` are used up by it."""
    if archive.format == "zip":
        shutil.unpack_archive(path, scratch, "zip")
    else:  # a filter, because without one some versions of Python warn; zip files know no such thing
        shutil.unpack_archive(path, scratch, archive.format, filter="data")
    path.unlink()
    root = scratch / archive.root
    for member in root.rglob("*"):
        name = member.relative_to(root).as_posix()
        if member.is_file() and name.startswith(archive.members):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            member.rename(target / name)
    for program in archive.programs:
        (target / program).chmod(0o755)


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
