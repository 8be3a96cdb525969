"""What to say of a table that could not be read."""

from __future__ import annotations

from collections.abc import Sequence

from cdc_platform.core.errors import CdcError
from cdc_platform.core.history import History
from cdc_platform.verify.finding import Part, failed, said, unknown
from cdc_platform.verify.verdict import Cause


def unreadable(histories: Sequence[History], error: Exception) -> Part:
    """A file that is missing or damaged is a fault, by its name; anything else is unknown."""
    what = f"The table could not be read: {error}."
    try:
        damage = [f"{each.uri}: {file}" for each in histories for file in each.damaged()]
        if damage:
            return failed(f"The table cannot be read: {'; '.join(damage)}.")
    except CdcError as worse:
        what = said(worse)
    return unknown(Cause.TABLE_UNREADABLE, what)
