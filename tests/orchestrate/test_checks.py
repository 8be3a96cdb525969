"""What Dagster is shown of a verdict: unknown is never passed, and warns."""

from pathlib import Path

import dagster as dg
import pytest

from cdc_platform.core.model import Format, Kind
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.orchestrate.checks import check_result, proof_checks
from cdc_platform.orchestrate.judging import SCHEDULE_TAG, judged
from cdc_platform.orchestrate.keys import lake_key
from cdc_platform.verify.finding import MEANINGS, Check, Fact, Finding, checks_of, of_proof
from cdc_platform.verify.verdict import Cause, Counts, OpenLetter, Result, Verdict
from tests.cli.calling import unused_port

SOURCE = Source(
    name="shop", uri="mongodb://127.0.0.1:1", database="shop", collections=("orders", "customers")
)

IN_ONE_FORMAT = checks_of([Format.DELTA])


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        kafka_bootstrap=f"127.0.0.1:{unused_port()}",
        kafka_seconds=1,
        connect_url=f"http://127.0.0.1:{unused_port()}",
        lake_root=tmp_path / "lake",
        state_dir=tmp_path,
    )


def test_every_table_has_every_check_with_what_it_says(settings: Settings) -> None:
    specs = [spec for each in proof_checks(SOURCE, settings) for spec in each.check_specs]
    assert {(spec.asset_key, spec.name) for spec in specs} == {
        (lake_key(SOURCE, table, Kind.CURRENT), check.value)
        for table in SOURCE.collections
        for check in IN_ONE_FORMAT
    }
    assert {spec.description for spec in specs} == {MEANINGS[check] for check in IN_ONE_FORMAT}
    assert not any(spec.blocking for spec in specs)


def test_a_table_in_both_formats_has_a_check_of_the_two_in_each(settings: Settings) -> None:
    both = SOURCE.model_copy(update={"collection_formats": {"orders": tuple(Format)}})
    specs = [spec for each in proof_checks(both, settings) for spec in each.check_specs]
    parity = [spec.asset_key for spec in specs if spec.name == Check.DELTA_ICEBERG_PARITY.value]
    assert parity == [lake_key(both, "orders", Kind.CURRENT, stored) for stored in Format]
    assert len(specs) == len(parity) + 3 * len(IN_ONE_FORMAT)


@pytest.mark.parametrize(
    ("verdict", "passed", "severity"),
    [
        (Verdict.PASS, True, dg.AssetCheckSeverity.ERROR),
        (Verdict.FAIL, False, dg.AssetCheckSeverity.ERROR),
        (Verdict.UNKNOWN, False, dg.AssetCheckSeverity.WARN),
    ],
)
def test_a_verdict_is_passed_or_an_error_or_a_warning(
    verdict: Verdict, passed: bool, severity: dg.AssetCheckSeverity
) -> None:
    cause = Cause.LAGGING if verdict is Verdict.UNKNOWN else None
    shown = check_result(SOURCE, Finding("orders", Check.LAG, verdict, "Because.", cause, seconds=1.5))
    assert (shown.passed, shown.severity) == (passed, severity)
    assert shown.description == (None if passed else "Because.")
    assert shown.metadata["cdc/verdict"].value == verdict.value
    assert shown.metadata["cdc/reason"].value == "Because."
    assert shown.metadata["cdc/seconds"].value == 1.5


def test_facts_are_shown_by_their_kind() -> None:
    facts = (Fact("rows", 5), Fact("seconds_late", 0.5), Fact("covered", "0:[0,5)"))
    more = (Fact("differing", ("1", "2")), Fact("changes", {"insert": 2}))
    shown = check_result(SOURCE, Finding("orders", Check.LAG, Verdict.PASS, "Fine.", facts=(*facts, *more)))
    assert {name: each.value for name, each in shown.metadata.items() if name.startswith("cdc/")} == {
        "cdc/verdict": "pass",
        "cdc/cause": "",
        "cdc/reason": "Fine.",
        "cdc/rows": 5,
        "cdc/seconds_late": 0.5,
        "cdc/covered": "0:[0,5)",
        "cdc/differing": ["1", "2"],
        "cdc/changes": {"insert": 2},
        "cdc/seconds": 0.0,
    }


