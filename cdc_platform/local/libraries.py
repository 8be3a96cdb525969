"""Shared libraries that mongod needs and a minimal system may lack.

mongod is linked against libcurl (and OpenSSL 3). A slim container image or a freshly installed server often
has no libcurl; the wheel of pycurl carries one, under a name of its own. Invariant: what the system has is
preferred; the wheel's libraries are put before mongod only when it cannot be started without them.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
from collections.abc import Mapping
from pathlib import Path

from cdc_platform.core.errors import Terminal

_WANTED = {
    "libcurl.so.4": "libcurl-*.so.4*",
    "libssl.so.3": "libssl-*.so.3",
    "libcrypto.so.3": "libcrypto-*.so.3",
}


def environment_for(binary: Path, environment: Mapping[str, str], shim: Path) -> dict[str, str]:
    """What to add to the environment so that the binary can be started; empty where it can be started as it
    is.

    `shim` is a directory to make links in. Raises `Terminal`, naming the missing library, if nothing helps.
    """
    complaint = _try(binary, environment)
    if complaint is None:
        return {}
    bundled = _bundled()
    if bundled is not None:
        addition = {"LD_LIBRARY_PATH": f"{_links(bundled, shim)}:{bundled}"}
        if _try(binary, {**environment, **addition}) is None:
            return addition
    raise Terminal(
        f"{binary.name} cannot be run on this machine: {complaint}",
        where=str(binary),
        remedy="install what it names (Debian and Ubuntu: apt-get install libcurl4), or: pip install pycurl",
    )


def _try(binary: Path, environment: Mapping[str, str]) -> str | None:
    """None if the binary starts, else what it (or the dynamic loader) says."""
    result = subprocess.run(
        [binary, "--version"], env=dict(environment), capture_output=True, text=True, check=False, timeout=60
    )
    return None if result.returncode == 0 else (result.stderr or result.stdout).strip()


def _bundled() -> Path | None:
    """The directory of libraries inside the installed pycurl, if it is installed as a wheel that has one."""
    try:
        files = importlib.metadata.files("pycurl") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.match("pycurl.libs/libcurl-*"):
            return Path(str(file.locate())).parent
    return None


def _links(bundled: Path, shim: Path) -> Path:
    shim.mkdir(parents=True, exist_ok=True)
    for name, pattern in _WANTED.items():
        for library in bundled.glob(pattern):
            link = shim / name
            link.unlink(missing_ok=True)
            link.symlink_to(library)
    return shim
