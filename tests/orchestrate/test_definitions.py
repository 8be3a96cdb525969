"""What Dagster is shown of a source, without any service."""

import socket
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import dagster as dg
import pytest

from cdc_platform.core.model import Format
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.orchestrate.component import CdcSource
from cdc_platform.verify.finding import checks_of

ROOT = Path(__file__).parents[2]


@pytest.fixture
def source() -> Source:
    return Source(
        name="shop", uri="mongodb://127.0.0.1:1", database="shop", collections=("orders", "customers")
    )


@pytest.fixture
def repository(source: Source) -> dg.RepositoryDefinition:
    return CdcSource(source).build_defs(None).get_repository_def()


def test_each_collection_has_a_source_a_topic_a_changelog_and_a_current_asset(
    repository: dg.RepositoryDefinition,
) -> None:
    keys = {key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()}
    assert keys == {
        "mongodb/shop/orders",
        "kafka/shop/orders",
        "delta/shop/orders_changes",
        "delta/shop/orders",
        "mongodb/shop/customers",
        "kafka/shop/customers",
        "delta/shop/customers_changes",
        "delta/shop/customers",
    }


def test_the_lineage_runs_from_the_collection_to_the_current_state(
    repository: dg.RepositoryDefinition,
) -> None:
    graph = repository.asset_graph
    path = ["mongodb/shop/orders", "kafka/shop/orders", "delta/shop/orders_changes", "delta/shop/orders"]
    keys = [dg.AssetKey.from_user_string(text) for text in path]
    for upstream, downstream in pairwise(keys):
        assert graph.get(downstream).parent_keys == {upstream}


def test_the_graph_explains_itself(source: Source) -> None:
    """Every asset says what it is, where it belongs, of what kind it is and who owns it."""
    owned = source.model_copy(update={"owners": ("team:data", "ann@example.org")})
    graph = CdcSource(owned).build_defs(None).get_repository_def().asset_graph
    layers = set()
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert len(node.description or "") > 40
        assert node.group_name == "shop"
        assert node.kinds
        assert set(node.owners) == {"team:data", "ann@example.org"}
        layers.add(node.tags["cdc/layer"])
    assert layers == {"source", "topic", "changelog", "current"}


def test_everything_that_can_be_started_says_what_it_does(repository: dg.RepositoryDefinition) -> None:
    jobs = [repository.get_job(name) for name in repository.job_names if not name.startswith("__")]
    assert {job.name for job in jobs} == {
        f"{verb}_shop"
        for verb in (
            "drain",
            "pause",
            "resume",
            "replay",
            "rebuild",
            "verify",
            "reconcile",
            "repair",
            "upkeep",
            "retention",
        )
    }
    for each in [*jobs, *repository.schedule_defs, *repository.sensor_defs]:
        assert len(each.description or "") > 40, each.name
        assert each.tags["cdc/source"] == "shop", each.name


def test_every_current_table_has_every_check(repository: dg.RepositoryDefinition) -> None:
    checks = {(key.asset_key.to_user_string(), key.name) for key in repository.asset_graph.asset_check_keys}
    assert checks == {
        (f"delta/shop/{table}", check.value)
        for table in ("orders", "customers")
        for check in checks_of([Format.DELTA])
    }


def test_a_source_has_a_job_for_its_proof_and_one_for_its_upkeep(repository: dg.RepositoryDefinition) -> None:
    assert {"verify_shop", "upkeep_shop"} <= set(repository.job_names)


def test_the_sensor_is_on_from_the_start(repository: dg.RepositoryDefinition) -> None:
    sensor = repository.get_sensor_def("drain_shop")
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert sensor.minimum_interval_seconds == 5


def test_the_definitions_load_without_touching_the_network(tmp_path: Path) -> None:
    """A listener stands where every service would be; loading must not knock."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        loaded = subprocess.run(
            [sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"],
            cwd=ROOT,
            env={
                "PATH": "/usr/bin:/bin",
                "DAGSTER_HOME": str(tmp_path),
                "HOME": str(tmp_path),
                "SHOP_MONGODB_URI": f"mongodb://127.0.0.1:{port}",
                "BILLING_POSTGRESQL_URI": f"postgresql://cdc:cdc@127.0.0.1:{port}",
                "STOCK_MARIADB_URI": f"mariadb://cdc:cdc@127.0.0.1:{port}",
                "CDC_KAFKA_BOOTSTRAP": f"127.0.0.1:{port}",
                "CDC_CONNECT_URL": f"http://127.0.0.1:{port}",
                "CDC_REGISTRY_URL": f"http://127.0.0.1:{port}",
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert loaded.returncode == 0, loaded.stdout + loaded.stderr


def test_two_hundred_tables_are_built_in_seconds(source: Source) -> None:
    large = source.model_copy(update={"collections": tuple(f"table_{n}" for n in range(200))})
    began = time.monotonic()
    repository = CdcSource(large).build_defs(None).get_repository_def()
    assert len(repository.asset_graph.get_all_asset_keys()) == 800
    assert time.monotonic() - began < 30


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDC_RUN_SECONDS", "25")
    assert Settings().run_seconds == 25
