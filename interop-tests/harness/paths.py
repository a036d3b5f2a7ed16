"""Where things are. Everything that is made lies under build/, which git ignores."""

import contextlib
import fcntl
import os
import pathlib
import subprocess

INTEROP = pathlib.Path(__file__).resolve().parent.parent
ROOT = INTEROP.parent
BUILD = ROOT / "build"
JARS = BUILD / "jars"
MADE = BUILD / "interop"
RUN = os.environ.get("OTTLA_RESULTS") or os.environ.get("OTTLA_COORDINATION") or "embedded"  # several may go at once


@contextlib.contextmanager
def making(name: str):
    """MADE / name, which nobody else makes meanwhile: the passes of a run may go at the same time."""
    MADE.mkdir(parents=True, exist_ok=True)
    with open(MADE / f".{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield MADE / name


def ottla_binary() -> pathlib.Path:
    return pathlib.Path(os.environ.get("OTTLA_BINARY", BUILD / "release" / "ottla"))


def jars_present(version: str) -> bool:
    return (JARS / version / ".complete").exists()


def memory() -> pathlib.Path:
    """Where a broker in memory has its directory."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", "/dev/shm"], capture_output=True, text=True).stdout.strip()
    return pathlib.Path("/dev/shm" if kind == "tmpfs" else "/tmp")
