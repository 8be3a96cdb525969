"""Writers that change one table without pause, each within keys of its own.

Invariants
- Every write puts a number into its row's ``n`` that no other write has: who has the key and the number has
  the row, and needs none of the code that is tested to compare it.
- A writer that is ``still`` has no transaction open, and begins none.
- What stops a writer is raised when the block ends: silence would make every proof pass.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from threading import Event, Lock, Thread
from typing import Protocol

PAUSE = 0.1
"""Seconds between two transactions of one writer: a few changes each, now and then a thousand."""


class Hand(Protocol):
    """One writer's connection."""

    def write(self, chance: random.Random) -> str:
        """One transaction, and what became of it."""
        ...


class Scribe(Protocol):
    """How the tables of one engine are written."""

    def hand(self, number: int, numbers: Iterator[int], stop: Event) -> AbstractContextManager[Hand]:
        """A connection of the writer's own. ``numbers``: what its rows are given."""
        ...

    def standing(self) -> Mapping[tuple[object, ...], int]:
        """Key → number of every row that the source has now."""
        ...

    def owner(self, key: Mapping[str, object]) -> int:
        """The number of the writer to whom a row's key belongs."""
        ...


@dataclass(slots=True)
class Writers:
    """``done``: transactions by what became of them."""

    scribe: Scribe
    seed: int
    number: int = 3
    done: dict[str, int] = field(default_factory=dict)
    _locks: list[Lock] = field(default_factory=list)
    _failed: list[BaseException] = field(default_factory=list)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        stop, numbers = Event(), count(1)
        self._locks = [Lock() for _ in range(self.number)]
        threads = [
            Thread(target=self._work, args=(number, numbers, stop), name=f"writer {number}")
            for number in range(self.number)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        if self._failed:
            raise self._failed[0]

    @contextmanager
    def still(self, *numbers: int) -> Iterator[None]:
        """These writers, or all of them, do nothing while the block lasts."""
        with ExitStack() as held:
            for number in numbers or range(self.number):
                held.enter_context(self._locks[number])
            yield

    def _work(self, number: int, numbers: Iterator[int], stop: Event) -> None:
        chance = random.Random(f"{self.seed}/{number}")
        try:
            with self.scribe.hand(number, numbers, stop) as hand:
                while not stop.wait(PAUSE):
                    with self._locks[number]:
                        became = hand.write(chance)
                    self.done[became] = self.done.get(became, 0) + 1
        except BaseException as error:
            self._failed.append(error)


def chosen(chance: random.Random, ways: Mapping[Callable[[random.Random], str], int]) -> str:
    """What one of the ways, by their weights, comes to."""
    [way] = chance.choices(list(ways), weights=list(ways.values()))
    return way(chance)
