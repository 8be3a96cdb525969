"""Everything that is done to a lake on purpose: a function and a sentence each, the checks that find it, and
the hand-over at which the keys it hits are said to have gone wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from types import MappingProxyType
from typing import Final

import polars as pl

from cdc_platform.core.columns import DELETE, KEY, METADATA, OFFSET, OPERATION, PARTITION
from cdc_platform.core.model import Format, Kind
from cdc_platform.verify.finding import Check
from cdc_platform.verify.verdict import Stage
from tests.damage.outsider import Outsider, flip

NAME, NOTE, PRICE, AT, SIZE = "name", "note", "price", "at", "size"
"""Columns of the table that is damaged: two texts, a decimal, a time, a double."""


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of one format, and keys to hit. ``plain`` and ``other`` have one event, ``changed`` several,
    ``deleted`` is gone. ``changed`` was last changed, and ``plain`` made, before the newest commit."""

    current: Outsider
    changelog: Outsider
    plain: str
    other: str
    changed: str
    deleted: str

    def last(self, key: str, *, before: bool = False) -> pl.DataFrame:
        """The key's last row in the changelog, or the one before that."""
        rows = self.changelog.rows().filter(pl.col(KEY) == key).sort(PARTITION, OFFSET)
        return rows[-2 if before else -1]

    def newest(self) -> pl.DataFrame:
        """The changelog's rows that its newest commit of rows brought."""
        before = self.changelog.rows(back=back(self.changelog))
        return self.changelog.rows().join(before, on=_EVENT[1:], how="anti")


_EVENT: Final = [KEY, PARTITION, OFFSET]


def back(table: Outsider) -> int:
    """How many versions ago the table had other rows."""

    def events(versions: int) -> list[object]:
        return table.rows(back=versions).select(_EVENT).sort(_EVENT).rows()

    return next(versions for versions in count(1) if events(versions) != events(0))


Hits = Sequence[str]
"""Keys that were hit."""


@dataclass(frozen=True, slots=True)
class Damage:
    """``found_by``: the checks that fail. ``stage``: None if no key is at fault, but a file or the feed.
    ``refused``: formats whose table cannot be opened any more, and the checks that fail for that."""

    name: str
    sentence: str
    where: Kind
    found_by: frozenset[Check]
    stage: Stage | None
    do: Callable[[Tables], Hits]
    refused: Mapping[Format, frozenset[Check]] = field(default_factory=dict)

    def finders(self, stored: Format) -> frozenset[Check]:
        return self.refused.get(stored, self.found_by)


DAMAGES: Final[dict[str, Damage]] = {}

PROOF: Final = frozenset({Check.CONTENT, Check.ROW_COUNTS, Check.CDF_INTEGRITY, Check.DELTA_ICEBERG_PARITY})
VALUES: Final = PROOF - {Check.ROW_COUNTS}
EVENTS: Final = frozenset({Check.CDF_INTEGRITY, Check.OFFSETS_COMPLETE, Check.DELTA_ICEBERG_PARITY})
COUNTS: Final = frozenset({Check.ROW_COUNTS, Check.CONTENT})
OPENED: Final = VALUES | {Check.SCHEMA_CONSISTENT}
"""Checks that tell of a current table that refuses to be opened; the proof compares it as it is."""


def damage(
    where: Kind,
    found_by: frozenset[Check],
    stage: Stage | None,
    refused: Mapping[Format, frozenset[Check]] = MappingProxyType({}),
) -> Callable[[Callable[[Tables], Hits]], Callable[[Tables], Hits]]:
    """Declares a damage; its name is the function's, its sentence the function's docstring."""

    def declared(do: Callable[[Tables], Hits]) -> Callable[[Tables], Hits]:
        name = do.__name__.replace("_", " ")
        sentence = " ".join((do.__doc__ or "").split())
        DAMAGES[name] = Damage(name, sentence, where, found_by, stage, do, refused)
        return do

    return declared


of_current = partial(damage, Kind.CURRENT)
of_changelog = partial(damage, Kind.CHANGELOG)


