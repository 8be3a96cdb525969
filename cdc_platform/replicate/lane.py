"""One table on its way through a drain, as the reader and the table's workers see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Event

from cdc_platform.replicate.inbox import Inbox
from cdc_platform.replicate.replica import Replica


@dataclass(slots=True)
class Lane:
    """``appended``: the changelog moved since the current state was last merged. ``ended``: nothing more
    comes for the changelog. ``held``: an operator holds the table back. ``paused``: its topic is not fetched.
    """

    replica: Replica
    inbox: Inbox
    appended: Event = field(default_factory=Event)
    ended: Event = field(default_factory=Event)
    held: bool = False
    paused: bool = False
