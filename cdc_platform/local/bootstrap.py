"""Make the virtual environment that everything else runs in. Run by its path, before anything is installed.

Invariants:

* Standard library and syntax of Python 3.8 only: an old interpreter gets a sentence, not a traceback.
* What is installed is what `requirements.txt` says, hash for hash.
* The stamp in the environment is written last. So a run that was interrupted is repeated, and a run that
  has nothing to do ends at once.
* Two runs at a time take turns. A turn ends when the last process that it started has: the lock is inherited,
  so that a run that was killed leaves no pip at work in the environment that the next run makes.
* Without network it says so in seconds; a connection that breaks off on the way is tried again.
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
from typing import IO

OLDEST = (3, 11)
NEEDED_MB = 4000
STAMP = "cdc-platform.stamp"
ATTEMPTS = 3
HASTE = {"PIP_RETRIES": "1", "PIP_DEFAULT_TIMEOUT": "10"}
"""Unless set otherwise: pip's own patience, without any network, is minutes."""
# Not by pip, which uses one processor. What cannot be compiled (templates) may stay as it is.
COMPILE = "import compileall as c, sysconfig as s; c.compile_dir(s.get_path('purelib'), quiet=2, workers=0)"
NO_CONNECTION = "there is no connection to the package index"

_NO_NETWORK = re.compile(
    r"NewConnectionError|NameResolutionError|Failed to establish a new connection|Network is unreachable|"
    r"Temporary failure in name resolution|ConnectTimeoutError|ReadTimeoutError|ProxyError|"
    r"Connection refused|IncompleteRead|Connection broken|ConnectionResetError|RemoteDisconnected"
)
_FETCHED = re.compile(r"^\s+(Downloading|Using cached) ", re.MULTILINE)
_NO_TRUST = re.compile(r"CERTIFICATE_VERIFY_FAILED|SSLCertVerificationError|SSLError")
_NO_SPACE = re.compile(r"No space left on device|Errno 28")
_ERROR = re.compile(r"^\s*((?:ERROR|\w+Error): .*)", re.MULTILINE)
_BAD_HASH = re.compile(r"THESE PACKAGES DO NOT MATCH THE HASHES")


class Problem(Exception):
    """A sentence for the person at the terminal: what is wrong, and what to do."""


class Interrupted(Problem):
    """The connection broke off: what was had before may be had again."""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 if the environment is ready."""
    parser = argparse.ArgumentParser(description="Make the virtual environment of the CDC platform.")
    parser.add_argument("--venv", type=Path, default=Path(".venv"), help="where (default: .venv)")
    options = parser.parse_args(arguments)
    try:
        bootstrap(Path(__file__).resolve().parents[2], options.venv.absolute())
    except (Problem, OSError) as problem:
        print("setup: " + str(problem), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("setup: interrupted; run it again", file=sys.stderr)
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
    notes.mkdir(exist_ok=True)
    venv.parent.mkdir(parents=True, exist_ok=True)
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
    pip = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    requirements = project / "requirements.txt"
    # Without dependencies: the file names all; pip would refuse those that another one wants with an extra.
    locked = ["--progress-bar", "off", "--require-hashes", "--no-deps"]
    fetched = log.with_name("setup-packages")
    source = []
    if not is_complete(venv):
        say("making " + str(venv))
        # --clear: half an environment, or one of another Python, is not a start.
        run([[sys.executable, "-m", "venv", "--clear", str(venv)]], log, "the environment could not be made")
        fetch([*pip, "download", *locked], requirements, fetched, log)
        source = ["--no-index", "--find-links", str(fetched)]
    (venv / STAMP).unlink(missing_ok=True)
    say("installing them" if source else "installing what has changed")
    everything = [*pip, "install", "--no-compile", *locked, *source, "-r", str(requirements)]
    run([everything], log, "the packages could not be installed")
    (venv / STAMP).write_text(interpreter() + "\n")
    shutil.rmtree(str(fetched), ignore_errors=True)
    say("installing the project")
    # The build tools are in the lock.
    itself = [*pip, "install", "--no-deps", "--no-build-isolation", "-e", str(project)]
    run([itself, [pip[0], "-c", COMPILE]], log, "the project could not be installed")


def fetch(download: list[str], requirements: Path, target: Path, log: Path) -> None:
    """Fetch all packages, a share to each processor: pip takes one after another, and mostly computes."""
    packages = packages_of(requirements.read_text())
    count = min(4, os.cpu_count() or 1)
    target.mkdir(exist_ok=True)
    commands = []
    for number in range(count):
        share = target / f"share-{number}.txt"
        share.write_text("".join(packages[number::count]))
        commands.append([*download, "-d", str(target), "-r", str(share)])
    say(f"fetching {len(packages)} packages; the details go to {log}")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            run(commands, log, "the packages could not be fetched", len(packages))
            return
        except Interrupted:
            if attempt == ATTEMPTS:
                raise
            say("the connection broke off; going on")


def packages_of(requirements: str) -> list[str]:
    """The text of a requirements file in pieces: each package with its hashes."""
    return re.findall(r"^[A-Za-z0-9].*\n?(?:[ \t]+.*\n?)*", requirements, re.MULTILINE)


def run(commands: list[list[str]], log: Path, failure: str, total: int = 0) -> None:
    """Run programs side by side, their output in the log, and a line on the terminal every five seconds.

    Raises `Problem`, or `Interrupted` if there was a connection and then none.
    """
    collected, started, shown = 0, time.monotonic(), 0.0
    with open(str(log), "a", encoding="utf-8") as file:
        file.writelines("\n$ " + " ".join(argv) + "\n" for argv in commands)
        start = file.tell()
        processes: list[subprocess.Popen[bytes]] = []
        reader, writer = os.pipe()
        try:
            with open(reader, encoding="utf-8", errors="replace") as output:
                with open(writer, "wb") as sink:
                    for argv in commands:
                        processes.append(launch(argv, sink))
                for line in output:
                    file.write(line)
                    file.flush()
                    seconds = time.monotonic() - started
                    if line.startswith("Collecting"):
                        collected += 1
                        if seconds - shown >= 5:
                            say(f"{collected} of {total} ({seconds:.0f} s)")
                            shown = seconds
            codes = [process.wait() for process in processes]
        finally:
            for process in processes:
                process.kill()
                process.wait()
    if any(codes):
        told = log.read_bytes()[start:].decode("utf-8", errors="replace")
        reason = explain(failure, told, log)
        raise Interrupted(reason) if NO_CONNECTION in reason and _FETCHED.search(told) else Problem(reason)


def launch(argv: list[str], sink: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a program that writes into the sink. It inherits the lock, and nothing else."""
    environment, nothing = {**HASTE, **os.environ}, subprocess.DEVNULL
    return subprocess.Popen(argv, stdin=nothing, stdout=sink, stderr=sink, env=environment, close_fds=False)


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
        reason = NO_CONNECTION
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


def wait_for_turn(lock: IO[str]) -> None:
    """Take the lock, for the programs that are started, too; say so if another run has it."""
    os.set_inheritable(lock.fileno(), True)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        say("waiting for another setup of this environment")
        fcntl.flock(lock, fcntl.LOCK_EX)


def dotted(version: tuple[int, ...]) -> str:
    """3.11"""
    return ".".join(str(part) for part in version[:2])


def say(line: str) -> None:
    """A line that stays."""
    print("setup: " + line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
