"""Where things are. Everything that is made lies under build/, which git ignores."""

import os
import pathlib

INTEROP = pathlib.Path(__file__).resolve().parent.parent
ROOT = INTEROP.parent
BUILD = ROOT / "build"
JARS = BUILD / "jars"
MADE = BUILD / "interop"


def ottla_binary() -> pathlib.Path:
    return pathlib.Path(os.environ.get("OTTLA_BINARY", BUILD / "release" / "ottla"))


def jars_present(version: str) -> bool:
    return (JARS / version / ".complete").exists()
