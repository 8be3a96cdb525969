"""One seed → one program: a history, several replicators, their faults, and the checks.

Everything that is random comes from the seed, so a seed that fails once fails always.
"""

from __future__ import annotations

from functools import partial
from random import Random

from cdc_platform.core.model import Policy
from tests.simulation.check import check_end, check_source, check_versions
from tests.simulation.faults import Fault, Faults, Planned
from tests.simulation.replicator import TABLES, Parts, Replicator, Shared
from tests.simulation.world import Traits, World

REPLICATORS = 3
CALLS = 60
"""Calls of ports in a program of usual length, for each replicator."""


def run(seed: int, parts: Parts | None = None, traits: Traits | None = None) -> list[Faults]:
    """Play one program; gives what happened to each replicator. AssertionError: an invariant broke."""
    rng = Random(seed)
    world, parts = World(rng, traits), parts or Parts()
    shared = Shared(world, parts, rng, {name: parts.tables(name) for name in TABLES})
    # Before the topic grows: of one that grew before, nothing tells which keys have moved.
    for table in shared.tables.values():
        table.open(world.stream)
    replicators: list[Replicator] = []
    faults = [
        Faults(_plan(rng, world), partial(_rival, rng, replicators, number)) for number in range(REPLICATORS)
    ]
    replicators.extend(Replicator(shared, each) for each in faults)
    for _ in range(rng.randint(2, 5)):
        world.happen(rng.randint(1, 6))
        for _ in range(rng.randint(1, 4)):
            rng.choice(replicators).step()
    _end(shared)
    return faults


def _end(shared: Shared) -> None:
    """The faults are over. Whoever was stopped by the policy goes on under one that keeps everything; what
    was interrupted is done again; then the letters are dealt with, too."""
    calm = Replicator(shared, Faults({}, lambda: None))
    if not calm.settle():
        check_end(shared, stopped=True)
        calm = Replicator(shared, Faults({}, lambda: None), values=Policy.JSON)
        assert calm.settle(), "the policy json stops for nothing"
    for replaying in shared.interrupted:
        replaying(calm)
    check_end(shared, stopped=False)
    calm.repair_everything()
    calm.settle()
    check_source(shared)
    check_versions(shared)


def _plan(rng: Random, world: World) -> dict[int, Planned]:
    if world.traits.crowded:
        calls = rng.sample(range(1, CALLS), CALLS // 2)
        return {call: Planned(Fault.RIVAL, rng.random() < 0.5) for call in calls}
    calls = rng.sample(range(1, CALLS), rng.randint(2, 12))
    return {call: Planned(rng.choice(list(Fault)), rng.random() < 0.5) for call in calls}


def _rival(rng: Random, replicators: list[Replicator], number: int) -> None:
    """Another one goes ahead, often an operator's. It may be held up in its turn, by those after it: nobody
    waits in a circle."""
    for _ in range(rng.randint(1, 3)):
        if number + 1 < len(replicators):
            rng.choice(replicators[number + 1 :]).step(operated=0.5)
