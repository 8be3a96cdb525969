"""Why a table of MariaDB or MySQL cannot be read, and what to do about it."""

from __future__ import annotations

from typing import Final

import pymysql
from pymysql.constants import ER

from cdc_platform.core.naming import TableId
from cdc_platform.verify.verdict import Cause

_NEWER: Final = frozenset({ER.TABLE_DEF_CHANGED, ER.NO_SUCH_TABLE, ER.BAD_FIELD_ERROR})
_NOT_ALLOWED: Final = frozenset(
    {ER.ACCESS_DENIED_ERROR, ER.DBACCESS_DENIED_ERROR, ER.TABLEACCESS_DENIED_ERROR}
)


def remedy_for(error: pymysql.MySQLError, markers: TableId) -> tuple[Cause, str]:
    code = error.args[0] if error.args else None
    if code in _NEWER:
        return (
            Cause.SNAPSHOT_EXPIRED,
            f"the table was altered, truncated or dropped since, or {markers} does not exist: prove again; "
            "deploying the connector makes the table of markers",
        )
    if code == ER.LOCK_WAIT_TIMEOUT:
        return (
            Cause.SOURCE_UNREACHABLE,
            "another session has the table locked (SHOW PROCESSLIST): prove again when it is done",
        )
    if code in _NOT_ALLOWED:
        return (
            Cause.SOURCE_UNREACHABLE,
            f"check user and password; grant SELECT on the table, and SELECT, INSERT, UPDATE, DELETE on "
            f"{markers}",
        )
    return (
        Cause.SOURCE_UNREACHABLE,
        "check that the server is up, takes connections, and lets the user of the source's uri in",
    )
