"""Results as ratios within one run: the only numbers that mean something on another machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Result:
    """``ours`` and ``theirs``: medians. ``ratio``: how many times better ours is, whichever way is better.
    ``spread``: of ours, (largest - smallest) / median. ``theirs`` and ``ratio`` are None without a peer.
    """

    workload: str
    variant: str
    metric: str
    unit: str
    ours: float
    peer: str | None
    theirs: float | None
    ratio: float | None
    repetitions: int
    spread: float


def result(
    workload: str,
    variant: str,
    metric: str,
    unit: str,
    ours: Sequence[float],
    peer: str | None = None,
    theirs: Sequence[float] = (),
    *,
    more_is_better: bool = False,
) -> Result:
    mine, other = median(ours), median(theirs) if theirs else None
    ratio = None if not other or not mine else (mine / other if more_is_better else other / mine)
    return Result(
        workload,
        variant,
        metric,
        unit,
        round(mine, 3),
        peer,
        None if other is None else round(other, 3),
        None if ratio is None else round(ratio, 2),
        len(ours),
        round((max(ours) - min(ours)) / mine, 3) if mine else 0.0,
    )
