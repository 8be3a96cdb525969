"""The proofs of all sources, as Dagster runs them, and what they and the writers leave in the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cdc_platform.core.errors import Terminal
from cdc_platform.core.model import Target
from cdc_platform.core.source import Source
from cdc_platform.demo.firm import Member
from cdc_platform.demo.report import Report, SourceReport, TableReport
from cdc_platform.demo.webserver import CheckPath, Webserver
from cdc_platform.verify.finding import PROOF, Check

Verdicts = Mapping[str, Mapping[Target, Mapping[str, object]]]
"""By source and target the metadata of the content check."""


@dataclass(frozen=True, slots=True)
class Proofs:
    """One job a source."""

    webserver: Webserver
    sources: Sequence[Source]

    def are_loaded(self) -> bool:
        return self.webserver.jobs().issuperset(map(_job, self.sources))

    def launch(self, *, everything: bool = False) -> dict[str, str]:
        """The id of each source's run. ``everything``: all checks of its tables, not only the proof; they
        read whole changelogs.
        """
        return {
            source.name: self.webserver.launch(_job(source), () if everything else _proof_of(source))
            for source in self.sources
        }

    def run(self, seconds: float) -> dict[str, str]:
        """As ``launch``; returns when they have ended. ``seconds``: for each at most."""
        runs = self.launch()
        for run_id in runs.values():
            self.webserver.wait(run_id, seconds)
        return runs

    def verdicts(self, runs: Mapping[str, str], seconds: float, say: Callable[[str], None]) -> Verdicts:
        """What these runs found, each once it has ended. Raises Terminal for a table without a verdict."""
        return {source.name: self._of(source, runs[source.name], seconds, say) for source in self.sources}

    def _of(
        self, source: Source, run_id: str, seconds: float, say: Callable[[str], None]
    ) -> dict[Target, Mapping[str, object]]:
        status = self.webserver.wait(run_id, seconds)
        found: dict[Target, Mapping[str, object]] = {}
        for target in source.targets:
            check = self.webserver.check(_key(source, target), Check.CONTENT, run_id)
            if check is None or "cdc/verdict" not in check.metadata:
                why = self.webserver.failure(run_id) or "Dagster gives no reason"
                raise Terminal(
                    f"the proof of {source.name}'s {target} gave no verdict (its run: {status}): {why}",
                    where=f"run {run_id}",
                    remedy="if the machine was too busy, play again with fewer --documents, a lower "
                    "--rate or one --source; else the logs of the demo's Dagster tell more",
                )
            found[target] = check.metadata
            say(f"{source.name}: {check.metadata['cdc/reason']}")
        return found


@dataclass(frozen=True, slots=True)
class Written:
    """What the people of a source did: changes by operation, in so many seconds."""

    changes: Counter[str]
    seconds: float


def told(
    members: Sequence[Member],
    written: Mapping[str, Written],
    during: Verdicts,
    after: Verdicts,
    window: tuple[datetime, datetime],
    seconds: float,
) -> Report:
    """``during``, ``after``: the writing. ``window``: whose commits' lag is measured. ``seconds``: of all."""
    tables = tuple(
        member.lake.report(target, found, window)
        for member in members
        for target, found in after[member.source.name].items()
    )
    changes = sum(each.changes.total() for each in written.values())
    return Report(
        sources=tuple(_source(each, written[each.source.name], tables) for each in members),
        tables=tables,
        while_writing={
            f"{target.format}/{name}/{target.table}": str(found["cdc/verdict"])
            for name, verdicts in during.items()
            for target, found in verdicts.items()
        },
        changes=changes,
        changes_per_second=changes / max(each.seconds for each in written.values()),
        seconds=seconds,
    )


def _source(member: Member, written: Written, tables: Sequence[TableReport]) -> SourceReport:
    name = member.source.name
    lags = [each.lag_p95_s for each in tables if each.source == name and each.lag_p95_s is not None]
    return SourceReport(
        source=name,
        engine=member.source.engine.called,
        changes=dict(written.changes),
        changes_per_second=written.changes.total() / written.seconds,
        lag_p95_s=max(lags, default=None),
    )


def _proof_of(source: Source) -> list[CheckPath]:
    return [(_key(source, target), check) for target in source.targets for check in sorted(PROOF)]


def _key(source: Source, target: Target) -> list[str]:
    """Of the asset that a target's checks are shown at."""
    return [target.format, source.name, target.table]


def _job(source: Source) -> str:
    return f"verify_{source.name}"
