"""The two formats of a table, held against each other, whatever becomes of looking at them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import polars as pl

from cdc_platform.core.errors import CdcError, MovedBack
from cdc_platform.core.history import History
from cdc_platform.verify.finding import Check, Finding, combined, failed, said, unknown
from cdc_platform.verify.parity import Side, delta_iceberg_parity
from cdc_platform.verify.unreadable import unreadable
from cdc_platform.verify.verdict import Cause


class OneFormat(Protocol):
    """A table under examination. All may raise CdcError."""

    @property
    def histories(self) -> Sequence[History]: ...

    def absent(self, check: Check) -> Finding | None:
        """The finding if it is not there."""
        ...

    def side(self) -> Side: ...


def parity(name: str, tables: Sequence[OneFormat]) -> Finding:
    """One finding, which is both formats'."""
    check = Check.DELTA_ICEBERG_PARITY
    if len(tables) < 2:
        alone = unknown(Cause.NOT_THERE, "The table is declared to be in one format alone.")
        return combined(name, check, [alone])
    try:
        absent = [found for each in tables if (found := each.absent(check))]
        return absent[0] if absent else delta_iceberg_parity(name, *(each.side() for each in tables))
    except MovedBack as error:
        return combined(name, check, [failed(said(error))])
    except CdcError as error:
        return combined(name, check, [unknown(Cause.TABLE_UNREADABLE, said(error))])
    except (pl.exceptions.PolarsError, OSError) as error:
        histories = [history for each in tables for history in each.histories]
        return combined(name, check, [unreadable(histories, error)])
