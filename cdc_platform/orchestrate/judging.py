"""Whether the run of a source's verification ends well: what CI goes by, which sees an exit code.

Invariants
- A run of ``verify_<source>`` in which a check failed has failed, whoever started it.
- One in which a check stayed unknown has failed, too, as nothing is proven; but for a schedule's: of a table
  that nobody has filled yet, some checks have nothing to look at, every night.
- Checks that are made in any other run (with a materialization, or chosen in the UI) fail no run.
"""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from cdc_platform.core.source import Source
from cdc_platform.verify.finding import Finding
from cdc_platform.verify.verdict import Verdict

SCHEDULE_TAG = "dagster/schedule_name"
"""Dagster's own, on the runs that a schedule starts."""


def verify_job(source: Source) -> str:
    """The name of the job that makes all checks of a source."""
    return f"verify_{source.name}"


def judged(source: Source, run: dg.DagsterRun, findings: Sequence[Finding]) -> dg.Failure | None:
    """Why the run fails; None if it does not."""
    if run.job_name != verify_job(source):
        return None
    failed, unknown = _named(findings, Verdict.FAIL), _named(findings, Verdict.UNKNOWN)
    if not failed and (not unknown or SCHEDULE_TAG in run.tags):
        return None
    told = [
        f"{len(those)} of {len(findings)} checks {what}: {', '.join(those)}"
        for those, what in ((failed, "failed"), (unknown, "could not be made (unknown)"))
        if those
    ]
    # The checks were made, all of them: made again at once they would say the same.
    return dg.Failure("; ".join(told), allow_retries=False)


def _named(findings: Sequence[Finding], verdict: Verdict) -> list[str]:
    return [f"{each.target} {each.check}" for each in findings if each.verdict is verdict]
