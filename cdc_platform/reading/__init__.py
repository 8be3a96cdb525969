"""Reading the lake from Python: the state, the changes, and the past, in either format.

    from cdc_platform.reading import open_table

    orders = open_table("shop", "orders")
    orders.latest().collect()

``docs/reading.md`` shows what else there is.
"""

from cdc_platform.reading.opening import open_table
from cdc_platform.reading.table import Batch, Changelog, Changes, Moment, Stored, Table
from cdc_platform.reading.tail import State

__all__ = ["Batch", "Changelog", "Changes", "Moment", "State", "Stored", "Table", "open_table"]
