"""Other columns for an Iceberg table, as part of a commit that takes out all of its rows.

Invariants (measured on pyiceberg 0.12; the contract suite pins them)
- Columns that begin both the old and the new ones stay as they are: those that a table is partitioned and
  sorted by are among them, as all metadata columns. The others go, and what is new comes behind, in order.
- A column that comes back is another one, also under its name: it has another id, so that nobody reads rows
  of the old one as if they were its own. Versions from before have the old columns still.
- What the table said of the bounds of a column that goes (``bounds``) goes with it.
"""

from __future__ import annotations

from itertools import takewhile

import polars as pl
from pyiceberg.table import Transaction

from cdc_platform.core.logical import stored
from cdc_platform.lake.iceberg.bounds import PREFIX
from cdc_platform.lake.iceberg.marks import documented


def exchange_columns(transaction: Transaction, old: pl.Schema, new: pl.Schema) -> None:
    """Within the transaction the table has the columns ``new``. ``old``: those it has, by logical types."""
    pairs = zip(old.items(), new.items(), strict=False)
    kept = [mine[0] for mine, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]
    if gone := list(old)[len(kept) :]:
        # In an update of their own: a name cannot come back with another type in the one that it goes in.
        with transaction.update_schema(allow_incompatible_changes=True) as columns:
            for name in gone:
                columns.delete_column((name,))
        _forget_bounds(transaction, gone)
    if len(new) > len(kept):
        with transaction.update_schema() as columns:
            columns.union_by_name(documented(stored(pl.DataFrame(schema=new)).schema))


def _forget_bounds(transaction: Transaction, gone: list[str]) -> None:
    told = [
        name
        for name in transaction.table_metadata.properties
        for column in gone
        if name == f"{PREFIX}{column}" or name.startswith(f"{PREFIX}{column}.")
    ]
    if told:
        transaction.remove_properties(*told)
