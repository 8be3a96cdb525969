"""Where programs come from: the lock, the cache, and what is said when they cannot be had."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import pytest

from cdc_platform.core.errors import Terminal
from cdc_platform.local import artifacts, libraries, packaged
from cdc_platform.local.artifacts import LOCK_FILE
from cdc_platform.local.bundles import BUNDLES, DEBEZIUM_VERSION, KAFKA, KAFKA_VERSION, PLUGINS, Bundle


def locked() -> tuple[artifacts.Jar, ...]:
    return artifacts.read_lock(LOCK_FILE.read_text())


def test_every_jar_is_locked_by_a_hash_and_belongs_to_a_bundle() -> None:
    jars = locked()
    assert {jar.bundle for jar in jars} == {bundle.name for bundle in BUNDLES}
    assert all(len(bytes.fromhex(jar.sha256)) == hashlib.sha256().digest_size for jar in jars)
    assert len({(jar.bundle, jar.coordinate) for jar in jars}) == len(jars)


def test_the_lock_has_the_versions_that_the_code_names() -> None:
    coordinates = {jar.coordinate for jar in locked()}
    wanted = {root for bundle in BUNDLES for root in (*bundle.roots, *bundle.alone)}
    assert wanted <= coordinates
    assert f"org.apache.kafka:kafka-clients:{KAFKA_VERSION}" in coordinates
    assert f"io.debezium:debezium-core:{DEBEZIUM_VERSION}" in coordinates


def test_one_version_of_each_artifact_is_locked_in_a_bundle() -> None:
    names = [(jar.bundle, jar.coordinate.rpartition(":")[0]) for jar in locked()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)
def test_a_plugin_brings_nothing_that_connect_has(plugin: Bundle) -> None:
    names = [jar.coordinate.split(":")[1] for jar in locked() if jar.bundle == plugin.name]
    assert names
    assert not [name for name in names if name.startswith(plugin.leave_out)]


def test_a_cache_that_cannot_be_made_is_named_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Terminal, match="cannot create the cache directory") as raised:
        artifacts.ensure(tmp_path / "file" / "cache", lambda _line: None)
    assert "CDC_CACHE_DIR" in raised.value.remedy


def test_a_read_only_binary_is_copied_to_the_cache_once(tmp_path: Path) -> None:
    binary = tmp_path / "mongod"
    binary.write_bytes(b"#!/bin/sh\n")
    copy = packaged.copy_of(binary, tmp_path / "cache")
    assert copy.read_bytes() == binary.read_bytes()
    assert copy.stat().st_mode & stat.S_IXUSR
    modified = copy.stat().st_mtime_ns
    assert packaged.copy_of(binary, tmp_path / "cache").stat().st_mtime_ns == modified


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(Terminal, match="absent_package is not installed"):
        packaged.package_directory("absent_package")


def test_a_binary_that_starts_needs_no_further_libraries(tmp_path: Path) -> None:
    binary = script(tmp_path, "exit 0")
    assert libraries.environment_for(binary, {}, tmp_path / "lib") == {}


def test_a_binary_that_cannot_start_is_named_with_its_complaint(tmp_path: Path) -> None:
    binary = script(tmp_path, "echo 'libnothing.so.4: cannot open shared object file' >&2; exit 127")
    with pytest.raises(Terminal, match=r"libnothing\.so\.4") as raised:
        libraries.environment_for(binary, {}, tmp_path / "lib")
    assert "libcurl4" in raised.value.remedy


def script(directory: Path, body: str) -> Path:
    path = directory / "program"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_kafka_and_its_tools_are_one_bundle() -> None:
    assert all(root.endswith(KAFKA_VERSION) for root in KAFKA.roots)
