"""Damage to tables that real connectors fill: found, named, and told with the hand-over it happened at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest
from bson import Decimal128

from cdc_platform.connect.client import ConnectClient
from cdc_platform.core.model import Format, Kind, Target
from cdc_platform.core.position import Engine
from cdc_platform.lake.iceberg.catalog import embedded
from cdc_platform.local.stack import Stack
from cdc_platform.operate.checking import verify
from cdc_platform.platform import lake_table, table_name
from cdc_platform.verify.finding import Check, Finding
from cdc_platform.verify.verdict import Verdict
from tests.damage.damages import DAMAGES, Damage, Tables
from tests.damage.outsider import DeltaOutsider, IcebergOutsider, Outsider
from tests.stack.conftest import Declare, Mongo, eventually
from tests.stack.databases import Database, database
from tests.stack.lake import Lake
from tests.stack.sql_lake import captured, sql_lake

pytestmark = pytest.mark.stack

CHECKS: Final = frozenset(Check) - {Check.LAG}
ENGINES: Final = (Engine.MONGODB, Engine.POSTGRESQL, Engine.MARIADB)
SHARE: Final = {engine: list(DAMAGES.values())[at::3] for at, engine in enumerate(ENGINES)}
"""Every damage is done in one engine's tables, each to a table of its own."""

FEW: Final = 3
"""Of an engine's damages, as many are done in each run: the first, and others at equal distances."""

AT: Final = datetime(2026, 3, 29, 1, 30, 0, 250_000)
Change = tuple[str, int]
"""What to do with the row of which number."""

BEFORE: Final = [*(("put", number) for number in range(1, 13)), ("put", 3), ("delete", 11)]
AFTER: Final = [("put", 5), ("put", 20), ("delete", 12)]


class Shop:
    """``change``: makes changes of a table in one transaction. ``key``: of a row's number, as the lake has
    it. ``name``: of a table, as it is captured. ``damages``: what to do, each to a table of its own."""

    def __init__(
        self,
        lake: Lake,
        change: Callable[[str, Sequence[Change]], None],
        key: Callable[[int], str],
        name: Callable[[str], str],
        damages: Sequence[Damage],
    ) -> None:
        self.lake, self.change, self.key, self.name, self.damages = lake, change, key, name, damages

    def checked(self, targets: Sequence[Target]) -> dict[Target, dict[Check, Finding]]:
        found: dict[Target, dict[Check, Finding]] = {}
        wanted = dict.fromkeys(targets, CHECKS)
        for each in verify(self.lake.settings, self.lake.source, wanted):
            found.setdefault(each.target, {})[each.check] = each
        return found

    def tables(self, target: Target) -> Tables:
        outsiders = [self._outsider(target, kind) for kind in (Kind.CURRENT, Kind.CHANGELOG)]
        return Tables(*outsiders, *(self.key(number) for number in (7, 2, 5, 12)))

    def _outsider(self, target: Target, kind: Kind) -> Outsider:
        settings, source = self.lake.settings, self.lake.source
        if target.format is Format.DELTA:
            return DeltaOutsider(lake_table(settings, source, target.table, kind).uri)
        catalog = embedded(settings.lake_root.absolute())
        return IcebergOutsider(catalog, table_name(source, target.table, kind))


def row(number: int, version: int) -> dict[str, Any]:
    note = "gift" if number == 2 else None
    price = Decimal(number * 100 + 50).scaleb(-2)
    name = f"Zoë {number} {version}"
    return {"name": name, "note": note, "price": price, "at": AT, "size": number + 0.5}


