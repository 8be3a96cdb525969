"""A source's YAML, read as Dagster reads it: what is wrong is named with its file and line."""

import traceback
import uuid
from pathlib import Path

import dagster as dg
import pytest

PROJECT = """[project]
name = "{name}"
version = "0"
[tool.dg]
directory_type = "project"
[tool.dg.project]
root_module = "{name}"
"""
SOURCE = """type: cdc_platform.orchestrate.component.CdcSource

attributes:
  name: crm
  uri: "{{ env.CRM_MONGODB_URI or 'mongodb://127.0.0.1:1/' }}"
  database: crm
  collections: [accounts, "audit_*"]
"""


# Dagster's own loader uses what Dagster calls beta.
pytestmark = pytest.mark.filterwarnings("ignore::dagster_shared.utils.warnings.BetaWarning")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose declaration can be added to."""
    name = f"declared_{uuid.uuid4().hex}"  # each is a module of its own
    home = tmp_path / name / "defs" / "crm"
    home.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text(PROJECT.format(name=name))
    (tmp_path / name / "__init__.py").touch()
    (home / "defs.yaml").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("CDC_STATE_DIR", str(tmp_path))
    return tmp_path / name


def load(project: Path, more: str = "") -> dg.Definitions:
    path = project / "defs" / "crm" / "defs.yaml"
    path.write_text(SOURCE + more)
    return dg.load_from_defs_folder(path_within_project=project / "definitions.py")


def assets(definitions: dg.Definitions) -> set[str]:
    keys = definitions.get_repository_def().asset_graph.get_all_asset_keys()
    return {"/".join(key.path) for key in keys if key.path[0] == "mongodb"}


def test_a_declaration_becomes_the_sources_assets_and_a_glob_none_until_something_is_found(
    project: Path, tmp_path: Path
) -> None:
    assert assets(load(project)) == {"mongodb/crm/accounts"}
    (tmp_path / "discovered").mkdir()
    (tmp_path / "discovered" / "crm.json").write_text('["audit_1", "no longer taken"]')
    assert assets(load(project)) == {"mongodb/crm/accounts", "mongodb/crm/audit_1"}


@pytest.mark.parametrize(
    ("more", "line", "named"),
    [
        ("  partition: 3\n", 8, "partition"),
        ("  partitions: 0\n", 8, "partitions"),
        ("  schedules:\n    compact: '61 * * * *'\n", 9, "compact"),
        ("  schedules:\n    verify: null\n    timezone: Berlin\n", 10, "timezone"),
        ("  owners: [somebody]\n", 8, "owners"),
        ("  retention: {files_hours: 0}\n", 8, "files_hours"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(project: Path, more: str, line: int, named: str) -> None:
    with pytest.raises(Exception, match="Error while loading component") as refused:
        load(project, more)
    said = "".join(traceback.format_exception(refused.value))
    assert f"{project}/defs/crm/defs.yaml:{line}" in said
    assert named in said


def test_a_source_of_tables_is_declared_as_tables(project: Path) -> None:
    text = SOURCE.replace("  uri:", "  engine: postgresql\n  uri:").replace("mongodb://", "postgresql://u:p@")
    declared = text.replace("collections: [accounts", 'tables: [accounts, "Old Items", sales.orders')
    (project / "defs" / "crm" / "defs.yaml").write_text(declared + '  keys: {"Old Items": [id]}\n')
    loaded = dg.load_from_defs_folder(path_within_project=project / "definitions.py")
    keys = {"/".join(key.path) for key in loaded.get_repository_def().asset_graph.get_all_asset_keys()}
    assert {f"postgresql/crm/{name}" for name in ("accounts", "Old_Items", "sales.orders")} <= keys
    assert {"delta/crm/Old_Items", "delta/crm/sales.orders_changes"} <= keys
