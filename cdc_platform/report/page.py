"""The page: one HTML file that needs nothing else, for a screen, a phone and paper, in light and in dark.

Invariants
- Nothing is fetched: no script, no font, no image, no style from elsewhere.
- What the page shows was masked on its way in (``core.masking``), and escaped: a key that looks like
  HTML is text.
- A verdict is a word and a sign; colour only repeats it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from importlib.resources import files

import jinja2

from cdc_platform import __name__ as _package
from cdc_platform.core.masking import masked
from cdc_platform.report.verification import LAG_FACTS, Table, Verification
from cdc_platform.verify.finding import MEANINGS, PROOF, Check, Fact, Finding, Value
from cdc_platform.verify.verdict import SHOWN_KEYS, Verdict

SIGNS: Mapping[Verdict, str] = {Verdict.PASS: "✓", Verdict.FAIL: "✗", Verdict.UNKNOWN: "?"}


def page(told: Verification) -> str:
    """The whole document."""
    template = (files(_package) / "report" / "page.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_masked,
    )
    environment.filters |= {"number": number, "duration": duration, "value": value}
    return environment.from_string(template).render(
        told=told,
        Check=Check,
        Verdict=Verdict,
        signs=SIGNS,
        meanings=MEANINGS,
        shown=SHOWN_KEYS,
        stages=stages,
        rest=rest,
    )


def stages(table: Table) -> list[tuple[str, int | None]]:
    """Rows at each stage, on their way from the source to the table; None: not looked at."""
    if table.proof is None:
        return []
    counts = table.proof.counts
    return [
        ("source", counts.source),
        ("changelog, events", sum(counts.changelog.values()) if counts.changelog else None),
        ("changelog, keys alive", counts.folded),
        ("current, at the position", counts.lake),
        ("current, now", counts.current),
    ]


def rest(finding: Finding) -> list[Fact]:
    """What a check found that the page does not show in a place of its own, as it does a proof's rows,
    digests and keys, and the lag."""
    if finding.check in PROOF:
        kept = "changelog_rows" if finding.check is Check.ROW_COUNTS else "columns_not_compared"
        return [each for each in finding.facts if each.name == kept and each.value]
    return [each for each in finding.facts if not each.name.endswith(LAG_FACTS)]


def number(value: float | None) -> str:
    """With separators; an en dash where there is none."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def duration(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3 min 20 s``, ``1 h 2 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = timedelta(seconds=round(seconds))
    hours, rest = divmod(int(whole.total_seconds()), 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {left} s" if minutes else f"{left} s"


def value(fact: Value) -> str:
    """A fact for a person."""
    match fact:
        case Mapping():
            told = (
                f"{name}: {each:,}" if isinstance(each, int) else f"{name}: {each}"
                for name, each in fact.items()
            )
            return ", ".join(told) or "–"
        case tuple():
            return "; ".join(fact) or "–"
        case str():
            return fact or "–"
    return number(fact)


def _masked(shown: object) -> object:
    """Text that is not the template's own."""
    return masked(shown) if type(shown) is str else shown
