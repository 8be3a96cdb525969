"""All Delta tables of the lake: ``<root>/delta/<source>/<table>``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cdc_platform.core.model import Compacted, Contents, Format
from cdc_platform.core.ports import TableName
from cdc_platform.core.position import Engine
from cdc_platform.lake.delta.history import DeltaHistory
from cdc_platform.lake.delta.table import DeltaLakeTable
from cdc_platform.lake.delta.upkeep import compact, vacuum
from cdc_platform.lake.place import require_place
from cdc_platform.lake.store import Place


@dataclass(frozen=True, slots=True)
class DeltaLake:
    """``root``: the lake's folder, on disk or in S3."""

    root: Place

    @property
    def format(self) -> Format:
        return Format.DELTA

    @property
    def address(self) -> str:
        return str(self.root)

    def require(self) -> None:
        require_place(self.root)

    def table(
        self,
        name: TableName,
        contents: Contents,
        partition_by: Sequence[str] = (),
        engine: Engine = Engine.MONGODB,
    ) -> DeltaLakeTable:
        return DeltaLakeTable(self._path(name), contents, partition_by, engine)

    def history(self, name: TableName) -> DeltaHistory:
        return DeltaHistory(self._path(name))

    def compact(self, name: TableName) -> Compacted:
        return compact(self._path(name))

    def clean(self, name: TableName, hours: float) -> int:
        return vacuum(self._path(name), round(hours))

    def _path(self, name: TableName) -> Place:
        return self.root / "delta" / name[0] / name[1]
