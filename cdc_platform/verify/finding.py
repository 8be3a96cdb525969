"""What a check says of a table, the same for every check and for whoever shows it.

Invariants
- A finding cannot be built without a reason for its verdict, nor an unknown one without its cause.
- A check looks at several parts. One that fails makes it fail; else one that is unknown makes it unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cdc_platform.core.errors import CdcError
from cdc_platform.core.history import Damaged, Forgotten
from cdc_platform.core.model import Format, Target
from cdc_platform.verify.verdict import Cause, DifferingKey, Result, Unprovable, Verdict

Value = int | float | str | tuple[str, ...] | Mapping[str, int] | Mapping[str, str]


class Check(StrEnum):
    """Every check of a table. The first two need the source, the others the lake and the topic; the last is
    of tables in both formats."""

    ROW_COUNTS = "row_counts"
    CONTENT = "content"
    CDF_INTEGRITY = "cdf_integrity"
    OFFSETS_COMPLETE = "offsets_complete"
    LAG = "lag"
    SCHEMA_CONSISTENT = "schema_consistent"
    DELTA_ICEBERG_PARITY = "delta_iceberg_parity"


PROOF = frozenset({Check.ROW_COUNTS, Check.CONTENT})
"""The checks that one proof at a position answers."""


def checks_of(formats: Collection[Format]) -> frozenset[Check]:
    """Those that a table in these formats has."""
    alone = {Check.DELTA_ICEBERG_PARITY} if len(formats) < 2 else set()
    return frozenset(Check) - alone


MEANINGS: Mapping[Check, str] = {
    Check.ROW_COUNTS: "The source, the changelog and the current state hold the same number of rows at one "
    "position of the source.",
    Check.CONTENT: "The current state equals the source row by row at one position of it, and no dead "
    "letter is open.",
    Check.CDF_INTEGRITY: "Replaying the table's change feed since the last check (Delta's change data feed, "
    "what each Iceberg snapshot changed) gives the current state, images pair up, no version is missing, the "
    "changelog was only appended to; and the current state is the fold of its changelog.",
    Check.OFFSETS_COMPLETE: "Every record that Kafka still holds below the committed offsets is in the "
    "changelog exactly once, and no row lies beyond them.",
    Check.LAG: "Changes reach the changelog within the source's declared lag_seconds (p95 of the last "
    "minutes; of a table at rest, a marker), none waits longer, and the connector has not failed.",
    Check.SCHEMA_CONSISTENT: "Changelog and current state have the same columns and types, and no column "
    "that the last check saw has vanished or changed its type.",
    Check.DELTA_ICEBERG_PARITY: "At one place in the topic, the Delta and the Iceberg table have the same "
    "rows, and their changelogs the same events. Of tables in both formats.",
}
"""What each check says when it passes."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A number or text that belongs to a verdict, for a program. Durations are in seconds."""

    name: str
    value: Value


@dataclass(frozen=True, slots=True)
class Part:
    """One of the things a check looks at. ``text``: a sentence or more, of what was looked at or found."""

    verdict: Verdict
    text: str
    cause: Cause | None = None
    facts: tuple[Fact, ...] = ()

    def __post_init__(self) -> None:
        if not self.text or (self.verdict is Verdict.UNKNOWN) != (self.cause is not None):
            raise ValueError(f"a part that says {self.verdict} without grounds: {self}")


@dataclass(frozen=True, slots=True)
class Finding:
    """One check of one table in one format. ``text``: a paragraph for a person. ``seconds``: duration."""

    table: str
    check: Check
    verdict: Verdict
    text: str
    cause: Cause | None = None
    facts: tuple[Fact, ...] = ()
    seconds: float = 0.0
    format: Format = Format.DELTA

    @property
    def target(self) -> Target:
        return Target(self.table, self.format)

    def __post_init__(self) -> None:
        if not self.text or (self.verdict is Verdict.UNKNOWN and self.cause is None):
            raise ValueError(f"a finding that says {self.verdict} without grounds: {self}")


