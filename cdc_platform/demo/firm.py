"""The firm of the demo: a shop in MongoDB, its billing in PostgreSQL, its stock in MariaDB.

Each is a source that ``defs/`` declares, by the address that the environment names.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from cdc_platform.core.errors import Terminal
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.demo import billing, shop, stock
from cdc_platform.demo.lake import DemoLake
from cdc_platform.demo.trade import Trade
from cdc_platform.local.stack import Endpoints
from cdc_platform.platform import load_sources


@dataclass(frozen=True, slots=True)
class Department:
    """``share``: of the firm's rows and changes. ``service``: of the local stack; ``registry``: it needs one,
    too. ``variable``: of the environment, for the source's uri. ``open``: by a server's address and a seed.
    """

    share: float
    variable: str
    service: str
    registry: bool
    uri: Callable[[Endpoints], str]
    open: Callable[[str, int], AbstractContextManager[Trade]]

    @property
    def services(self) -> tuple[str, ...]:
        return (self.service, "registry") if self.registry else (self.service,)


DEPARTMENTS: Final[Mapping[str, Department]] = {
    "shop": Department(0.6, "SHOP_MONGODB_URI", "mongodb", False, lambda at: at.mongodb_uri, shop.open_shop),
    "billing": Department(
        0.2, "BILLING_POSTGRESQL_URI", "postgresql", True, lambda at: at.postgresql_uri, billing.open_billing
    ),
    "stock": Department(
        0.2, "STOCK_MARIADB_URI", "mariadb", True, lambda at: at.mariadb_uri, stock.open_stock
    ),
}
"""By the names of their sources."""


@dataclass(frozen=True, slots=True)
class Member:
    """A source, its lake and its people. ``share``: of what all do."""

    source: Source
    lake: DemoLake
    trade: Trade
    share: float

    def of(self, all_of_it: int) -> int:
        """Its part of a number."""
        return max(1, round(all_of_it * self.share))


def require_known(names: Collection[str]) -> None:
    """Raise Terminal for a name that is no source of the demo's."""
    if unknown := sorted(set(names) - set(DEPARTMENTS)):
        raise Terminal(
            f"the demo has no source {', '.join(unknown)}", remedy=f"one or more of: {', '.join(DEPARTMENTS)}"
        )


def services(names: Collection[str]) -> list[str]:
    """What the local stack must have for them."""
    return list(dict.fromkeys(each for name in names for each in DEPARTMENTS[name].services))


def addresses(names: Collection[str], endpoints: Endpoints) -> dict[str, str]:
    """The environment that the declarations read their addresses from: each server's, without a database."""
    return {DEPARTMENTS[name].variable: _server(DEPARTMENTS[name].uri(endpoints)) for name in names}


@contextmanager
def opened(
    names: Collection[str], endpoints: Endpoints, settings: Settings, seed: int
) -> Iterator[list[Member]]:
    """The firm, with empty databases. ``addresses`` is in the environment."""
    declared, whole = load_sources(), sum(DEPARTMENTS[name].share for name in names)
    with ExitStack() as stack:
        members = []
        for name in names:
            department, source = DEPARTMENTS[name], declared[name]
            trade = stack.enter_context(department.open(department.uri(endpoints), seed))
            lake = DemoLake(settings, source)
            members.append(Member(source, lake, trade, department.share / whole))
        yield members


def _server(uri: str) -> str:
    """Of MongoDB an address names no database."""
    return uri if uri.startswith("mongodb") else uri.rpartition("/")[0]
