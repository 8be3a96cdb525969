"""Why a table of PostgreSQL cannot be read, and what to do about it."""

from __future__ import annotations

import psycopg
from psycopg import errors

from cdc_platform.core.naming import TableId
from cdc_platform.verify.verdict import Cause


def remedy_for(error: psycopg.Error, markers: TableId) -> tuple[Cause, str]:
    match error:
        case errors.LockNotAvailable():
            return (
                Cause.SOURCE_UNREACHABLE,
                "another session has the table locked (pg_stat_activity): prove again when it is done",
            )
        case errors.QueryCanceled():
            return (
                Cause.SOURCE_UNREACHABLE,
                "a statement took too long: look at the server's load, prove again",
            )
        case errors.InsufficientPrivilege():
            return (
                Cause.SOURCE_UNREACHABLE,
                f"grant the user SELECT on the table and SELECT, INSERT, UPDATE, DELETE on {markers}",
            )
        case errors.UndefinedTable() | errors.UndefinedColumn():
            return (
                Cause.SNAPSHOT_EXPIRED,
                f"the table was altered, or {markers} does not exist: prove again; deploying the connector "
                "makes the table of markers",
            )
        case errors.IdleInTransactionSessionTimeout() | errors.SnapshotTooOld():
            return (
                Cause.SNAPSHOT_EXPIRED,
                "prove again, and let sessions be idle for longer than a proof takes",
            )
        case errors.ObjectNotInPrerequisiteState() | errors.FeatureNotSupported():
            return Cause.SOURCE_UNREACHABLE, "prove against the primary: a standby has no position to give"
    return (
        Cause.SOURCE_UNREACHABLE,
        "check that the server is up, takes connections, and lets the user of the source's uri in",
    )
