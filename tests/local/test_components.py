"""Which services a stack gets, on which ports, and what is said about those it does not have."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path

import pytest

from cdc_platform.core.errors import Terminal
from cdc_platform.local import components
from cdc_platform.local.artifacts import unpack
from cdc_platform.local.bundles import Archive
from cdc_platform.local.settings import StackSettings

ANY = StackSettings(kafka_port=0, kafka_controller_port=0, connect_port=0, postgresql_port=0, mongodb_port=0)


def test_only_what_is_asked_for_gets_a_port() -> None:
    chosen = components.choose_ports(ANY, ("postgresql", "kafka"), {}, (), random.Random(1))
    assert sorted(chosen) == ["kafka", "kafka-controller", "postgresql"]


def test_a_service_that_is_not_asked_for_keeps_the_port_it_had() -> None:
    previous = {"mongodb": 20_001, "kafka": 20_002, "kafka-controller": 20_003}
    chosen = components.choose_ports(ANY, ("kafka",), previous, (), random.Random(1))
    assert chosen == previous


def test_the_address_of_a_service_that_is_not_there_says_how_to_get_it() -> None:
    found = components.endpoints(("kafka", "connect"), {"kafka": 1, "connect": 2}, Path("state"))
    assert found.connect_url == "http://127.0.0.1:2"
    with pytest.raises(Terminal, match="mariadb is not part of this stack") as raised:
        _ = found.mariadb_uri
    assert raised.value.remedy == "bring it up: cdc stack up mariadb"


def test_the_databases_addresses_have_a_user_and_a_database() -> None:
    ports = dict.fromkeys(components.SERVICES, 7)
    found = components.endpoints(components.SERVICES, ports, Path("state"))
    assert found.postgresql_uri == "postgresql://cdc:cdc@127.0.0.1:7/shop"
    assert found.mariadb_uri == "mariadb://cdc:cdc@127.0.0.1:7/shop"
    assert found.registry_url == "http://127.0.0.1:7/apis/ccompat/v7"


def test_a_service_that_nobody_knows_is_named_with_those_that_there_are() -> None:
    with pytest.raises(Terminal, match="there is no service oracle") as raised:
        components.require_known(("mongodb", "oracle"))
    assert "postgresql" in raised.value.remedy


def test_of_an_archive_the_members_asked_for_are_unpacked_and_its_programs_can_be_run(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.jar", "w") as file:
        for name in ("deep/linux/bin/server", "deep/linux/bin/other", "deep/linux/share/x.sql", "META-INF/M"):
            file.writestr(name, name)
    archive = Archive("zip", root="deep/linux/", members=("bin/server", "share/"), programs=("bin/server",))
    (tmp_path / "into").mkdir()

    unpack(archive, tmp_path / "a.jar", tmp_path / "into", tmp_path / "scratch")

    found = {path.relative_to(tmp_path / "into").as_posix() for path in (tmp_path / "into").rglob("*.*")}
    assert found == {"share/x.sql"}
    assert not (tmp_path / "into/bin/other").exists()
    assert (tmp_path / "into/bin/server").stat().st_mode & 0o111