def passed(text: str, *facts: Fact) -> Part:
    return Part(Verdict.PASS, text, None, facts)


def failed(text: str, *facts: Fact) -> Part:
    return Part(Verdict.FAIL, text, None, facts)


def unknown(cause: Cause, text: str, *facts: Fact) -> Part:
    return Part(Verdict.UNKNOWN, text, cause, facts)


def part(look: Callable[[], Part]) -> Part:
    """What was found; unknown if it could not be looked at."""
    try:
        return look()
    except Unprovable as error:
        return unknown(error.cause, said(error))
    except Forgotten as error:
        return unknown(Cause.FORGOTTEN, said(error))
    except Damaged as error:
        return failed(said(error))
    except CdcError as error:
        return unknown(Cause.TABLE_UNREADABLE, said(error))


def said(error: CdcError) -> str:
    """An error as sentences of a paragraph."""
    what = error.what[:1].upper() + error.what[1:]
    where = f" ({error.where})" if error.where else ""
    remedy = f" What to do: {error.remedy}." if error.remedy else ""
    return f"{what}{where}.{remedy}"


def combined(table: str, check: Check, parts: Sequence[Part]) -> Finding:
    """At least one part. The text begins with what decided the verdict."""
    order = (Verdict.FAIL, Verdict.UNKNOWN, Verdict.PASS)
    ranked = sorted(parts, key=lambda each: order.index(each.verdict))
    decided = ranked[0]
    return Finding(
        table=table,
        check=check,
        verdict=decided.verdict,
        text=" ".join(each.text for each in ranked),
        cause=decided.cause,
        facts=tuple(fact for each in parts for fact in each.facts),
    )


def stages_of(keys: Sequence[DifferingKey]) -> Fact:
    """At which hand-over each key went wrong, as far as that was looked for."""
    return Fact("stages", {each.key: each.stage.value for each in keys if each.stage is not None})


def of_proof(result: Result) -> tuple[Finding, Finding]:
    """The two checks of a proof: the counts alone, and the content."""
    counts = result.counts
    folded = () if result.scope else (Fact("folded_rows", counts.folded or 0),)
    changelog = () if result.scope else (Fact("changelog_rows", counts.changelog),)
    shared = (
        Fact("position", str(result.position or "")),
        Fact("source_rows", counts.source or 0),
        Fact("current_rows", counts.lake or 0),
        *folded,
        *changelog,
        *_reach(result),
    )
    digests = (
        Fact("source_digest", result.source_digest or ""),
        Fact("lake_digest", result.lake_digest or ""),
        Fact("differing", tuple(str(key) for key in result.differing)),
        stages_of(result.differing),
        Fact("columns_not_compared", result.beyond),
        Fact("dead_letters", tuple(str(letter) for letter in result.letters)),
    )

    def finding(check: Check, verdict: Verdict, facts: tuple[Fact, ...]) -> Finding:
        return Finding(
            result.table, check, verdict, result.text, result.cause, facts, result.seconds, result.format
        )

    return (
        finding(Check.ROW_COUNTS, _counted(result), shared),
        finding(Check.CONTENT, result.verdict, (*shared, *digests)),
    )


def _reach(result: Result) -> Iterator[Fact]:
    """What was read, and what is proven by it."""
    if scope := result.scope:
        yield Fact("keys_read", scope.keys)
        yield Fact("rows_not_read", scope.unread)
        yield Fact("last_full_position", scope.whole)
    if result.verdict is not Verdict.UNKNOWN:
        yield Fact("scope", "incremental" if result.scope else "full")
    if result.valid_through and result.checked_through:
        yield Fact("valid_through", result.valid_through.isoformat())
        yield Fact("checked_through", result.checked_through.isoformat())


def _counted(result: Result) -> Verdict:
    if result.cause is not None:
        return Verdict.UNKNOWN
    counts = result.counts
    equal = counts.source == counts.lake and (bool(result.scope) or counts.lake == counts.folded)
    return Verdict.PASS if equal else Verdict.FAIL
