"""MariaDB with a row binlog, its user and the database `shop`.

Invariants
----------
* Ready means: the user of `uri` is let into the database of `uri`.
* There is no other user that can log in: an anonymous one would be taken for a connector that comes from
  this machine, and root has no password.
* The data directory appears in one rename, complete: one that was interrupted is made anew.
* The binlog keeps what a connector may still want, and no more than `_BINLOG_TOTAL`, even if none ever reads.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pymysql

from cdc_platform.core.errors import Terminal
from cdc_platform.local.ports import HOST
from cdc_platform.local.process import Command, NotReadyError
from cdc_platform.local.service import Paths, Service

NAME: Final = "mariadb"
USER: Final = "cdc"
PASSWORD: Final = "cdc"
DATABASE: Final = "shop"

_BINLOG_TOTAL: Final = "4G"
_OPTIONS: Final = (
    "--log-bin=binlog",
    "--binlog-format=ROW",
    "--binlog-row-image=FULL",
    "--binlog-row-metadata=FULL",
    "--gtid-strict-mode=1",
    "--server-id=7",
    "--max-binlog-size=128M",
    f"--max-binlog-total-size={_BINLOG_TOTAL}",
    "--slave-connections-needed-for-purge=0",
    "--binlog-expire-logs-seconds=604800",
    "--sync-binlog=1",  # else what was committed may be missing from the binlog after a crash
    "--character-set-server=utf8mb4",
    "--default-time-zone=+00:00",
    "--max-allowed-packet=64M",
    "--innodb-buffer-pool-size=64M",
    "--table-open-cache=400",
    "--skip-ssl",  # making a certificate takes seconds at every start
    "--skip-name-resolve",
    "--socket=",  # a socket's path is limited to 107 bytes, a state directory's is not
)
_SCRIPTS: Final = (
    "mariadb_system_tables.sql",
    "mariadb_performance_tables.sql",
    "mariadb_system_tables_data.sql",
    "maria_add_gis_sp_bootstrap.sql",
    "mariadb_sys_schema.sql",
)
"""What `mariadb-install-db` runs, without the help tables and the test database."""

_BEFORE: Final = "create database if not exists mysql;\nuse mysql;\nset @auth_root_socket = null;\n"
_AFTER: Final = f"""
delete from mysql.global_priv where User in ('root', '', 'PUBLIC');
delete from mysql.proxies_priv;
flush privileges;
create user {USER}@'%' identified by '{PASSWORD}', {USER}@localhost identified by '{PASSWORD}';
grant all on *.* to {USER}@'%', {USER}@localhost with grant option;
create database {DATABASE};
"""


def uri(port: int, database: str = DATABASE) -> str:
    """An address with the user in it; pymysql and JDBC take its parts."""
    return f"mariadb://{USER}:{PASSWORD}@{HOST}:{port}/{database}"


def service(paths: Paths, base: Path, port: int) -> Service:
    """The server, on the loopback interface alone. `base` is what MariaDB calls basedir."""
    data = paths.data(NAME)
    argv = (*_argv(base, data), *_OPTIONS, f"--bind-address={HOST}", f"--port={port}")

    def prepare(environment: Mapping[str, str]) -> None:
        if not data.exists():
            _initialize(base, data, environment)

    return Service(
        title="MariaDB",
        command=Command(NAME, argv, {}, paths.log(NAME), port),
        prepare=prepare,
        ready=lambda: require_ready(port),
    )


def require_ready(port: int) -> None:
    """Raise `NotReadyError` unless the user is let into the database."""
    try:
        with (
            pymysql.connect(
                host=HOST, port=port, user=USER, password=PASSWORD, database=DATABASE, connect_timeout=2
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("select 1")
    except pymysql.MySQLError as error:
        raise NotReadyError(f"MariaDB on port {port}: {error.args[-1]}") from error


def _argv(base: Path, data: Path) -> tuple[str, ...]:
    user = ("--user=root",) if os.geteuid() == 0 else ()  # it has to be told that this is meant
    return (
        *(str(base / "bin" / "mariadbd"), "--no-defaults", *user),
        *(f"--basedir={base}", f"--datadir={data}", f"--lc-messages-dir={base / 'share'}"),
    )


def _initialize(base: Path, data: Path, environment: Mapping[str, str]) -> None:
    partial = data.with_name(f"{data.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    scripts = [(base / "share" / name).read_bytes() for name in _SCRIPTS]
    options = ("--bootstrap", "--log-warnings=0", "--enforce-storage-engine=", "--max-allowed-packet=8M")
    result = subprocess.run(
        (*_argv(base, partial), *options),
        input=b"".join((_BEFORE.encode(), *scripts, _AFTER.encode())),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        env=dict(environment),
    )
    if result.returncode != 0:
        said = result.stdout.decode(errors="replace").strip()
        raise Terminal(
            f"MariaDB's data directory could not be made: {said[-2000:]}",
            where=str(data),
            remedy="see what it says; a missing library: apt-get install libsystemd0 libcrypt1",
        )
    partial.rename(data)
