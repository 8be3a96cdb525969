"""Asset checks: the verdicts on each collection, as Dagster shows them.

Three verdicts: pass; fail (severity ERROR); unknown (not passed, severity WARN, with its reason). An unknown
is never shown as passed: what could not be checked is not known to be right.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import dagster as dg

from cdc_platform.core.model import Target
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.logs import Journal
from cdc_platform.orchestrate.answering import answered
from cdc_platform.orchestrate.judging import judged
from cdc_platform.orchestrate.keys import SOURCE_TAG, checked_key
from cdc_platform.orchestrate.proven import proven_through
from cdc_platform.platform import utc_now
from cdc_platform.verify.finding import MEANINGS, PROOF, Check, Finding, Value, checks_of
from cdc_platform.verify.verdict import Verdict

PRIORITY = "dagster/priority"

Checked = dg.AssetKey | dg.AssetCheckKey


def proof_checks(source: Source, settings: Settings) -> list[dg.AssetChecksDefinition]:
    """One step that looks at all selected collections side by side.

    It depends on no asset, and comes after them by its priority alone: as a dependent of the tables it would
    be skipped for all of them when one is held back, or fails.
    """
    specs = [
        _spec(source, target, check)
        for target in source.targets
        for check in Check
        if check in checks_of(source.formats_of(target.table))
    ]

    @dg.op(
        name=f"{source.name}_proof",
        out={spec.get_python_identifier(): dg.Out(dg.Nothing, is_required=False) for spec in specs},
        tags={PRIORITY: "-1"},
    )
    def proof(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        journal = Journal(source.name, run_id=context.run.run_id)
        wanted = _wanted(source, context.selected_asset_check_keys)
        findings = []
        for finding in answered(settings, source, wanted, journal.proven):
            findings.append(finding)
            _log(context, finding)
            if finding.check not in PROOF:
                journal.checked(finding)
            about = finding.check is Check.CONTENT
            through = proven_through(settings, source, finding.target, utc_now()) if about else {}
            yield check_result(source, finding, through)
        if (failure := judged(source, context.run, findings)) is not None:
            raise failure

    return [
        dg.AssetChecksDefinition.create(
            keys_by_input_name={},
            node_def=proof,
            check_specs_by_output_name={spec.get_python_identifier(): spec for spec in specs},
            can_subset=True,
            resource_defs={},
        )
    ]


def check_result(
    source: Source, finding: Finding, through: Mapping[str, dg.MetadataValue] = MappingProxyType({})
) -> dg.AssetCheckResult:
    """A finding as Dagster keeps it. ``through``: up to when its table is proven by now."""
    passed = finding.verdict is Verdict.PASS
    unknown = finding.verdict is Verdict.UNKNOWN
    return dg.AssetCheckResult(
        passed=passed,
        asset_key=checked_key(source, finding.target),
        check_name=finding.check.value,
        severity=dg.AssetCheckSeverity.WARN if unknown else dg.AssetCheckSeverity.ERROR,
        metadata={
            "cdc/verdict": dg.MetadataValue.text(finding.verdict.value),
            "cdc/cause": dg.MetadataValue.text(finding.cause.value if finding.cause else ""),
            "cdc/reason": dg.MetadataValue.text(finding.text),
            **{f"cdc/{fact.name}": _shown(fact.value) for fact in finding.facts},
            "cdc/seconds": dg.MetadataValue.float(finding.seconds),
            **through,
        },
        description=None if passed else finding.text,
    )


def _wanted(source: Source, selected: set[dg.AssetCheckKey]) -> dict[Target, frozenset[Check]]:
    found = {
        target: frozenset(check for check in Check if _key(source, target, check) in selected)
        for target in source.targets
    }
    return {target: checks for target, checks in found.items() if checks}


def proving(source: Source) -> list[dg.AutomationConditionSensorDefinition]:
    """Asks for the proof of tables that have changed, and of no others, when the declaration says so."""
    if source.schedules.prove is None:
        return []
    checks = [_key(source, target, check) for target in source.targets for check in sorted(PROOF)]
    return [
        dg.AutomationConditionSensorDefinition(
            f"prove_{source.name}",
            target=dg.AssetSelection.checks(*checks),
            default_status=dg.DefaultSensorStatus.RUNNING,
            description=f"Proves the tables of {source.name} that have changed since their last proof, by "
            "the keys that have changed.",
            run_tags={SOURCE_TAG: source.name},
            tags={SOURCE_TAG: source.name},
        )
    ]


def _spec(source: Source, target: Target, check: Check) -> dg.AssetCheckSpec:
    condition = _when_changed(source) if check in PROOF else None
    return dg.AssetCheckSpec(
        check.value,
        asset=checked_key(source, target),
        description=MEANINGS[check],
        automation_condition=condition,
    )


def _when_changed(source: Source) -> dg.AutomationCondition[Checked] | None:
    """Both since this condition last asked for a proof: the table was committed to, and its time has come.

    Not since the last proof was told of: what was committed while it was made came after its position, and
    would never be proven if nothing follows. So a proof that somebody else asked for does not count; that
    costs one that has little to read. Both sides of ``since`` have timestamps, bare as they are: a commit
    between two looks counts even if the first of them asked for a proof.
    """
    if source.schedules.prove is None:
        return None
    plan, zone = source.schedules.prove, source.schedules.timezone
    due: dg.AutomationCondition[Checked] = dg.AutomationCondition.cron_tick_passed(plan, zone)
    changed: dg.AutomationCondition[Checked] = dg.AutomationCondition.any_deps_match(
        dg.AutomationCondition.newly_updated()
    )
    asked: dg.AutomationCondition[Checked] = dg.AutomationCondition.newly_requested()
    running: dg.AutomationCondition[Checked] = dg.AutomationCondition.in_progress()
    wanted = due.since(asked) & changed.since(asked) & ~running
    return wanted.with_label("the table has changed since its last proof was asked for")


def _key(source: Source, target: Target, check: Check) -> dg.AssetCheckKey:
    return dg.AssetCheckKey(checked_key(source, target), check.value)


def _log(context: dg.AssetCheckExecutionContext, finding: Finding) -> None:
    say = context.log.error if finding.verdict is Verdict.FAIL else context.log.info
    say(f"{finding.target} {finding.check} {finding.verdict}: {finding.text}")


def _shown(value: Value) -> dg.MetadataValue:
    match value:
        case bool() | int():
            return dg.MetadataValue.int(int(value))
        case float():
            return dg.MetadataValue.float(value)
        case str():
            return dg.MetadataValue.text(value)
        case tuple():
            return dg.MetadataValue.json(list(value))
        case Mapping():
            return dg.MetadataValue.json(dict(value))
