"""Make the virtual environment that everything else runs in: `python3 cdc_platform/local/bootstrap.py
[--venv .venv]`.

Run by its path, before anything is installed. Invariants:

* Standard library only, and syntax that Python 3.8 reads: an old interpreter gets a sentence, not a
  traceback.
* What is installed is what `requirements.txt` says, hash for hash.
* The stamp in the environment is written last. So a run that was interrupted is repeated, and a run that
  has nothing to do ends at once. Two runs at a time take turns.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

OLDEST = (3, 11)
NEEDED_MB = 4000
STAMP = "cdc-platform.stamp"

_STEP = re.compile(r"^(Collecting|Installing collected)\b")
_NO_NETWORK = re.compile(
    r"NewConnectionError|NameResolutionError|Failed to establish a new connection|Network is unreachable|"
    r"Temporary failure in name resolution|ConnectTimeoutError|ReadTimeoutError|ProxyError|Connection refused"
)
_NO_TRUST = re.compile(r"CERTIFICATE_VERIFY_FAILED|SSLCertVerificationError|SSLError")
_NO_SPACE = re.compile(r"No space left on device|Errno 28")
_ERROR = re.compile(r"^\s*((?:ERROR|\w+Error): .*)", re.MULTILINE)
_BAD_HASH = re.compile(r"THESE PACKAGES DO NOT MATCH THE HASHES")


class Problem(Exception):
    """A sentence for the person at the terminal: what is wrong, and what to do."""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 if the environment is ready."""
    parser = argparse.ArgumentParser(description="Make the virtual environment of the CDC platform.")
    parser.add_argument("--venv", type=Path, default=Path(".venv"), help="where (default: .venv)")
    options = parser.parse_args(arguments)
    try:
        bootstrap(Path(__file__).resolve().parents[2], options.venv.absolute())
    except Problem as problem:
        print("setup: " + str(problem), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("setup: interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0


def bootstrap(project: Path, venv: Path) -> None:
    """Check the machine, then make or complete the environment. Raises `Problem`."""
    check_platform(sys.platform, platform.machine())
    check_python(sys.version_info[:2])
    stamp = digest(project)
    if is_current(venv, stamp):
        return
    check_ensurepip()
    notes = project / ".cdc"
    for directory in (notes, venv.parent):
        directory.mkdir(parents=True, exist_ok=True)
    with open(str(notes / "setup.lock"), "w") as lock:
        wait_for_turn(lock)
        if is_current(venv, stamp):
            return
        check_disk(venv.parent)
        install(project, venv, notes / "setup.log")
        (venv / STAMP).write_text(stamp)
        say("ready: " + str(venv))


def check_platform(system: str, machine: str) -> None:
    """Only Linux on x86-64 has all the components as wheels."""
    if system != "linux" or machine not in ("x86_64", "AMD64"):
        raise Problem(
            f"this needs Linux on x86-64; this is {system} on {machine}.\n"
            "  what to do: use a Linux machine, a virtual one or WSL 2"
        )


def check_python(version: tuple[int, ...]) -> None:
    """The packages need a Python that has what they use."""
    if tuple(version) < OLDEST:
        raise Problem(
            f"Python {dotted(OLDEST)} or newer is needed, this is {dotted(version)}.\n"
            f"  what to do: install it, and name it: make install PYTHON=python{dotted(OLDEST)}"
        )


def check_ensurepip() -> None:
    """Debian and Ubuntu ship Python without the module that puts pip into an environment."""
    try:
        import ensurepip  # noqa: F401, PLC0415
        import venv  # noqa: F401, PLC0415
    except ImportError:
        raise Problem(
            "this Python cannot make virtual environments (the module ensurepip is missing).\n"
            f"  what to do: on Debian and Ubuntu, apt-get install python{dotted(sys.version_info[:2])}-venv"
        ) from None


def check_disk(directory: Path) -> None:
    """Environment, components and the demo's data fit, or it is said before and not in the middle."""
    free = shutil.disk_usage(str(directory)).free // 1000000
    if free < NEEDED_MB:
        raise Problem(
            f"too little disk space: {NEEDED_MB} MB are needed in {directory}, {free} MB are free.\n"
            "  what to do: make room there"
        )


def install(project: Path, venv: Path, log: Path) -> None:
    """Environment, locked requirements, then the project itself, without dependencies of its own choosing."""
    python = venv / "bin" / "python"
    if not is_complete(venv):
        say("making " + str(venv))
        # --clear: half an environment, or one of another Python, is not a start.
        run([sys.executable, "-m", "venv", "--clear", str(venv)], log, "the environment could not be made")
    (venv / STAMP).unlink(missing_ok=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    pip += ["--progress-bar", "off"]
    requirements = project / "requirements.txt"
    total = len(re.findall(r"^[A-Za-z0-9]", requirements.read_text(), re.MULTILINE))
    say(f"installing {total} packages; the details go to {log}")
    # Without dependencies: the file names all of them;
    # pip would refuse those that another one wants with an extra.
    locked = [*pip, "--require-hashes", "--no-deps", "-r", str(requirements)]
    run(locked, log, "the packages could not be installed", total)
    (venv / STAMP).write_text(interpreter() + "\n")
    say("installing the project")
    # The build tools come from the lock where it has them; else pip fetches them for this one step.
    names = requirements.read_text()
    isolation = [] if "editables==" not in names or "hatchling==" not in names else ["--no-build-isolation"]
    itself = [*pip, "--no-deps", *isolation, "-e", str(project)]
    run(itself, log, "the project could not be installed")


def run(argv: list[str], log: Path, failure: str, total: int = 0) -> None:
    """Run a program, its output in the log, a short line for each step on the terminal. Raises `Problem`."""
    ticker = Ticker()
    collected = 0
    with open(str(log), "a", encoding="utf-8") as file:
        file.write("\n$ " + " ".join(argv) + "\n")
        start = file.tell()
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        try:
            for line in process.stdout or ():
                file.write(line)
                file.flush()
                if line.startswith("Collecting"):
                    collected += 1
                if total and _STEP.match(line):
                    ticker.show(progress(line, collected, total))
            code = process.wait()
        finally:
            process.kill()
            process.wait()
            finish_line()
    if code != 0:
        raise Problem(explain(failure, log.read_text(encoding="utf-8", errors="replace")[start:], log))


def progress(line: str, collected: int, total: int) -> str:
    """One line of pip, as one for a person."""
    if line.startswith("Installing"):
        return f"{total}/{total} unpacking"
    return f"{min(collected, total)}/{total} {re.split('[=<>~!;[ ]', line.split()[1])[0]}"


def explain(failure: str, output: str, log: Path) -> str:
    """The reason in what pip wrote, as one sentence with a remedy."""
    if _NO_SPACE.search(output):
        reason, remedy = "the disk is full", "make room and run it again"
    elif _BAD_HASH.search(output):
        reason, remedy = "a package is not the file it should be", "do not use the index pip is set to"
    elif _NO_TRUST.search(output):
        reason = "the certificate of the package index is not trusted"
        remedy = "if this network has its own certificate authority, name its file in PIP_CERT"
    elif _NO_NETWORK.search(output):
        reason = "there is no connection to the package index"
        remedy = "connect this machine (HTTPS_PROXY and pip's settings are honoured), run it again"
    else:
        errors = _ERROR.findall(output)
        reason, remedy = (errors or ["it is not known why"])[-1].rstrip(".:"), "see the log"
    return f"{failure}: {reason}.\n  what to do: {remedy}\n  log: {log}"


def interpreter() -> str:
    """The Python that an environment is made with; another one needs another environment."""
    return sys.version.split()[0] + " " + sys.base_prefix


def digest(project: Path) -> str:
    """The stamp: the interpreter, and a hash of what the environment is made from."""
    parts = [(project / name).read_bytes() for name in ("requirements.txt", "pyproject.toml")]
    parts.append(str(project).encode())
    return interpreter() + "\n" + hashlib.sha256(b"\0".join(parts)).hexdigest() + "\n"


def is_current(venv: Path, stamp: str) -> bool:
    """Whether the environment was completed for exactly this."""
    return stamp_of(venv) == stamp and os.access(str(venv / "bin" / "python"), os.X_OK)


def is_complete(venv: Path) -> bool:
    """Whether its packages were installed once, with this interpreter: then only what has changed is."""
    return stamp_of(venv).startswith(interpreter() + "\n")


def stamp_of(venv: Path) -> str:
    """What the last complete run wrote; empty if there was none."""
    try:
        return (venv / STAMP).read_text()
    except OSError:
        return ""


def wait_for_turn(lock: object) -> None:
    """Take the lock; say so if somebody else has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # type: ignore[arg-type]
    except OSError:
        say("waiting for another setup of this environment")
        fcntl.flock(lock, fcntl.LOCK_EX)  # type: ignore[arg-type]


def dotted(version: tuple[int, ...]) -> str:
    """3.11"""
    return ".".join(str(part) for part in version[:2])


def say(line: str) -> None:
    """A line that stays."""
    print("setup: " + line, flush=True)


class Ticker:
    """Progress: on a terminal one line that is replaced, elsewhere a line every ten seconds."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.shown_at = 0.0

    def show(self, line: str) -> None:
        """Show where it is."""
        seconds = time.monotonic() - self.started
        if sys.stdout.isatty():
            print(f"\r\x1b[2Ksetup: {line[:60]} ({seconds:.0f} s)", end="", flush=True)
        elif seconds - self.shown_at >= 10:
            print(f"setup: {line} ({seconds:.0f} s)", flush=True)
            self.shown_at = seconds


def finish_line() -> None:
    """Leave the terminal with an empty line."""
    if sys.stdout.isatty():
        print("\r\x1b[2K", end="", flush=True)


if __name__ == "__main__":
    sys.exit(main())