def put(table: Outsider, key: str, *values: pl.Expr) -> Hits:
    """Other values into the row of a key."""
    table.replace(key, table.rows().filter(pl.col(KEY) == key).with_columns(values))
    return [key]


def _scaled(dtype: pl.DataType, by: str) -> pl.Expr:
    """The decimal with its point moved, however it is stored."""
    price = pl.col(PRICE)
    if dtype == pl.String:
        return price.cast(pl.Decimal(38, 4)).cast(pl.Float64).mul(float(by)).cast(pl.String)
    return (price * pl.lit(by).cast(pl.Decimal(38, 4))).cast(dtype)


@of_current(PROOF, Stage.CURRENT)
def row_lost(tables: Tables) -> Hits:
    """Somebody's DELETE takes a row out of the current table."""
    tables.current.remove(tables.plain)
    return [tables.plain]


@of_current(PROOF, Stage.CURRENT)
def row_doubled(tables: Tables) -> Hits:
    """A row is written into the current table a second time."""
    tables.current.append(tables.current.rows().filter(pl.col(KEY) == tables.plain))
    return [tables.plain]


@of_current(VALUES, Stage.CURRENT)
def row_stale(tables: Tables) -> Hits:
    """The current table has the row that was there before the last change."""
    row = tables.last(tables.changed, before=True).select(tables.current.rows().columns)
    tables.current.replace(tables.changed, row)
    return [tables.changed]


@of_current(PROOF, Stage.CURRENT)
def row_resurrected(tables: Tables) -> Hits:
    """An older copy brings a deleted row back into the current table."""
    row = tables.last(tables.deleted, before=True).select(tables.current.rows().columns)
    tables.current.append(row)
    return [tables.deleted]


@of_current(PROOF, Stage.CURRENT)
def delete_lost(tables: Tables) -> Hits:
    """A merge of the platform's own, by its metadata, leaves a deleted row where it was."""
    row = tables.last(tables.deleted, before=True).select(tables.current.rows().columns)
    tables.current.append(row, signed=True)
    return [tables.deleted]


@of_current(PROOF, Stage.CURRENT)
def row_invented(tables: Tables) -> Hits:
    """A row that no source ever had is written into the current table."""
    row = tables.current.rows().filter(pl.col(KEY) == tables.plain)
    tables.current.append(row.with_columns(pl.lit(f"{tables.plain}0").alias(KEY)))
    return [f"{tables.plain}0"]


@of_current(VALUES, Stage.CURRENT)
def rows_exchanged(tables: Tables) -> Hits:
    """Two keys have each other's values, as after a wrong join."""
    rows = tables.current.rows()
    fields = [name for name in rows.columns if name not in METADATA]
    both = [tables.plain, tables.other]
    plain, other = (rows.filter(pl.col(KEY) == key) for key in both)
    for key, mine, its in zip(both, (plain, other), (other, plain), strict=True):
        tables.current.replace(key, mine.with_columns(its.select(fields)))
    return both


@of_current(VALUES, Stage.CURRENT)
def value_cast(tables: Tables) -> Hits:
    """A double passes through an integer and loses its fraction."""
    return put(tables.current, tables.plain, pl.col(SIZE).cast(pl.Int64).cast(pl.Float64))


@of_current(VALUES, Stage.CURRENT)
def value_nulled(tables: Tables) -> Hits:
    """A value is null where the source has one."""
    return put(tables.current, tables.plain, pl.lit(None, dtype=pl.String).alias(NAME))


@of_current(VALUES, Stage.CURRENT)
def null_filled(tables: Tables) -> Hits:
    """A null has become an empty text."""
    return put(tables.current, tables.plain, pl.lit("").alias(NOTE))


@of_current(VALUES, Stage.CURRENT)
def time_zone_wrong(tables: Tables) -> Hits:
    """A time was read in another time zone: it is off by two hours."""
    return put(tables.current, tables.plain, pl.col(AT).dt.offset_by("2h"))


@of_current(VALUES, Stage.CURRENT)
def time_cut(tables: Tables) -> Hits:
    """A time passes through whole seconds and loses its fraction."""
    return put(tables.current, tables.plain, pl.col(AT).dt.truncate("1s"))


