"""How a JVM with Kafka's jars is started."""

import pathlib
import shutil
import subprocess

from . import paths

KAFKA_VERSION = "3.9.1"
_OPTIONS = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]


def java(*args) -> list:
    return ["java", *_OPTIONS, *args]


def classpath(version: str) -> str:
    return str(paths.JARS / version) + "/*"


def compile_java(source: pathlib.Path, version: str, name: str) -> pathlib.Path:
    """The classes of a source with the jars of a version; compiled once."""
    with paths.making(name) as made:
        stamp = made / "source"
        if not stamp.exists() or stamp.read_bytes() != source.read_bytes():
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir(parents=True)
            subprocess.run(["javac", "-nowarn", "-cp", classpath(version), "-d", made, source], check=True)
            stamp.write_bytes(source.read_bytes())
    return made


def missing() -> str | None:
    """Why neither Kafka nor ZooKeeper can be run, or None."""
    if not shutil.which("java"):
        return "there is no Java"
    return None if paths.jars_present(KAFKA_VERSION) else f"the jars of Kafka {KAFKA_VERSION} are not there"
