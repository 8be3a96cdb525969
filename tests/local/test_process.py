"""Starting, watching and ending a child: what is said when it dies, and that nothing of it stays."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from cdc_platform.core.errors import Terminal, Transient
from cdc_platform.local import sweep
from cdc_platform.local.process import (
    Command,
    NotReadyError,
    ProcessRecord,
    last_lines,
    load_records,
    start,
    stop,
    wait_ready,
)

WAITS = "print('waiting', flush=True); import threading; threading.Event().wait()"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + WAITS
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {DEAF!r}]); " + WAITS


@pytest.fixture
def launch(tmp_path: Path) -> Callable[[str], ProcessRecord]:
    def launch(code: str) -> ProcessRecord:
        return start(
            Command("child", [sys.executable, "-c", code], {}, tmp_path / "child.log"),
            "stack-" + tmp_path.name,
        )

    return launch


def wait_for_lines(record: ProcessRecord, count: int) -> None:
    def check() -> None:
        if len(last_lines(record.log, 100, since=record.log_start)) < count:
            raise NotReadyError("its lines")

    wait_ready(record, check, 20)


def test_a_process_that_dies_while_awaited_shows_the_end_of_its_log(
    launch: Callable[[str], ProcessRecord],
) -> None:
    record = launch("print('the reason'); raise SystemExit(3)")
    with pytest.raises(Terminal, match="child ended; the last lines of its log:\n    the reason") as raised:
        wait_ready(record, never_ready, 20)
    assert raised.value.where == str(record.log)


def test_only_its_own_lines_are_shown_and_not_those_of_an_earlier_start(
    launch: Callable[[str], ProcessRecord],
) -> None:
    with pytest.raises(Terminal, match="earlier"):
        wait_ready(launch("print('earlier')"), never_ready, 20)
    with pytest.raises(Terminal) as raised:
        wait_ready(launch("print('later')"), never_ready, 20)
    assert "later" in raised.value.what
    assert "earlier" not in raised.value.what


def test_a_process_that_is_not_ready_in_time_says_what_was_awaited(
    launch: Callable[[str], ProcessRecord],
) -> None:
    record = launch(WAITS)
    with pytest.raises(Transient, match="not ready after 0 s: the moon"):
        wait_ready(record, never_ready, 0.2)
    stop(record, 5)


def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(Terminal, match="child cannot be started"):
        start(Command("child", [str(tmp_path / "nothing")], {}, tmp_path / "child.log"), "none")


def test_descendants_that_ignore_sigterm_are_ended_too(launch: Callable[[str], ProcessRecord]) -> None:
    record = launch(PARENT)
    wait_for_lines(record, 2)
    process = record.process
    assert process is not None
    family = [process, *process.children(recursive=True)]
    assert len(family) == 2
    stop(record, 0.5)
    assert not any(map(sweep.alive, family))


def test_a_pid_that_was_given_to_another_process_is_left_alone(
    launch: Callable[[str], ProcessRecord],
) -> None:
    record = launch(WAITS)
    stale = replace(record, create_time=record.create_time - 60)
    assert stale.process is None
    stop(stale, 5)
    assert record.process is not None
    stop(record, 5)
    assert record.process is None


def test_what_carries_the_cookie_is_found_and_ended_without_a_record(
    launch: Callable[[str], ProcessRecord], tmp_path: Path
) -> None:
    record = launch(PARENT)
    wait_for_lines(record, 2)
    stack_id = "stack-" + tmp_path.name
    found = sweep.members(stack_id)
    assert len(found) == 2
    assert sweep.members("stack-of-somebody-else") == []
    assert sweep.end_all(stack_id, grace_s=0.5) == []
    assert not any(map(sweep.alive, found))


def test_records_are_read_back_in_the_order_of_their_start(tmp_path: Path) -> None:
    me = psutil.Process()
    later = ProcessRecord("a", me.pid, me.create_time() + 1, tmp_path / "a.log", 0, 1)
    earlier = ProcessRecord("b", me.pid, me.create_time(), tmp_path / "b.log", 7)
    later.save(tmp_path)
    earlier.save(tmp_path)
    assert list(load_records(tmp_path).values()) == [earlier, later]


def test_the_log_of_a_service_that_never_ran_is_empty(tmp_path: Path) -> None:
    assert last_lines(tmp_path / "none.log", 10) == ()


def never_ready() -> None:
    raise NotReadyError("the moon")


def test_a_process_whose_first_thread_has_ended_still_runs(launch: Callable[[str], ProcessRecord]) -> None:
    leave = "import ctypes, threading as t; t.Thread(target=t.Event().wait).start(); print(1, flush=True)"
    record = launch(leave + "; ctypes.CDLL(None).syscall(60, 0)")  # exit: of this thread only
    wait_for_lines(record, 1)
    assert record.process is not None
    wait_ready(record, lambda: first_thread_has_ended(record.pid), 20)
    assert record.process is not None
    stop(record, 0.5)
    assert record.process is None


def test_an_ended_child_is_no_zombie(launch: Callable[[str], ProcessRecord]) -> None:
    record = launch(WAITS)
    stop(record, 5)
    assert not psutil.pid_exists(record.pid)


def first_thread_has_ended(pid: int) -> None:
    if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        raise NotReadyError("the end of its first thread")