@of_current(VALUES, Stage.CURRENT)
def decimal_scaled(tables: Tables) -> Hits:
    """A decimal is read with a wrong scale: 12.5 is 1.25."""
    return put(tables.current, tables.plain, _scaled(tables.current.rows().schema[PRICE], "0.1"))


@of_current(VALUES, Stage.CURRENT)
def columns_swapped(tables: Tables) -> Hits:
    """Two columns have each other's values."""
    return put(tables.current, tables.other, pl.col(NAME).alias(NOTE), pl.col(NOTE).alias(NAME))


@of_current(VALUES, Stage.CURRENT)
def text_cut(tables: Tables) -> Hits:
    """A text is cut to the width of a narrower column."""
    return put(tables.current, tables.plain, pl.col(NAME).str.head(4))


@of_current(VALUES, Stage.CURRENT)
def text_garbled(tables: Tables) -> Hits:
    """A text in UTF-8 is read as Latin-1: Zoë is ZoÃ«."""
    garbled = pl.col(NAME).map_elements(lambda text: text.encode().decode("latin-1"), return_dtype=pl.String)
    return put(tables.current, tables.plain, garbled)


@of_current(VALUES | {Check.SCHEMA_CONSISTENT}, Stage.CURRENT)
def column_cast(tables: Tables) -> Hits:
    """A tool that infers types writes the table again, and a column of numbers is one of texts."""
    rows = tables.current.rows()
    tables.current.overwrite(rows.with_columns(pl.col(SIZE).cast(pl.String)))
    return rows[KEY].to_list()


@of_current(VALUES | {Check.SCHEMA_CONSISTENT}, Stage.CURRENT)
def column_lost(tables: Tables) -> Hits:
    """The table is written again without one of its columns."""
    rows = tables.current.rows()
    tables.current.overwrite(rows.drop(PRICE))
    return rows[KEY].to_list()


@of_current(VALUES, Stage.CURRENT, {Format.ICEBERG: OPENED})
def table_moved_back(tables: Tables) -> Hits:
    """Somebody restores the version before the newest; its offsets stay where they are."""
    hits = _newest_keys(tables)
    tables.current.move_back(back(tables.current))
    return hits


@of_current(VALUES, Stage.CURRENT)
def manifest_points_back(tables: Tables) -> Hits:
    """The list of files names those of the version before, and says that nothing has changed."""
    hits = _newest_keys(tables)
    tables.current.point_back(back(tables.current))
    return hits


def _newest_keys(tables: Tables) -> Hits:
    return sorted(set(tables.newest()[KEY].to_list()))


@of_current(PROOF, Stage.CURRENT)
def rewrite_loses_a_row(tables: Tables) -> Hits:
    """A rewrite that claims to change nothing, as a compaction does, leaves a row out."""
    for path in tables.current.files():
        tables.current.rewrite(path, lambda rows: rows.filter(pl.col(KEY) != tables.plain))
    return [tables.plain]


@of_current(frozenset({Check.CDF_INTEGRITY}), None)
def feed_image_missing(tables: Tables) -> Hits:
    """The image before an update is gone from where the change feed is read."""
    (key, *_) = _updated(tables)
    before = pl.col(KEY) == key
    if tables.current.feeds:
        before &= pl.col("_change_type") == "update_preimage"
    for path in tables.current.images(back(tables.current)):
        tables.current.rewrite(path, lambda rows: rows.filter(~before))
    return [key]


@of_current(frozenset({Check.CDF_INTEGRITY}), None)
def feed_image_wrong(tables: Tables) -> Hits:
    """The image before an update has a value that the row never had."""
    (key, *_) = _updated(tables)
    before = pl.col(KEY) == key
    if tables.current.feeds:
        before &= pl.col("_change_type") == "update_preimage"
    lie = pl.when(before).then(pl.lit("nobody")).otherwise(NAME).alias(NAME)
    for path in tables.current.images(back(tables.current)):
        tables.current.rewrite(path, lambda rows: rows.with_columns(lie))
    return [key]


