"""The log's lines, as a collector gets them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
import structlog

from cdc_platform import logs
from cdc_platform.core import model
from cdc_platform.core.errors import SchemaRefused, Transient
from cdc_platform.core.model import Kind, Lag, Receipt, Target
from cdc_platform.core.offsets import Range
from cdc_platform.logs import Format, Journal, LogSettings, trace_fields
from cdc_platform.verify.finding import Check, Finding
from cdc_platform.verify.position import ClusterTime
from cdc_platform.verify.verdict import Cause, DifferingKey, Result, Verdict
from cdc_platform.verify.verdict import Kind as Difference

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
RECEIPT = Receipt(
    table="orders",
    kind=Kind.CHANGELOG,
    version=7,
    ranges={1: Range(5, 9), 0: Range(17, 42)},
    rows_in=1_253,
    applied={"u": 50, "c": 1_000},
    superseded=200,
    dead=3,
    committed_at=datetime(2026, 1, 1, 12, tzinfo=UTC),
    seconds=0.1234,
    lag=Lag(0.5, 0.8123, 1.5),
    added=("note",),
)


@pytest.fixture(autouse=True)
def unconfigured() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in stream.getvalue().splitlines()]


def configured(**settings: str) -> io.StringIO:
    stream = io.StringIO()
    logs.configure(
        LogSettings.model_validate(settings),
        stream=lambda: stream,
        program="run",
        usual=Format.JSON,
        run_id="r1",
        traceparent=TRACE,
    )
    return stream


def test_a_commit_is_one_document_with_its_table_version_ranges_rows_lag_and_seconds() -> None:
    stream = configured(service_name="lake-writer")

    Journal("shop").committed(RECEIPT)

    [line] = lines(stream)
    assert datetime.fromisoformat(line.pop("timestamp")).tzinfo is not None
    assert line == {
        "event": "commit",
        "level": "info",
        "service": "lake-writer",
        "program": "run",
        "run_id": "r1",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "span_id": "00f067aa0ba902b7",
        "source": "shop",
        "table": "orders",
        "format": "delta",
        "kind": "changelog",
        "version": 7,
        "ranges": {"0": [17, 42], "1": [5, 9]},
        "rows_in": 1253,
        "applied": {"u": 50, "c": 1000},
        "superseded": 200,
        "dead_letters": 3,
        "lag_p50_s": 0.5,
        "lag_p95_s": 0.812,
        "lag_max_s": 1.5,
        "seconds": 0.123,
        "columns_added": ["note"],
    }


def test_a_failure_tells_what_where_and_what_to_do() -> None:
    stream = configured()

    Journal("shop").stopped(
        Target("orders", model.Format.DELTA),
        Kind.CHANGELOG,
        SchemaRefused("qty is text", where="topic orders"),
    )
    Journal("shop").failed(Transient("Kafka is silent", remedy="start it"))

    stopped, failed = lines(stream)
    told = ("event", "level", "table", "kind", "error", "what", "where", "transient")
    assert [stopped[name] for name in told] == [
        *("table stopped", "error", "orders", "changelog"),
        *("SchemaRefused", "qty is text", "topic orders", False),
    ]
    assert (failed["event"], failed["remedy"], failed["transient"]) == ("run failed", "start it", True)


def test_a_verdict_is_told_at_its_weight_and_without_the_keys_of_documents() -> None:
    stream = configured()
    proof = Result(
        table="orders",
        verdict=Verdict.FAIL,
        reason="One key differs.",
        seconds=1.5,
        position=ClusterTime(7, 1),
        source_digest="a",
        lake_digest="b",
        differing=(DifferingKey('"ann@example.com"', Difference.MISSING),),
        differing_count=1,
    )

    Journal("shop").proven(proof)
    Journal("shop").proven(
        Result("orders", Verdict.UNKNOWN, "the lake is behind", seconds=90, cause=Cause.LAGGING)
    )

    failed, unknown = lines(stream)
    told = ("level", "verdict", "differing", "position", "reason")
    assert [failed[name] for name in told] == ["error", "fail", 1, "7.1", "One key differs."]
    assert (unknown["level"], unknown["cause"]) == ("warning", "lagging")
    assert "ann" not in stream.getvalue()


def test_a_check_is_a_line_without_the_keys_that_its_text_names() -> None:
    stream = configured()
    text = "The current table is not the fold of its changelog: ann missing."
    Journal("shop").checked(Finding("orders", Check.CDF_INTEGRITY, Verdict.FAIL, text, seconds=1.5))
    Journal("shop").checked(Finding("orders", Check.LAG, Verdict.UNKNOWN, "At rest.", Cause.NOTHING_SEEN))

    failed, unknown = lines(stream)
    told = ("event", "level", "table", "check", "verdict", "seconds")
    assert [failed[name] for name in told] == ["check", "error", "orders", "cdf_integrity", "fail", 1.5]
    assert (unknown["level"], unknown["cause"]) == ("warning", "nothing happened")
    assert "ann" not in stream.getvalue()


def test_no_line_holds_a_password_wherever_it_stands() -> None:
    stream = configured()
    log = structlog.get_logger()

    log.warning(
        "no answer from mongodb://ann:s3cret@db/", uris=["mongodb://ann:s3cret@db/"], password="s3cret"
    )
    try:
        raise ValueError("mongodb://ann:s3cret@db/ is wrong")
    except ValueError:
        log.exception("defect")

    assert "s3cret" not in stream.getvalue()
    assert "ann:***@db" in stream.getvalue()


def test_lines_below_the_level_are_not_written() -> None:
    stream = configured(log_level="error")

    Journal("shop").committed(RECEIPT)

    assert stream.getvalue() == ""


def test_on_a_console_a_line_is_text() -> None:
    stream = configured(log_format="console")

    Journal("shop").committed(RECEIPT)

    assert "commit" in stream.getvalue()
    assert "table=orders" in stream.getvalue()


@pytest.mark.parametrize(
    "none",
    [
        "",
        "nonsense",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ],
)
def test_a_trace_that_is_none_adds_no_field(none: str) -> None:
    assert trace_fields(none) == {}
