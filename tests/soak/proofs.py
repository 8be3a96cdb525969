"""What the stretches of proofs came to, and the report that is made of them.

``PYTHONPATH=. python -m tests.soak.proofs`` reads ``proofs.jsonl`` of the soak's folder and writes
``tests/soak/reports/proofs.json`` and ``proofs.md``.

Invariant: every stretch that was played is in the report, those that failed, too. Nothing is counted that
has no verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import orjson
from pydantic import TypeAdapter

from cdc_platform.core.position import Engine
from cdc_platform.verify.verdict import Verdict
from tests.soak.conftest import FOLDER, ROOT
from tests.stack.concurrent.rounds import Round

LOG = FOLDER / "proofs.jsonl"
REPORTS = ROOT / "tests" / "soak" / "reports"


@dataclass(frozen=True, slots=True)
class Stretch:
    """``done``: the writers' transactions by what became of them. ``compared``: rows that were compared by
    their numbers, each time."""

    at: str
    code: str
    engine: Engine
    number: int
    seed: int
    rounds: tuple[Round, ...]
    done: Mapping[str, int]
    compared: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """Of one engine. ``verdicts``: proofs of one table in one format, with a verdict. ``controls``: those
    after damage; ``found``: of them, those that failed and named the very key. ``taken_back``: keys that had
    changed after a position and were compared as of it."""

    engine: str
    first: str
    last: str
    codes: tuple[str, ...]
    stretches: int
    positions: int
    verdicts: int
    false_alarms: int
    controls: int
    found: int
    false_passes: int
    misnamed: int
    without_verdict: int
    damages: Mapping[str, int]
    taken_back: int
    rows_at_most: int
    rows_compared_by_number: int
    seconds_median: float
    seconds_p95: float
    transactions: Mapping[str, int]
    wrong: tuple[str, ...]


def remember(stretch: Stretch) -> None:
    LOG.parent.mkdir(parents=True, exist_ok=True)
    with LOG.open("ab") as log:
        log.write(orjson.dumps(asdict(stretch)) + b"\n")


def of_engine(engine: Engine, stretches: Sequence[Stretch]) -> Told:
    rounds = [one for each in stretches for one in each.rounds]
    proofs = [proof for one in rounds for proof in one.verifications if not proof.unknown]
    controls = [
        (one, proof) for one in rounds for proof in one.verifications if proof.expected is Verdict.FAIL
    ]
    judged = [(one, proof) for one, proof in controls if not proof.unknown]
    seconds = sorted(proof.seconds for proof in proofs)
    transactions = sum((Counter(each.done) for each in stretches), Counter[str]())
    return Told(
        engine=engine.called,
        first=stretches[0].at,
        last=stretches[-1].at,
        codes=tuple(sorted({each.code for each in stretches})),
        stretches=len(stretches),
        positions=sum(len(_positions(each)) for each in stretches),
        verdicts=len(proofs),
        false_alarms=sum(p.expected is Verdict.PASS and p.verdict is Verdict.FAIL for p in proofs),
        controls=len(judged),
        found=sum(not proof.wrong for _, proof in judged),
        false_passes=sum(proof.verdict is Verdict.PASS for _, proof in judged),
        misnamed=sum(proof.verdict is Verdict.FAIL and bool(proof.wrong) for _, proof in judged),
        without_verdict=sum(proof.unknown for one in rounds for proof in one.verifications),
        damages=dict(sorted(Counter(one.damage for one, proof in judged if not proof.wrong).items())),
        taken_back=sum(proof.reverted or 0 for proof in proofs),
        rows_at_most=max(proof.rows or 0 for proof in proofs),
        rows_compared_by_number=sum(rows for each in stretches for rows in each.compared),
        seconds_median=round(median(seconds), 2),
        seconds_p95=round(seconds[int(0.95 * (len(seconds) - 1))], 2),
        transactions=dict(sorted(transactions.items())),
        wrong=tuple(proof.wrong for proof in proofs if proof.wrong),
    )


def _positions(stretch: Stretch) -> set[str]:
    proofs = [proof for one in stretch.rounds for proof in one.verifications]
    return {proof.position for proof in proofs if proof.position and not proof.unknown}


def told(folder_log: Path = LOG) -> list[Told]:
    lines = folder_log.read_bytes().splitlines()
    stretches = [TypeAdapter(Stretch).validate_json(line) for line in lines]
    by_engine = {engine: [each for each in stretches if each.engine is engine] for engine in Engine}
    return [of_engine(engine, found) for engine, found in by_engine.items() if found]


_ROWS = (
    ("Positions proven, each in Delta and Iceberg", "positions"),
    ("Verdicts (one table in one format)", "verdicts"),
    ("**False alarms**", "false_alarms"),
    ("Controls: one row damaged before the proof", "controls"),
    ("of these found, the very key and what is wrong with it named", "found"),
    ("**False passes**", "false_passes"),
    ("failed, but named otherwise", "misnamed"),
    ("Proofs without a verdict (not counted above)", "without_verdict"),
    ("Keys compared as of the position, as they had changed since", "taken_back"),
    ("Rows of the table, at most", "rows_at_most"),
    ("Rows compared by number, without the proof's code", "rows_compared_by_number"),
    ("Seconds of a proof, median", "seconds_median"),
    ("Seconds of a proof, p95", "seconds_p95"),
)


def markdown(found: Sequence[Told]) -> str:
    lines = [
        "# Proofs under concurrent writers",
        "",
        "Made by `make soak` and `python -m tests.soak.proofs`; the numbers are in `proofs.json`. Three "
        "writers change one table without pause: single writes, bulks, transactions over many rows, large "
        "ones of about a thousand, savepoints, some rolled back, keys that move, rows that are deleted and "
        "come back. Meanwhile the lake is drained, compacted and proven. Each sixth round is a control: one "
        "row of one format is damaged first, and the proof of that format has to fail and name it, the "
        "other's to pass.",
        "",
        _line("", *(each.engine for each in found)),
        _line("---", *("---:" for _ in found)),
        *(_line(title, *(f"{getattr(each, name):,}" for each in found)) for title, name in _ROWS),
        "",
        "## Damage that was found",
        "",
        _line("", *(each.engine for each in found)),
        _line("---", *("---:" for _ in found)),
        *_counted([each.damages for each in found]),
        "",
        "## What the writers did",
        "",
        _line("Transactions", *(each.engine for each in found)),
        _line("---", *("---:" for _ in found)),
        *_counted([each.transactions for each in found]),
        "",
        *(
            f"{each.engine}: {each.stretches} stretches from {each.first} to {each.last}, code "
            f"{', '.join(each.codes)}.  "
            for each in found
        ),
    ]
    return "\n".join([*lines, *(f"\n**Wrong**: {text}" for each in found for text in each.wrong)]) + "\n"


def _counted(columns: Sequence[Mapping[str, int]]) -> list[str]:
    names = sorted({name for column in columns for name in column})
    return [_line(name, *(f"{column.get(name, 0):,}" for column in columns)) for name in names]


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    found = told()
    REPORTS.mkdir(exist_ok=True)
    document = orjson.dumps([asdict(each) for each in found], option=orjson.OPT_INDENT_2)
    (REPORTS / "proofs.json").write_bytes(document + b"\n")
    (REPORTS / "proofs.md").write_text(markdown(found))


if __name__ == "__main__":
    main()