def _updated(tables: Tables) -> Hits:
    """Keys that the newest commit updated and that are there."""
    alive = tables.current.rows()[KEY].implode()
    old = tables.current.rows(back=back(tables.current))[KEY].implode()
    rows = tables.newest().filter(pl.col(KEY).is_in(alive) & pl.col(KEY).is_in(old))
    return sorted(rows[KEY].to_list())


@of_current(PROOF, None)
def file_missing(tables: Tables) -> Hits:
    """A data file of the current table is removed by a clean-up that knows too little."""
    tables.current.files()[0].unlink()
    return []


@of_current(PROOF, None)
def file_damaged(tables: Tables) -> Hits:
    """A disk flips bits in a data file of the current table."""
    flip(tables.current.files()[0])
    return []


@of_changelog(EVENTS | COUNTS, Stage.CHANGELOG)
def event_lost(tables: Tables) -> Hits:
    """A key's one event is gone from the changelog; the current table is right."""
    tables.changelog.remove(tables.plain)
    return [tables.plain]


@of_changelog(EVENTS, Stage.CHANGELOG)
def changelog_gap(tables: Tables) -> Hits:
    """An event is gone from the changelog that a later one of its key has covered."""
    rows = tables.changelog.rows().filter(pl.col(KEY) == tables.changed).sort(PARTITION, OFFSET)
    tables.changelog.replace(tables.changed, rows[1:])
    return [tables.changed]


@of_changelog(EVENTS, Stage.CHANGELOG)
def batch_lost(tables: Tables) -> Hits:
    """The newest commit's rows are gone from the changelog, and its offsets stay."""
    rows = tables.newest()
    tables.changelog.overwrite(tables.changelog.rows(back=back(tables.changelog)))
    return sorted(set(rows[KEY].to_list()))


@of_changelog(EVENTS, Stage.CHANGELOG)
def batch_applied_twice(tables: Tables) -> Hits:
    """The newest commit is made a second time, with the same offsets and metadata."""
    rows = tables.newest()
    tables.changelog.append(rows, signed=True)
    return sorted(set(rows[KEY].to_list()))


@of_changelog(frozenset({Check.OFFSETS_COMPLETE}), Stage.CHANGELOG)
def event_moved_beyond(tables: Tables) -> Hits:
    """An event of nowhere lies beyond the committed offsets."""
    row = tables.last(tables.plain)
    tables.changelog.append(row.with_columns(pl.lit(9_999, dtype=pl.Int64).alias(OFFSET)))
    return [tables.plain]


@of_changelog(frozenset({Check.CDF_INTEGRITY}), Stage.CHANGELOG)
def event_changed(tables: Tables) -> Hits:
    """A value of an event is changed in the changelog; the current table is right."""
    return put(tables.changelog, tables.plain, pl.lit("nobody").alias(NAME))


@of_changelog(COUNTS | {Check.CDF_INTEGRITY}, Stage.CHANGELOG)
def delete_forged(tables: Tables) -> Hits:
    """An insertion is said to be a deletion in the changelog."""
    return put(tables.changelog, tables.plain, pl.lit(DELETE).alias(OPERATION))


@of_changelog(VALUES, Stage.CHANGELOG)
def both_tables_wrong(tables: Tables) -> Hits:
    """A wrong value lies in the changelog, and the current table was made from it."""
    for table in (tables.changelog, tables.current):
        put(table, tables.plain, pl.lit("nobody").alias(NAME))
    return [tables.plain]


@of_changelog(PROOF | {Check.OFFSETS_COMPLETE}, Stage.CHANGELOG)
def both_tables_lack_it(tables: Tables) -> Hits:
    """An event never came into either table, and the offsets have moved past it."""
    for table in (tables.changelog, tables.current):
        table.remove(tables.plain)
    return [tables.plain]


@of_changelog(PROOF | EVENTS, None)
def changelog_file_missing(tables: Tables) -> Hits:
    """A data file of the changelog is removed."""
    tables.changelog.files()[0].unlink()
    return []
