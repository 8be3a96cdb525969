"""Verifications as they come to be: two sources, both formats, every verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from cdc_platform.core.model import Format, Target
from cdc_platform.core.position import Engine
from cdc_platform.core.source import Source
from cdc_platform.report.verification import Verification, verified
from cdc_platform.verify.finding import Check, Fact, Finding, of_proof
from cdc_platform.verify.position import ClusterTime
from cdc_platform.verify.verdict import Cause, Counts, DifferingKey, Kind, OpenLetter, Result, Scope, Verdict

AT = ClusterTime(1_795_294_806, 7)
SAME = "0f" * 16
OTHER = "a1" * 16

SHOP = Source(
    name="shop",
    uri="mongodb://reader:hunter2@db.example.com:27017/?replicaSet=rs0",
    database="shop",
    collections=("orders", "customers"),
    formats=tuple(Format),
)
BILLING = Source(
    name="billing",
    engine=Engine.POSTGRESQL,
    uri="postgresql://reader:hunter2@db.example.com:5432",
    database="billing",
    collections=("invoices",),
)


def equal(target: Target, rows: int = 19_047) -> Result:
    return Result(
        table=target.table,
        verdict=Verdict.PASS,
        reason="",
        seconds=1.31,
        position=AT,
        counts=Counts(rows, {"c": rows + 900, "u": 5_100, "d": 900}, rows, rows, rows + 4, 12),
        source_digest=SAME,
        lake_digest=SAME,
        format=target.format,
    )


def different(target: Target) -> Result:
    keys = (
        DifferingKey('{"$oid":"5f2a<b>"}', Kind.MISSING, 0, 4_711),
        DifferingKey("1009", Kind.EXTRA),
        DifferingKey('{"region":"eu","id":4}', Kind.DIFFERENT, 2, 99, ("note", "price")),
    )
    return Result(
        table=target.table,
        verdict=Verdict.FAIL,
        reason="The source has 19047 rows, the current table 19047, the changelog 19047 live keys; 3 of 256 "
        "buckets differ; of 12 keys changed since, 0 lack their last change.",
        seconds=2.4,
        position=AT,
        counts=Counts(19_047, {"c": 19_947, "u": 5_100, "d": 900}, 19_047, 19_047, 19_050, 12),
        source_digest=SAME,
        lake_digest=OTHER,
        differing=keys,
        differing_count=41,
        letters=(OpenLetter(1, 42, "the value of `price` fits no column"),),
        format=target.format,
    )


def in_part(target: Target) -> Result:
    """An incremental proof."""
    through = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
    scope = Scope(312, "1795294500.1", "1795230000.1", through, 18_735, unchanged=False)
    return replace(equal(target), scope=scope)


def unreachable(target: Target) -> Result:
    return Result(
        table=target.table,
        verdict=Verdict.UNKNOWN,
        reason="the database did not answer: postgresql://reader:hunter2@db.example.com:5432\n"
        "  what to do: check that it runs, and prove again",
        seconds=10.0,
        cause=Cause.SOURCE_UNREACHABLE,
        format=target.format,
    )


def others(target: Target, lag: Verdict = Verdict.PASS) -> Iterator[Finding]:
    told = {
        Check.CDF_INTEGRITY: (Verdict.PASS, (Fact("changes", {"insert": 12, "delete": 1}),)),
        Check.OFFSETS_COMPLETE: (Verdict.PASS, (Fact("committed", {"0": 8_411, "1": 8_207, "2": 8_329}),)),
        Check.LAG: (
            lag,
            (
                Fact("connector", "running"),
                Fact("changelog_lag_p50_seconds", 0.71),
                Fact("changelog_lag_p95_seconds", 1.18),
                Fact("changelog_lag_max_seconds", 1.59),
            ),
        ),
        Check.SCHEMA_CONSISTENT: (Verdict.PASS, (Fact("changelog_columns", 21),)),
    }
    for check, (verdict, facts) in told.items():
        text = (
            "p95 of the last minutes is 9.1 s, declared are 5 s." if verdict is Verdict.FAIL else "As it is."
        )
        yield Finding(target.table, check, verdict, text, None, facts, 0.12, target.format)


def verification(*, damaged: bool = False, away: bool = False, some: bool = False) -> Verification:
    """``damaged``: a table differs, and is late. ``away``: PostgreSQL does not answer. ``some``: its proof
    reads not every row."""
    shop, findings = [], []
    for target in SHOP.targets:
        bad = damaged and target == Target("orders", Format.ICEBERG)
        shop.append(different(target) if bad else equal(target))
        findings += [*of_proof(shop[-1]), *others(target, Verdict.FAIL if bad else Verdict.PASS)]
    [target] = BILLING.targets
    billing = unreachable(target) if away else in_part(target) if some else equal(target, 20)
    sources = (
        verified(SHOP, findings, shop),
        verified(BILLING, [*of_proof(billing), *others(target)], [billing]),
    )
    began = datetime(2026, 11, 21, 21, 0, 5, tzinfo=UTC)
    return Verification("Every check of every table of every source.", began, 34.2, sources)
