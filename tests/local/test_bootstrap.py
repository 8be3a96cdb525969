"""What a person is told before and while the environment is made."""

from __future__ import annotations

import ast
import fcntl
import re
import sys
from pathlib import Path

import pytest

from cdc_platform.local import bootstrap
from cdc_platform.local.bootstrap import Problem

SOURCE = Path(bootstrap.__file__)


def test_an_old_python_is_named_with_the_one_that_is_needed() -> None:
    with pytest.raises(Problem, match=r"Python 3\.11 or newer is needed, this is 3\.9"):
        bootstrap.check_python((3, 9))


def test_an_old_python_can_read_the_program_in_order_to_say_so() -> None:
    ast.parse(SOURCE.read_text(), feature_version=(3, 8))


def test_it_needs_nothing_but_the_standard_library() -> None:
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(SOURCE.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= sys.stdlib_module_names


@pytest.mark.parametrize(
    ("system", "machine"), [("darwin", "arm64"), ("linux", "aarch64"), ("win32", "AMD64")]
)
def test_another_platform_is_refused_by_name(system: str, machine: str) -> None:
    with pytest.raises(Problem, match=f"{system} on {machine}"):
        bootstrap.check_platform(system, machine)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (
            "WARNING: Retrying ... NewConnectionError('<...>: Failed to establish",
            "no connection to the package index",
        ),
        ("ERROR: Could not install: [Errno 28] No space left on device", "the disk is full"),
        (
            "SSLError(SSLCertVerificationError(1, 'self-signed'))",
            "certificate of the package index is not trusted",
        ),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "not the file it should be"),
        ("ERROR: something new", "something new"),
        ("", "it is not known why"),
    ],
)
def test_what_pip_says_becomes_one_reason_and_a_remedy(output: str, reason: str) -> None:
    told = bootstrap.explain("it failed", output, Path("/somewhere.log"))
    assert reason in told
    assert "what to do:" in told
    assert "/somewhere.log" in told


def test_too_little_space_is_said_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "NEEDED_MB", 10**12)
    with pytest.raises(Problem, match=f"are needed in {tmp_path}"):
        bootstrap.check_disk(tmp_path)


def test_an_environment_is_current_until_what_it_is_made_from_changes(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("a==1\n")
    (tmp_path / "pyproject.toml").write_text("")
    venv = tmp_path / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    assert not bootstrap.is_current(venv, bootstrap.digest(tmp_path))

    (venv / bootstrap.STAMP).write_text(bootstrap.digest(tmp_path))
    assert bootstrap.is_current(venv, bootstrap.digest(tmp_path))

    (tmp_path / "requirements.txt").write_text("a==2\n")
    assert not bootstrap.is_current(venv, bootstrap.digest(tmp_path))
    assert bootstrap.is_complete(venv)


def test_every_locked_package_is_fetched_once_with_its_hashes() -> None:
    text = (SOURCE.parents[2] / "requirements.txt").read_text()
    packages = bootstrap.packages_of(text)
    assert "".join(packages) == text
    assert all(re.match(r"[\w.\[\]-]+==.*\n +--hash=sha256:", package) for package in packages)


def test_a_turn_lasts_until_the_programs_of_a_killed_run_have_ended(tmp_path: Path) -> None:
    path = tmp_path / "setup.lock"
    with (tmp_path / "log").open("wb") as sink, path.open("w") as lock:
        bootstrap.wait_for_turn(lock)
        program = bootstrap.launch([sys.executable, "-c", "import threading; threading.Event().wait()"], sink)
    with path.open("w") as next_one:  # as after a kill: the run itself has let go
        with pytest.raises(BlockingIOError):
            fcntl.flock(next_one, fcntl.LOCK_EX | fcntl.LOCK_NB)
        program.kill()
        program.wait()
        fcntl.flock(next_one, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_what_a_connection_brought_before_it_broke_off_is_worth_another_attempt(tmp_path: Path) -> None:
    words = "print('Collecting a==1\\n  Downloading a.whl (1 kB)\\nIncompleteRead'); raise SystemExit(1)"
    with pytest.raises(bootstrap.Interrupted, match="no connection to the package index"):
        bootstrap.run([[sys.executable, "-c", words]], tmp_path / "log", "it failed")


def test_one_of_several_programs_that_fails_is_a_failure(tmp_path: Path) -> None:
    programs = [[sys.executable, "-c", f"raise SystemExit({code})"] for code in (0, 1)]
    with pytest.raises(Problem, match="it failed"):
        bootstrap.run(programs, tmp_path / "log", "it failed")
