"""Structured logs on stderr: what a collector indexes, and what an operator searches.

Invariants
- One event, one line; in JSON every field is a value of its own, none is buried in a sentence.
- Every line tells which service and program wrote it, in which run, and within which trace if there is one,
  so that the lines of a hand-over, of a proof and of whoever started them can be put together.
- A line holds no document, and no password: all its texts are masked.
- ``configure`` is called once, at the edge of a program. What is logged without it goes through structlog's
  own defaults, which suit tests alone.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final, Literal, TextIO

import orjson
import structlog
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from cdc_platform.core.errors import CdcError, Transient
from cdc_platform.core.masking import masked_within
from cdc_platform.core.model import Kind, Receipt, Target
from cdc_platform.verify.finding import Finding
from cdc_platform.verify.verdict import Result, Verdict

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?")
"""W3C Trace Context, version 00; a higher version may have more behind it."""


class Format(StrEnum):
    """How lines are written."""

    JSON = "json"
    CONSOLE = "console"


class LogSettings(BaseSettings):
    """Read once, at the edge of the program."""

    model_config = SettingsConfigDict(env_prefix="CDC_", frozen=True)

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe lines that are written."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto",
        description="json: one document a line; console: text. auto: what commands print for people stays "
        "as it is, and Dagster's processes write json.",
    )
    service_name: str = Field(default="cdc", min_length=1, description="Name of the service in every line.")

    def format(self, usual: Format) -> Format:
        """``usual``: what ``auto`` means for the program that asks."""
        return usual if self.log_format == "auto" else Format(self.log_format)


def configure(
    settings: LogSettings,
    *,
    program: str,
    usual: Format,
    run_id: str = "",
    traceparent: str = "",
    stream: Callable[[], TextIO] = lambda: sys.stderr,
) -> None:
    """Send what is logged to ``stream``, which is asked for each logger. The last call counts.

    ``run_id``: of a program that is one run; a Journal tells it where a program has many. ``traceparent``: as
    W3C defines the header; one that is not of its form is as good as none.
    """
    fixed = {"service": settings.service_name, "program": program, **trace_fields(traceparent)}
    if run_id:
        fixed["run_id"] = run_id

    def in_order(_logger: Any, _method: str, event: structlog.typing.EventDict) -> Mapping[str, Any]:
        first = {name: event[name] for name in ("timestamp", "level", "event")}
        return {**first, **fixed, **event}  # a line is read from its left, by people too

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            in_order,
            structlog.processors.format_exc_info,
            _mask,
            _renderer(settings.format(usual)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        logger_factory=lambda *_: structlog.WriteLogger(stream()),
        cache_logger_on_first_use=False,
    )


def trace_fields(traceparent: str) -> dict[str, str]:
    """``trace_id`` and ``span_id`` of a ``traceparent``; empty if it is none, or says that there is none."""
    found = _TRACEPARENT.fullmatch(traceparent.strip())
    if found is None or traceparent.startswith("ff"):
        return {}
    trace, span = found.groups()
    return {"trace_id": trace, "span_id": span} if int(trace, 16) and int(span, 16) else {}


class Journal:
    """What is told of one source's replication, an event a line. ``fields``: stand in each of them, too."""

    def __init__(self, source: str, **fields: str) -> None:
        self._log = structlog.get_logger().bind(source=source, **fields)

    def began(self, **fields: object) -> None:
        """A run begins."""
        self._log.info("run began", **fields)

    def remarked(self, remark: str, **fields: object) -> None:
        """Something an operator may want to know."""
        self._log.info(remark, **fields)

    def committed(self, receipt: Receipt) -> None:
        """Seconds; ranges as partition → [first, next)."""
        lag = receipt.lag
        self._log.info(
            "commit",
            **_table(receipt.target, receipt.kind),
            version=receipt.version,
            ranges={str(p): [r.start, r.end] for p, r in sorted(receipt.ranges.items())},
            rows_in=receipt.rows_in,
            applied=dict(receipt.applied),
            superseded=receipt.superseded,
            dead_letters=receipt.dead,
            lag_p50_s=lag and round(lag.p50, 3),
            lag_p95_s=lag and round(lag.p95, 3),
            lag_max_s=lag and round(lag.max, 3),
            seconds=round(receipt.seconds, 3),
            columns_added=list(receipt.added),
        )

    def stopped(self, target: Target, kind: Kind, error: CdcError) -> None:
        """A table's replication has ended before the others'."""
        self._log.error("table stopped", **_table(target, kind), **_error(error))

    def proven(self, result: Result) -> None:
        """A verdict, without the keys that differ: they are values of documents."""
        self._level(result.verdict)(
            "verdict",
            table=result.table,
            format=result.format.value,
            verdict=result.verdict.value,
            cause=result.cause and result.cause.value,
            reason=result.reason,
            position=result.position and str(result.position),
            source_rows=result.counts.source,
            lake_rows=result.counts.lake,
            differing=result.differing_count,
            scope="incremental" if result.scope else "full",
            valid_through=result.valid_through and result.valid_through.isoformat(),
            seconds=round(result.seconds, 3),
        )

    def checked(self, finding: Finding) -> None:
        """A check's verdict, without its text: that may name keys."""
        self._level(finding.verdict)(
            "check",
            table=finding.table,
            format=finding.format.value,
            check=finding.check.value,
            verdict=finding.verdict.value,
            cause=finding.cause and finding.cause.value,
            seconds=round(finding.seconds, 3),
        )

    def _level(self, verdict: Verdict) -> Callable[..., None]:
        levels: Mapping[Verdict, Callable[..., None]] = {
            Verdict.PASS: self._log.info,
            Verdict.FAIL: self._log.error,
            Verdict.UNKNOWN: self._log.warning,
        }
        return levels[verdict]

    def failed(self, error: CdcError) -> None:
        """The run as a whole cannot go on."""
        self._log.error("run failed", **_error(error))

    def ended(self, why: str, **fields: object) -> None:
        """A run has ended."""
        self._log.info("run ended", why=why, **fields)


def _table(target: Target, kind: Kind) -> dict[str, str]:
    return {"table": target.table, "format": target.format.value, "kind": kind.value}


def _error(error: CdcError) -> dict[str, object]:
    return {
        "error": type(error).__name__,
        "what": error.what,
        "where": error.where,
        "remedy": error.remedy,
        "transient": isinstance(error, Transient),
    }


def _mask(_logger: Any, _method: str, event: structlog.typing.EventDict) -> Mapping[str, Any]:
    masked = masked_within(event)
    assert isinstance(masked, dict)
    return masked


def _renderer(chosen: Format) -> Any:
    if chosen is Format.CONSOLE:
        return structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    return structlog.processors.JSONRenderer(serializer=_json)


def _json(event: object, **_: object) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
