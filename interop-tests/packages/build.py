"""What is packaged, built once for a run. What that needs and the machine has not is installed where we are root; else
the test is skipped with the reason."""

import os
import pathlib
import shutil
import subprocess

import pytest

from harness import paths


def need(*packages: str) -> None:
    """Debian packages that these tests alone need."""
    done = subprocess.run([paths.ROOT / "tests" / "install-packages", *packages], capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        pytest.skip(f"skipped, because packages cannot be installed: {' '.join(packages)}")


def run(*argv, timeout: float = 900, **more) -> str:
    """A step of a build, which has to succeed; what it printed."""
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, cwd=paths.ROOT, **more)
    assert done.returncode == 0, f"{argv}: status {done.returncode}\n{done.stdout[-4000:]}"
    return done.stdout


def builds() -> pathlib.Path:
    return paths.ROOT / os.environ.get("OTTLA_BUILD_DIR", "build")


def static_binary() -> pathlib.Path:
    need("nasm", "dpkg-dev", "patch")
    with paths.making("static"):
        run("packaging/static")
    return builds() / "static" / "ottla"


def arm64_binary() -> pathlib.Path:
    need("nasm", "dpkg-dev", "patch", "gcc-aarch64-linux-gnu", "g++-aarch64-linux-gnu")
    with paths.making("static"):
        run("packaging/static", "arm64")
    return builds() / "static-arm64" / "ottla"


def qemu() -> str:
    """The user-mode emulator of 64-bit ARM."""
    if shutil.which("qemu-aarch64") is None:
        need("qemu-user")
    return "qemu-aarch64"
