"""What the last proof that passed says of a table as it is now.

Invariant: a note of a proof counts only for the very table that it is about: one that was made anew, filled
from another topic or taken back is not proven by what was proven before.
"""

from __future__ import annotations

from cdc_platform.core.model import Handle, Kind, Target
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.platform import lake_of, notes, table_name
from cdc_platform.verify.notes import Proven


def proven(settings: Settings, source: Source, target: Target, handle: Handle) -> Proven | None:
    """``handle``: the current table, opened. None if no proof has passed yet. Raises CdcError."""
    note = notes(settings, source, target).read(Kind.CURRENT, Proven)
    if note is None or note.stream != handle.stream or note.version > handle.version:
        return None
    history = lake_of(settings, target.format).history(table_name(source, target.table, Kind.CURRENT))
    return note if note.identity == history.identity() else None
