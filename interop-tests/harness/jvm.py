"""How a JVM with Kafka's jars is started."""

import shutil

from . import paths

KAFKA_VERSION = "3.9.1"
_OPTIONS = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]


def java(*args) -> list:
    return ["java", *_OPTIONS, *args]


def classpath(version: str) -> str:
    return str(paths.JARS / version) + "/*"


def missing() -> str | None:
    """Why neither Kafka nor ZooKeeper can be run, or None."""
    if not shutil.which("java"):
        return "there is no Java"
    return None if paths.jars_present(KAFKA_VERSION) else f"the jars of Kafka {KAFKA_VERSION} are not there"