def test_a_proof_is_two_checks_of_which_the_counts_may_pass_alone() -> None:
    counts = Counts(source=3, lake=3, folded=3)
    result = Result("orders", Verdict.FAIL, "It differs.", 1.0, None, counts, "a", "b")
    assert [finding.verdict for finding in of_proof(result)] == [Verdict.PASS, Verdict.FAIL]


def test_open_dead_letters_fail_the_content_whatever_else_is_known() -> None:
    letters = (OpenLetter(1, 7, "not JSON"),)
    result = Result("orders", Verdict.FAIL, "Not reached.", 1.0, cause=Cause.LAGGING, letters=letters)
    counted, content = of_proof(result)
    assert (counted.verdict, content.verdict) == (Verdict.UNKNOWN, Verdict.FAIL)
    assert "1 dead letters are open: 1:7 (not JSON)." in content.text


def job_of_checks(settings: Settings, name: str) -> dg.JobDefinition:
    checks = proof_checks(SOURCE, settings)
    selection = dg.AssetSelection.checks(*checks)
    job = dg.define_asset_job(name, selection=selection, executor_def=dg.in_process_executor)
    return dg.Definitions(asset_checks=checks, jobs=[job]).resolve_job_def(name)


def test_without_services_every_check_is_a_warning(settings: Settings) -> None:
    run = job_of_checks(settings, "others").execute_in_process()
    assert run.success
    found = run.get_asset_check_evaluations()
    assert len(found) == len(SOURCE.collections) * len(IN_ONE_FORMAT)
    for each in found:
        assert not each.passed
        assert each.severity is dg.AssetCheckSeverity.WARN
        assert "Kafka did not answer" in (each.description or "")


def test_the_job_that_verifies_fails_if_nothing_could_be_checked_and_has_every_check(
    settings: Settings,
) -> None:
    run = job_of_checks(settings, "verify_shop").execute_in_process(raise_on_error=False)
    assert not run.success
    assert len(run.get_asset_check_evaluations()) == len(SOURCE.collections) * len(IN_ONE_FORMAT)


def test_a_schedule_is_not_failed_by_what_could_not_be_checked(settings: Settings) -> None:
    tags = {SCHEDULE_TAG: "verify_shop_schedule"}
    assert job_of_checks(settings, "verify_shop").execute_in_process(tags=tags).success


@pytest.mark.parametrize(
    ("job", "tags", "verdicts", "told"),
    [
        ("verify_shop", {}, [Verdict.PASS, Verdict.PASS], None),
        (
            "verify_shop",
            {SCHEDULE_TAG: "nightly"},
            [Verdict.FAIL, Verdict.UNKNOWN],
            "1 of 2 checks failed: orders (delta) content; 1 of 2 checks could not be made (unknown): "
            "orders (delta) content",
        ),
        (
            "verify_shop",
            {},
            [Verdict.PASS, Verdict.UNKNOWN],
            "1 of 2 checks could not be made (unknown): orders (delta) content",
        ),
        ("verify_shop", {SCHEDULE_TAG: "nightly"}, [Verdict.UNKNOWN, Verdict.PASS], None),
        ("another", {}, [Verdict.FAIL, Verdict.UNKNOWN], None),
    ],
)
def test_a_run_that_verifies_ends_as_its_checks_do(
    job: str, tags: dict[str, str], verdicts: list[Verdict], told: str | None
) -> None:
    findings = [
        Finding("orders", Check.CONTENT, each, "Because.", Cause.LAGGING if each is Verdict.UNKNOWN else None)
        for each in verdicts
    ]
    failure = judged(SOURCE, dg.DagsterRun(job_name=job, tags=tags), findings)
    assert (failure.description if failure else None) == told
