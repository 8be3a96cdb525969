"""The past of a Delta table: the commits of its log and its change data feed.

Invariants (measured on deltalake 1.6)
- Commits are read by their version's own file. ``DeltaTable.history`` counts versions down from the newest
  commit it finds, so its numbers are wrong for a table that is opened at an older version, and for a log in
  which a version is missing.
- The feed of a version is derived from that version's files. Each is looked at before the feed is read: which
  one is gone or damaged can be said then, and a file whose footer has a wrong length aborts the process from
  within deltalake (a panic that cannot be caught).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import unquote

import orjson
import polars as pl
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from cdc_platform.core.columns import KEY
from cdc_platform.core.errors import Transient
from cdc_platform.core.history import (
    CHANGE,
    COMMIT,
    REBUILT,
    Commit,
    Damaged,
    Forgotten,
    lag_of,
    last_rebuilt,
    not_over,
)
from cdc_platform.core.offsets import RANGES, parse
from cdc_platform.lake.delta.files import files_of
from cdc_platform.lake.store import Place, at_once, delta_options, read, scan_options, tail, unanswered

_LATER: Final = "read a later version; files of older ones stay retention.files_hours"

Action = dict[str, Any]
"""A line of Delta's log: the action's name with its fields."""


class DeltaHistory:
    """Of one Delta table. Keeps no state."""

    def __init__(self, place: Place) -> None:
        self._place = place

    @property
    def uri(self) -> str:
        return str(self._place)

    @property
    def bounded(self) -> bool:
        return False

    def identity(self) -> str:
        return str(self._table().metadata().id)

    def rows(self, version: int) -> pl.LazyFrame:
        if self._actions(version) is None:
            raise Forgotten(f"version {version} is not in the log", where=self.uri, remedy=_LATER)
        files = files_of(self._table(version), self._place)
        # Those of the newest version are there; of others a vacuum may have removed some.
        there = set(files_of(self._table(), self._place).actions["path"])
        old = [unquote(name) for name in files.actions["path"] if name not in there]
        if gone := sum(map(bool, at_once(lambda name: self._damage(name, None), old))):
            what = f"version {version} cannot be read any more: {gone} of its files were removed"
            raise Forgotten(what, where=self.uri, remedy=_LATER)
        return files.scan()

    def commits(self, after: int, upto: int) -> tuple[Commit, ...]:
        versions = range(after + 1, upto + 1)
        found = zip(versions, at_once(self._actions, versions), strict=True)
        return tuple(_commit(version, actions) for version, actions in found if actions is not None)

    def changes(self, after: int, upto: int, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        wanted = None if columns is None else [*columns, CHANGE, COMMIT]
        self._require_files(after, upto)
        try:
            feed = self._table(upto).load_cdf(starting_version=after + 1, ending_version=upto, columns=wanted)
            for batch in pa.RecordBatchReader.from_stream(feed):
                yield pl.DataFrame(pa.Table.from_batches([batch]))
        except (DeltaError, pa.ArrowException, OSError) as error:
            if unanswered(error):
                raise self._unreadable(error) from error
            self._require_files(after, upto)  # a vacuum may have come in between
            what = f"the change feed of versions {after + 1} to {upto} cannot be read: {_short(error)}"
            raise Damaged(what, where=self.uri) from error

    def differences(self, after: int, upto: int) -> Iterator[pl.DataFrame]:
        if after < upto:
            yield from self.changes(after, upto, columns=[KEY])

    def damaged(self, version: int | None = None) -> tuple[str, ...]:
        actions = pl.DataFrame(pa.table(self._table(version).get_add_actions(flatten=True)))
        files = actions.select("path", "size_bytes").rows()
        seen = at_once(lambda file: self._damage(*file), files)
        found = (what or self._undecodable(name) for what, (name, _) in zip(seen, files, strict=True))
        return tuple(each for each in found if each)

    def _require_files(self, after: int, upto: int) -> None:
        """Raise Forgotten if the table was rebuilt in between; Forgotten or Damaged for the first file of the
        feed that is not as the log says."""
        versions = range(after + 1, upto + 1)
        log = at_once(self._actions, versions)
        known = [_commit(version, each) for version, each in zip(versions, log, strict=True) if each]
        if rebuilt := last_rebuilt(known):
            raise not_over(rebuilt, self.uri)
        files = []
        for version, actions in zip(versions, log, strict=True):
            if actions is None:
                raise Forgotten(f"version {version} is not in the log any more", where=self.uri)
            files += [(version, file["path"], file.get("size")) for file in _feed_files(actions)]
        seen = at_once(lambda file: self._damage(file[1], file[2]), files)
        for (version, name, _), damage in zip(files, seen, strict=True):
            if damage == _missing(name):
                raise Forgotten(
                    f"the change feed of version {version} is not there any more: {name} was removed",
                    where=self.uri,
                    remedy="check more often than old files are removed (retention.files_hours)",
                )
            if damage:
                raise Damaged(f"in the change feed of version {version} {damage}", where=self.uri)

    def _damage(self, name: str, size: int | None) -> str | None:
        """What can be seen of a file from outside. ``size``: by the log; None if it does not say."""
        try:
            end = tail(self._place / name, 8)
        except FileNotFoundError:
            return _missing(name)
        if size is not None and end.size != size:
            return f"data file {name} has {end.size} bytes instead of {size}"
        if end.data[4:] != b"PAR1" or int.from_bytes(end.data[:4], "little") + 12 > end.size:
            return f"data file {name} has no footer"
        return None

    def _undecodable(self, name: str) -> str | None:
        try:
            pl.read_parquet(f"{self._place}/{name}", glob=False, **scan_options(self._place))
        except (pl.exceptions.PolarsError, OSError) as error:
            if unanswered(error):
                raise self._unreadable(error) from error
            return f"data file {name} cannot be read ({_short(error)})"
        return None

    def _actions(self, version: int) -> list[Action] | None:
        """What the log says of a version, None if it no longer has it."""
        with suppress(FileNotFoundError):
            text = read(self._place / "_delta_log" / f"{version:020}.json")
            return [orjson.loads(line) for line in text.splitlines()]
        return None

    def _table(self, version: int | None = None) -> DeltaTable:
        try:
            return DeltaTable(self.uri, version=version, storage_options=delta_options(self._place))
        except (DeltaError, OSError) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> Transient:
        return Transient(
            f"the Delta table could not be read: {_short(error)}",
            where=self.uri,
            remedy="check the lake's place, its permissions and the table's log",
        )


def commits_of(table: DeltaTable) -> pl.DataFrame:
    """When each offset range was committed: committed_at, and partition, start, end of the range."""
    rows = [
        (entry["timestamp"], partition, covered.start, covered.end)
        for entry in table.history()
        for partition, covered in parse(entry.get(RANGES, "")).items()
    ]
    columns = {
        "ms": pl.Int64,
        "partition": pl.Int32,
        "start": pl.Int64,
        "end": pl.Int64,
    }
    found = pl.DataFrame(rows, schema=columns, orient="row")
    committed_at = pl.from_epoch("ms", time_unit="ms").dt.cast_time_unit("us").dt.replace_time_zone("UTC")
    return found.with_columns(committed_at.alias("committed_at")).drop("ms")


def _missing(name: str) -> str:
    return f"data file {name} is missing"


def _feed_files(actions: Sequence[Action]) -> list[Action]:
    """Files that one version's change feed is read from: those made for it, or all that changed rows."""
    made = [action["cdc"] for action in actions if "cdc" in action]
    changed = [action.get("add") or action.get("remove") for action in actions]
    files = made or [file for file in changed if file and file["dataChange"]]
    return [{**file, "path": unquote(file["path"])} for file in files]


def _commit(version: int, actions: Sequence[Action]) -> Commit:
    info: Action = next((action["commitInfo"] for action in actions if "commitInfo" in action), {})
    applied = orjson.loads(info.get("cdc.rows", "{}")).get("applied")
    metrics = info.get("operationMetrics", {})
    written = metrics.get("num_added_rows", metrics.get("numOutputRows"))  # delta-rs, Spark
    return Commit(
        version,
        datetime.fromtimestamp(info.get("timestamp", 0) / 1000, UTC),
        info.get("operation", "unknown"),
        any(name.startswith("cdc.") for name in info),
        parse(info.get(RANGES, "")),
        None if applied is None else sum(applied.values()),
        None if written is None else int(written),
        lag_of(info),
        REBUILT in info,
    )


def _short(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]
