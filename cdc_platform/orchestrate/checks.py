"""Asset checks: the proof of each collection, as Dagster shows it.

Three verdicts: pass; fail (severity ERROR); unknown (not passed, severity WARN, with its reason). An unknown
is never shown as passed: what could not be checked is not known to be right.
"""

import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import dagster as dg

from cdc_platform.core.model import Kind
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import MARKERS, Source
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.logs import Journal
from cdc_platform.orchestrate.keys import lake_key
from cdc_platform.platform import replicas
from cdc_platform.prove import Subject, prove
from cdc_platform.replicate import Drain, Failure, Replica, Until
from cdc_platform.replicate.fence import fence_if_free
from cdc_platform.verify.truth import MongoTruth, connect
from cdc_platform.verify.verdict import Result, Verdict

ROW_COUNTS, CONTENT = "row_counts", "content"


def proof_checks(source: Source, settings: Settings) -> list[dg.AssetChecksDefinition]:
    """One step that proves all selected collections side by side, at a cluster time each."""

    @dg.multi_asset_check(
        name=f"{source.name}_proof",
        specs=[spec for name in source.collections for spec in _specs(source, name)],
        can_subset=True,
    )
    def proof(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        selected = context.selected_asset_check_keys
        wanted = [
            name
            for name in source.collections
            if any(key.asset_key == lake_key(source, name, Kind.CURRENT) for key in selected)
        ]
        for result in _prove_all(context, source, settings, wanted):
            yield from (r for r in check_results(source, result) if _key(r) in selected)

    return [proof]


def _prove_all(
    context: dg.AssetCheckExecutionContext, source: Source, settings: Settings, wanted: list[str]
) -> list[Result]:
    log = KafkaLog(settings.kafka_bootstrap)
    client = connect(source.uri)
    found = replicas(settings, source, log, {name: frozenset(Kind) for name in wanted})
    try:
        with ThreadPoolExecutor(max_workers=4) as pool:

            def one(replica: Replica) -> Result:
                return prove(
                    Subject(
                        table=replica.name,
                        stream=replica.stream,
                        truth=MongoTruth(client, source.database, replica.name),
                        log=log,
                        changelog=replica.changelog,
                        current=replica.current,
                        markers=source.topic(MARKERS),
                    ),
                    marker=uuid.uuid4().hex,
                    deadline=settings.proof_seconds,
                    clock=time.monotonic,
                    sleep=time.sleep,
                    drain=_catch_up(settings, source, replica, log),
                )

            results = list(pool.map(one, found))
    finally:
        client.close()
    journal = Journal(source.name, run_id=context.run.run_id)
    for result in results:
        context.log.info(result.text)
        journal.proven(result)
    return results


def _catch_up(settings: Settings, source: Source, replica: Replica, log: KafkaLog) -> Callable[[], None]:
    """Bring the table forward, unless a staying run is doing so already."""

    def drain() -> None:
        with fence_if_free(settings, source) as free:
            if not free:
                return
            with Drain([replica], log, Until(caught_up=True)) as work:
                while work.running:
                    outcome = work.take(timeout=0.25)
                    if isinstance(outcome, Failure):
                        raise outcome.error

    return drain


def check_results(source: Source, result: Result) -> list[dg.AssetCheckResult]:
    """The two checks of a proof: the counts alone, and the content."""
    counts = result.counts
    counted = result.verdict is not Verdict.UNKNOWN and counts.source == counts.lake == counts.folded
    shared: dict[str, dg.MetadataValue] = {
        "cdc/verdict": dg.MetadataValue.text(result.verdict.value),
        "cdc/reason": dg.MetadataValue.text(result.text),
        "cdc/position": dg.MetadataValue.text(str(result.position or "")),
        "cdc/source_rows": dg.MetadataValue.int(counts.source or 0),
        "cdc/current_rows": dg.MetadataValue.int(counts.lake or 0),
        "cdc/folded_rows": dg.MetadataValue.int(counts.folded or 0),
        "cdc/changelog_rows": dg.MetadataValue.json(dict(counts.changelog)),
        "cdc/seconds": dg.MetadataValue.float(result.seconds),
    }
    digests: dict[str, dg.MetadataValue] = {
        "cdc/source_digest": dg.MetadataValue.text(result.source_digest or ""),
        "cdc/lake_digest": dg.MetadataValue.text(result.lake_digest or ""),
        "cdc/differing": dg.MetadataValue.json([str(key) for key in result.differing]),
    }
    severity = (
        dg.AssetCheckSeverity.WARN if result.verdict is Verdict.UNKNOWN else dg.AssetCheckSeverity.ERROR
    )
    key = lake_key(source, result.table, Kind.CURRENT)
    return [
        dg.AssetCheckResult(
            passed=counted,
            asset_key=key,
            check_name=ROW_COUNTS,
            severity=severity,
            metadata=shared,
            description=None if counted else result.text,
        ),
        dg.AssetCheckResult(
            passed=result.verdict is Verdict.PASS,
            asset_key=key,
            check_name=CONTENT,
            severity=severity,
            metadata=shared | digests,
            description=None if result.verdict is Verdict.PASS else result.text,
        ),
    ]


def _specs(source: Source, name: str) -> list[dg.AssetCheckSpec]:
    key = lake_key(source, name, Kind.CURRENT)
    return [
        dg.AssetCheckSpec(
            ROW_COUNTS,
            asset=key,
            description="The source, the changelog and the current state hold the same number of rows at one "
            "cluster time.",
        ),
        dg.AssetCheckSpec(
            CONTENT,
            asset=key,
            description="The current state equals the source row by row at one cluster time.",
        ),
    ]


def _key(result: dg.AssetCheckResult) -> dg.AssetCheckKey:
    assert result.asset_key is not None
    assert result.check_name is not None
    return dg.AssetCheckKey(result.asset_key, result.check_name)
