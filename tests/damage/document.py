"""The table of ``docs/proof.md``: what is damaged on purpose, and which check finds it.

``python -m tests.damage.document`` writes it into the page.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cdc_platform.verify.finding import Check
from tests.damage.damages import DAMAGES, Damage

PAGE: Final = Path(__file__).parents[2] / "docs" / "proof.md"
BEGIN: Final = "<!-- what is damaged: written by tests/damage/document.py -->"
END: Final = "<!-- end of what is damaged -->"


def table() -> str:
    """In Markdown, a row a damage."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield "| damage to | what is done | found by | went wrong at |"
    yield "|---|---|---|---|"
    for damage in DAMAGES.values():
        at = damage.stage or "not a key's: file or feed are named"
        yield f"| {damage.where} | {damage.sentence} | {_finders(damage)} | {at} |"


def _finders(damage: Damage) -> str:
    found = _listed(damage.found_by)
    others = [
        f"in {stored}, which refuses it: {_listed(checks)}" for stored, checks in damage.refused.items()
    ]
    return "; ".join([found, *others])


def _listed(checks: frozenset[Check]) -> str:
    return ", ".join(f"`{check}`" for check in Check if check in checks)


def written(page: str) -> str:
    """The page with the table of now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
