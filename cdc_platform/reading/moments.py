"""The version that was the newest at a time."""

from __future__ import annotations

from bisect import bisect_left
from datetime import datetime

from cdc_platform.core.errors import Terminal
from cdc_platform.core.history import Forgotten, History


def version_at(history: History, newest: int, at: datetime) -> int:
    """The newest version that was committed until then, by the writers' clocks; asks for about log2(newest)
    commits.

    Raises Terminal for a time without a zone and one before the first version; Forgotten if the table tells
    no more what it was then.
    """
    if at.tzinfo is None:
        remedy = "give one: datetime(2026, 11, 21, 12, tzinfo=UTC)"
        raise Terminal(f"{at} has no time zone", where=history.uri, remedy=remedy)

    def later(version: int) -> bool:
        """A version that nobody tells of any more was before all others."""
        found = history.commits(version - 1, version)
        return bool(found) and found[0].committed_at > at

    version = bisect_left(range(newest + 1), True, key=later) - 1
    if version >= 0 and history.commits(version - 1, version):
        return version
    oldest = bisect_left(range(newest + 1), True, key=lambda v: bool(history.commits(v - 1, v)))
    first = history.commits(oldest - 1, oldest)
    if not first:
        raise Terminal("the table has no commit yet", where=history.uri, remedy="wait for its first commit")
    what = f"version {oldest} of {first[0].committed_at:%Y-%m-%d %H:%M:%S.%f%z}"
    if oldest > 1:
        raise Forgotten(
            f"what the table was at {at} is not known any more: the oldest that it tells of is {what}",
            where=history.uri,
            remedy="ask for a later time; versions stay retention.files_hours",
        )
    raise Terminal(
        f"at {at} the table was not there yet: its first one is {what}",
        where=history.uri,
        remedy="ask for a later time",
    )