def chosen(engine: Engine, *, few: bool) -> list[Damage]:
    share = SHARE[engine]
    return share[:: len(share) // FEW][:FEW] if few else share


def tables_for(damages: Sequence[Damage]) -> list[str]:
    """One that stays healthy, and one for each damage."""
    return [f"t{number}" for number in range(len(damages) + 1)]


@contextmanager
def documents(
    declare: Declare, mongo: Mongo, stack: Stack, root: Path, damages: Sequence[Damage]
) -> Iterator[Shop]:
    source = declare(*tables_for(damages), formats=tuple(Format), partitions=1)
    collections = mongo[source.database]

    def change(table: str, changes: Sequence[Change]) -> None:
        with mongo.start_session() as session, session.start_transaction():
            for version, (what, number) in enumerate(changes):
                one = {"_id": number}
                if what == "delete":
                    collections[table].delete_one(one, session=session)
                    continue
                whole = row(number, version)
                whole["price"] = Decimal128(whole["price"])
                collections[table].replace_one(one, whole, upsert=True, session=session)

    for name in source.collections:
        collections.create_collection(name)
    lake = Lake(stack, source, root)
    lake.deploy()
    yield Shop(lake, change, str, str, damages)


@contextmanager
def rows(
    db: Database, stack: Stack, connect: ConnectClient, root: Path, damages: Sequence[Damage]
) -> Iterator[Shop]:
    kinds = {"name": "text", "note": "text", "price": "numeric(10,2)", "size": "double precision"}
    kinds["at"] = "timestamp(6)" if db.engine is Engine.POSTGRESQL else "datetime(6)"
    columns = ", ".join(f"{name} {kind}" for name, kind in kinds.items())
    tables = tables_for(damages)
    db.run(*(f"CREATE TABLE {table} (id int PRIMARY KEY, {columns})" for table in tables))

    def change(table: str, changes: Sequence[Change]) -> None:
        with db.session() as session:
            session.run("BEGIN")
            there = {number for (number,) in session.run(f"SELECT id FROM {table}")}
            for version, (what, number) in enumerate(changes):
                if what == "delete":
                    session.run(f"DELETE FROM {table} WHERE id = {number}")
                    continue
                values = {name: literal(value) for name, value in row(number, version).items()}
                if number in there:
                    put = ", ".join(f"{name} = {value}" for name, value in values.items())
                    session.run(f"UPDATE {table} SET {put} WHERE id = {number}")
                else:
                    given = f"({', '.join(values)}, id) VALUES ({', '.join(values.values())}, {number})"
                    session.run(f"INSERT INTO {table} {given}")
                there.add(number)
            session.run("COMMIT")

    with sql_lake(stack, connect, db, root, tables, formats=tuple(Format), partitions=1) as lake:
        yield Shop(lake, change, lambda number: f'{{"id":{number}}}', lambda t: captured(db, t), damages)


def literal(value: object) -> str:
    return "NULL" if value is None else f"'{value}'"


ALL: Final = [pytest.param(engine, False, marks=pytest.mark.matrix) for engine in ENGINES]


@pytest.fixture
def shop(engine: Engine, few: bool, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    damages = chosen(engine, few=few)
    stack, connect = (request.getfixturevalue(name) for name in ("stack", "connect"))
    if engine is Engine.MONGODB:
        declare, mongo = (request.getfixturevalue(name) for name in ("declare", "mongo"))
        with documents(declare, mongo, stack, tmp_path, damages) as made:
            yield made
        return
    request.getfixturevalue("registry_url")
    with (
        database(engine, request.getfixturevalue(f"{engine}_uri")) as db,
        rows(db, stack, connect, tmp_path, damages) as made,
    ):
        yield made


@pytest.mark.parametrize(("engine", "few"), [*((engine, True) for engine in ENGINES), *ALL])
def test_damage_to_tables_of_every_engine_is_found_named_and_told_apart(shop: Shop) -> None:
    tables = tables_for(shop.damages)
    for table in tables:
        shop.change(table, BEFORE)
    targets = [Target(shop.name(table), stored) for table in tables for stored in Format]
    assert not_passed(shop.checked(targets)) == {}
    waiting = {table: shop.lake.waiting(shop.name(table)) for table in tables}
    for table in tables:
        shop.change(table, AFTER)
    eventually(lambda: all(shop.lake.waiting(shop.name(t)) >= n + len(AFTER) for t, n in waiting.items()))
    shop.lake.drain()

    healthy, *damaged = tables
    plan = {
        Target(shop.name(table), list(Format)[at % 2]): damage
        for at, (table, damage) in enumerate(zip(damaged, shop.damages, strict=True))
    }
    hits = {target: damage.do(shop.tables(target)) for target, damage in plan.items()}
    control = [Target(shop.name(healthy), stored) for stored in Format]
    found = shop.checked([*plan, *control])
    assert not_passed({target: found[target] for target in control}) == {}
    assert {d.name: wrong for t, d in plan.items() if (wrong := missed(d, t, found[t], hits[t]))} == {}


def not_passed(found: dict[Target, dict[Check, Finding]]) -> dict[str, list[str]]:
    told = {str(t): [e.text for e in f.values() if e.verdict is not Verdict.PASS] for t, f in found.items()}
    return {target: texts for target, texts in told.items() if texts}


def missed(damage: Damage, target: Target, found: dict[Check, Finding], hits: Sequence[str]) -> list[str]:
    """What was not found of a damage, or was found otherwise, in words."""
    failing = {check: each for check, each in found.items() if each.verdict is Verdict.FAIL}
    if set(failing) != damage.finders(target.format):
        return [f"{check} {each.verdict}: {each.text}" for check, each in found.items()]
    if target.format in damage.refused:
        return []
    told = [fact.value for each in failing.values() for fact in each.facts if fact.name == "stages"]
    stages = {stage for each in told if isinstance(each, dict) for stage in each.values()}
    wrong = [] if stages == ({damage.stage} if damage.stage else set()) else [f"stages {stages}"]
    return wrong + [key for key in hits if not any(key in each.text for each in failing.values())]
