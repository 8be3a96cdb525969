"""One table in one format on its way through a drain, as the reader and the table's workers see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Event

from cdc_platform.core.offsets import Offsets
from cdc_platform.replicate.inbox import Taker
from cdc_platform.replicate.replica import Replica


@dataclass(slots=True, eq=False)
class Lane:
    """``at``: where the changelog stood when it was opened. ``taker``: where its batches come from.
    ``boarded``: there is a taker, or it is known that there will be none. ``appended``: the changelog moved
    since the current state was last merged. ``ended``: nothing more comes for the changelog. ``held``: an
    operator holds the table back. ``full_since``: since when more waits for it than should. ``left``: its
    reader has left it behind.
    """

    replica: Replica
    at: Offsets = field(default_factory=dict)
    taker: Taker | None = None
    boarded: Event = field(default_factory=Event)
    appended: Event = field(default_factory=Event)
    ended: Event = field(default_factory=Event)
    held: bool = False
    full_since: float | None = None
    left: Event = field(default_factory=Event)

    @property
    def topic(self) -> str:
        return self.replica.stream.topic

    def board(self, taker: Taker | None) -> None:
        self.taker = taker
        self.boarded.set()

    def leave(self) -> None:
        """Take nothing more from this reader; another one follows."""
        self.left.set()
        self.boarded.clear()
        self.full_since = None
        if self.taker:
            self.taker.leave()

    def end(self) -> None:
        """Nothing more comes for the changelog."""
        self.ended.set()
        if self.taker:
            self.taker.leave()
