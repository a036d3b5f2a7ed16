"""Power that fails: what a broker wrote and did not sync is taken back.

power_loss.c, preloaded into the broker, keeps a copy of all that is durable. lose() makes the directory of it when the
process has been killed. A disk may also have what was not synced, so for each file and each directory a die is cast:
mostly it is as it was last synced; else it is as it was written, or a file has a part of what was appended to it. Nothing
says in which order things reach the disk, so any mixture may be found there.
"""

import os
import pathlib
import random
import shutil
import subprocess
import uuid
from dataclasses import dataclass

from . import paths

_SOURCE = paths.INTEROP / "harness" / "power_loss.c"


def missing() -> str | None:
    return None if shutil.which("cc") else "there is no C compiler"


def _library() -> pathlib.Path:
    with paths.making("power_loss.so") as made:
        if not made.exists() or made.stat().st_mtime < _SOURCE.stat().st_mtime:
            subprocess.run(["cc", "-O1", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", made, _SOURCE, "-ldl"], check=True)
    return made


@dataclass
class Lost:
    bytes: int = 0  # of files that are still there, too
    names: int = 0  # of files and directories
    back: int = 0  # names that had been removed
    times: int = 1

    def __add__(self, other: "Lost") -> "Lost":
        return Lost(self.bytes + other.bytes, self.names + other.names, self.back + other.back, self.times + other.times)

    def __str__(self):
        return f"{self.bytes} bytes and {self.names} names lost, {self.back} names back"


class Durable:
    """Of one directory, which is a file system of its own and empty now."""

    def __init__(self, directory: pathlib.Path, copy: pathlib.Path):
        self._directory, self._copy = directory, copy
        copy.mkdir()
        self._boot()

    def environment(self) -> dict:
        return {"LD_PRELOAD": str(_library()), "OTTLA_DURABLE_OF": str(self._directory), "OTTLA_DURABLE": str(self._copy)}

    def lose(self, chance: random.Random | None = None) -> Lost:
        """Without chance all that was not synced is lost."""
        was = _read(self._directory)
        self._chance, self._paths = chance, {os.stat(self._directory / path).st_ino: path for path in was}
        now = {}
        self._find(os.stat(self._directory).st_ino, pathlib.Path(), now)
        for path in self._directory.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path, data in now.items():
            if data is None:
                (self._directory / path).mkdir()
            else:
                (self._directory / path).write_bytes(data)
        self._keep()
        return Lost(sum(_differing(data, now.get(path) or b"") for path, data in was.items() if data is not None),
                    len(was.keys() - now.keys()), len(now.keys() - was.keys()))

    def _find(self, inode: int, path: pathlib.Path, found: dict) -> None:
        """What is in a directory, and below: path -> bytes, or None for a directory."""
        for kind, its, name in self._names(inode, path):
            if kind == "d":
                found[path / name] = None
                self._find(its, path / name, found)
            else:
                found[path / name] = self._bytes(its)

    def _cast(self) -> float:
        return self._chance.random() if self._chance else 0.0

    def _names(self, inode: int, path: pathlib.Path) -> list:
        if self._cast() > 0.8 and (self._directory / path).is_dir():
            return [("d" if e.is_dir() else "f", e.inode(), e.name)
                    for e in sorted(os.scandir(self._directory / path), key=lambda e: e.name)]
        file = self._copy / f"{inode}.names"
        rows = [line.split(" ", 2) for line in file.read_text().splitlines()] if file.exists() else []
        return sorted((kind, int(its), name) for kind, its, name in rows)

    def _bytes(self, inode: int) -> bytes:
        file = self._copy / str(inode)
        durable = file.read_bytes() if file.exists() else b""
        die, path = self._cast(), self._paths.get(inode)
        if path is None or die < 0.7:
            return durable
        written = (self._directory / path).read_bytes()
        if die > 0.85 or not written.startswith(durable):
            return written
        return written[:self._chance.randint(len(durable), len(written))]

    def _boot(self) -> None:
        """Another run of the machine."""
        (self._copy / "boot_id").write_text(f"{uuid.uuid4()}\n")

    def _keep(self) -> None:
        """What is there now is durable."""
        shutil.rmtree(self._copy)
        self._copy.mkdir()
        self._boot()
        for directory, _, files in os.walk(self._directory):
            names = [f"{'d' if e.is_dir() else 'f'} {e.inode()} {e.name}\n" for e in os.scandir(directory)]
            (self._copy / f"{os.stat(directory).st_ino}.names").write_text("".join(names))
            for name in files:
                path = pathlib.Path(directory, name)
                shutil.copyfile(path, self._copy / str(path.stat().st_ino))


def _read(directory: pathlib.Path) -> dict:
    return {path.relative_to(directory): None if path.is_dir() else path.read_bytes() for path in sorted(directory.rglob("*"))}


def _differing(a: bytes, b: bytes) -> int:
    """How much of a is not the beginning of b."""
    return 0 if b.startswith(a) else len(a) - len(b if a.startswith(b) else os.path.commonprefix([a, b]))
