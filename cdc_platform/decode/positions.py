"""The position of an event, from its envelope's ``source`` and ``transaction`` (``core.position``)."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from cdc_platform.core.position import POSITIONS, Engine


def position(envelope: Mapping[str, pl.DataType], engine: Engine) -> pl.Expr:
    """A struct of the engine's position. ``envelope``: the types of an event's parts."""
    total_order = struct_field(envelope, "transaction", "total_order").alias("total_order")
    if engine is Engine.POSTGRESQL:
        # ["28429640","28428112"]: the commit before this transaction's, and the event's own.
        sequence = struct_field(envelope, "source", "sequence", pl.String())
        own = sequence.str.extract(r'"(\d+)"\]$').cast(pl.Int64)
        found = [
            pl.coalesce(struct_field(envelope, "source", "lsn"), own).alias("lsn"),
            sequence.str.extract(r'^\["(\d+)"').cast(pl.Int64).alias("prior_commit_lsn"),
            struct_field(envelope, "source", "txId").alias("tx_id"),
            total_order,
        ]
    else:
        found = [
            struct_field(envelope, "source", "gtid", pl.String()).alias("gtid"),
            struct_field(envelope, "source", "file", pl.String()).alias("file"),
            struct_field(envelope, "source", "pos").alias("pos"),
            struct_field(envelope, "source", "row").alias("row"),
            total_order,
        ]
    return pl.struct(found).cast(POSITIONS[engine])


def struct_field(
    envelope: Mapping[str, pl.DataType], part: str, name: str, dtype: pl.DataType | None = None
) -> pl.Expr:
    """One field of a part of the envelope, null where the event has no such part."""
    wanted = dtype or pl.Int64()
    struct = envelope.get(part)
    if isinstance(struct, pl.Struct) and any(each.name == name for each in struct.fields):
        return pl.col(part).struct.field(name).cast(wanted)
    return pl.lit(None, dtype=wanted).alias(name)
