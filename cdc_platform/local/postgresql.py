"""PostgreSQL with logical decoding, its superuser and the database `shop`.

Invariants
----------
* Ready means: the user of `uri` is let into the database of `uri`.
* PostgreSQL refuses to run as root. Started by root, it and its data belong to `nobody`, who keeps root's
  right to pass directories: the state directory may lie where only root may look.
* A server that is started again never meets backends of one that was killed: PostgreSQL would refuse the data
  directory while one of them holds its memory. They have no cookie left (PostgreSQL writes their titles over
  it), so they are known by their working directory, which is the data directory.
* What a slot holds back is bounded (`_KEEP`): a connector that is never resumed does not fill the disk.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import psutil
import psycopg

from cdc_platform.core.errors import Terminal
from cdc_platform.local import sweep
from cdc_platform.local.ports import HOST
from cdc_platform.local.process import Command, NotReadyError
from cdc_platform.local.service import Paths, Service

NAME: Final = "postgresql"
USER: Final = "cdc"
PASSWORD: Final = "cdc"
DATABASE: Final = "shop"

_KEEP: Final = "4GB"
_SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",  # a socket's path is limited to 107 bytes, a state directory's is not
    "wal_level": "logical",
    "max_wal_senders": "40",
    "max_replication_slots": "40",
    "max_slot_wal_keep_size": _KEEP,
    "max_wal_size": "256MB",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "logging_collector": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_SETPRIV: Final = ("--clear-groups", "--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override")


def uri(port: int, database: str = DATABASE) -> str:
    """What psycopg and JDBC are told the address from."""
    return f"postgresql://{USER}:{PASSWORD}@{HOST}:{port}/{database}"


def service(paths: Paths, programs: Path, port: int) -> Service:
    """The server, on the loopback interface alone. `programs` is the directory of `postgres` and `initdb`."""
    data = paths.data(NAME)
    user = unprivileged()
    settings = {**_SETTINGS, "port": str(port)}
    options = tuple(f"--{name}={value}" for name, value in settings.items())
    argv = (*_as(user), str(programs / "postgres"), "-D", str(data), *options)

    def prepare(environment: Mapping[str, str]) -> None:
        _end_orphans(data)
        if not (data / "PG_VERSION").exists():
            _initialize(paths, programs / "initdb", user, environment)

    return Service(
        title="PostgreSQL",
        command=Command(NAME, argv, {}, paths.log(NAME), port, stop_signal=signal.SIGINT),
        prepare=prepare,
        ready=lambda: create_database(port),
    )


def require_ready(port: int) -> None:
    """Raise `NotReadyError` unless the user is let into the database."""
    _ask(uri(port), "select 1")


def create_database(port: int) -> None:
    """Create what `uri` names, where it is not there yet. Raises `NotReadyError` while nobody is let in."""
    found = _ask(uri(port, "postgres"), f"select 1 from pg_database where datname = '{DATABASE}'")
    if not found:
        _ask(uri(port, "postgres"), f"create database {DATABASE}")


def unprivileged() -> pwd.struct_passwd | None:
    """The user to be instead of root; None where this is not root. Raises `Terminal` if there is none."""
    if os.geteuid() != 0:
        return None
    try:
        if shutil.which("setpriv"):
            return pwd.getpwnam("nobody")
    except KeyError:
        pass
    raise Terminal(
        "PostgreSQL does not run as root, and this machine has no other user to run it as",
        where="needed: the user nobody and the program setpriv",
        remedy="run it as an ordinary user, or install them (Debian and Ubuntu: apt-get install util-linux)",
    )


def _as(user: pwd.struct_passwd | None) -> tuple[str, ...]:
    if user is None:
        return ()
    return ("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", *_SETPRIV)


def _initialize(
    paths: Paths, initdb: Path, user: pwd.struct_passwd | None, environment: Mapping[str, str]
) -> None:
    data = paths.data(NAME)
    shutil.rmtree(data, ignore_errors=True)  # left by one that was interrupted
    data.mkdir(mode=0o700, parents=True)
    password = paths.config / "postgresql.password"
    password.parent.mkdir(parents=True, exist_ok=True)
    password.write_text(PASSWORD)
    if user is not None:
        os.chown(data, user.pw_uid, user.pw_gid)
    argv = (
        *(*_as(user), str(initdb), "-D", str(data), "--no-sync", "--no-instructions"),
        *("-U", USER, f"--pwfile={password}", "--auth=scram-sha-256", "--encoding=UTF8"),
        # Not the machine's: the same order and case everywhere.
        *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
    )
    result = subprocess.run(argv, capture_output=True, text=True, check=False, env=dict(environment))
    if result.returncode != 0:
        shutil.rmtree(data, ignore_errors=True)
        said = (result.stderr or result.stdout).strip()
        raise Terminal(
            f"PostgreSQL's data directory could not be made: {said[-2000:]}",
            where=str(data),
            remedy="see what it says; run by an ordinary user it needs no rights but to that directory",
        )


def _end_orphans(data: Path) -> None:
    orphans = [process for process in psutil.process_iter(["cwd"]) if process.info["cwd"] == str(data)]
    for orphan in orphans:
        sweep.end_tree(orphan, grace_s=5)


def _ask(address: str, statement: str) -> bool:
    """Whether the statement, run on its own, gave a row."""
    try:
        with psycopg.connect(address, connect_timeout=2, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.description is not None and cursor.fetchone() is not None
    except psycopg.Error as error:
        raise NotReadyError(f"PostgreSQL: {str(error).strip()}") from error
