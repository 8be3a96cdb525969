"""What the demo says in the end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import orjson
from rich.console import Console

from cdc_platform.demo.report import Report, SourceReport, TableReport

TABLE = TableReport(
    source="billing",
    table="invoices",
    format="delta",
    position="snapshot 1:1:",
    source_rows=3,
    changelog_rows={"r": 2, "c": 1},
    current_rows=3,
    source_digest="aa" * 16,
    lake_digest="aa" * 16,
    lag_p50_s=0.5,
    lag_p95_s=1.0,
    lag_max_s=1.5,
    verdict="pass",
    reason="the lake equals the source",
)


def report(*tables: TableReport, while_writing: str = "pass") -> Report:
    return Report(
        sources=(SourceReport("billing", "PostgreSQL", {"inserted": 1}, 0.1, 1.0),),
        tables=tables,
        while_writing={each.path: while_writing for each in tables},
        changes=1,
        changes_per_second=0.1,
        seconds=10.0,
    )


BOTH = (TABLE, replace(TABLE, format="iceberg"))


def test_a_demo_whose_tables_all_pass_in_both_proofs_has_passed_and_says_that_formats_are_alike() -> None:
    found = report(*BOTH)
    assert found.passed
    assert found.closing == "delta and iceberg equal each other, table by table"


def test_formats_that_differ_are_named_and_fail_the_demo() -> None:
    found = report(TABLE, replace(BOTH[1], lake_digest="bb" * 16))
    assert not found.passed
    assert found.closing == "delta and iceberg differ: billing/invoices"


def test_what_is_unknown_or_was_never_looked_at_has_not_passed() -> None:
    assert not report(*BOTH, while_writing="unknown").passed
    assert not report(replace(TABLE, verdict="unknown")).passed
    assert not report().passed


def test_the_table_has_every_source_with_its_tables_and_fits_a_terminal() -> None:
    wide = replace(TABLE, table="invoice_lines", format="iceberg", source_rows=123_456, lag_p95_s=12.3)
    console = Console(width=80, record=True)
    console.print(report(*BOTH, wide).render())
    said = console.export_text()
    assert "billing (PostgreSQL)" in said
    assert "iceberg/invoice_lines" in said
    assert said.count("pass") == 6
    assert max(map(len, said.splitlines())) <= 80


def test_the_json_has_what_the_table_says(tmp_path: Path) -> None:
    report(*BOTH).write(tmp_path / "demo.json")
    found = orjson.loads((tmp_path / "demo.json").read_bytes())
    assert found["alike"] == {"billing/invoices": True}
    assert found["while_writing"] == {"delta/billing/invoices": "pass", "iceberg/billing/invoices": "pass"}
    assert found["sources"][0]["lag_p95_s"] == 1.0
