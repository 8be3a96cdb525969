"""All Iceberg tables of the lake: the tables of a catalog, a namespace for each source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pyiceberg.catalog import Catalog

from cdc_platform.core.model import Compacted, Contents, Format
from cdc_platform.core.ports import TableName
from cdc_platform.core.position import Engine
from cdc_platform.lake.iceberg.failures import UNREACHABLE, told
from cdc_platform.lake.iceberg.history import IcebergHistory
from cdc_platform.lake.iceberg.table import IcebergLakeTable
from cdc_platform.lake.iceberg.upkeep import compact, expire, remove_orphans

_REMEDY: Final = "check that it runs; the tables are whole, and are filled again when it answers"


@dataclass(frozen=True, slots=True)
class IcebergLake:
    """``catalog``: opened when it is first needed. ``now``: the wall clock, in UTC. ``address``: where it is,
    for people.
    """

    catalog: Callable[[], Catalog]
    now: Callable[[], datetime]
    address: str

    @property
    def format(self) -> Format:
        return Format.ICEBERG

    def require(self) -> None:
        try:
            self.catalog().list_namespaces()
        except UNREACHABLE as error:
            raise told(error, "the Iceberg catalog does not answer", self.address, _REMEDY) from error

    def table(
        self,
        name: TableName,
        contents: Contents,
        partition_by: Sequence[str] = (),
        engine: Engine = Engine.MONGODB,
    ) -> IcebergLakeTable:
        return IcebergLakeTable(self.catalog, name, contents, partition_by, engine)

    def history(self, name: TableName) -> IcebergHistory:
        return IcebergHistory(self.catalog, name)

    def compact(self, name: TableName) -> Compacted:
        return compact(self.catalog(), name)

    def clean(self, name: TableName, hours: float) -> int:
        before = self.now() - timedelta(hours=hours)
        return expire(self.catalog(), name, before) + remove_orphans(self.catalog(), name, before)
