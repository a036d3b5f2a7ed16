"""Testcontainers, unmodified: the Kafka modules for Java, Go, Node and Python start the image as they start Kafka's.

Each module's program is in modules/: what its users write, and a round trip of ten records. Versions are pinned there;
what they need is fetched into build/interop by the language's own tool. The modules judge by the image's tag which
Confluent Platform it is: hence the tags. Ryuk, an image that cannot be pulled here, is off."""

import functools
import pathlib
import shutil
import subprocess

import pytest

from harness import broker as brokers
from harness import paths

pytestmark = [pytest.mark.whole, pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because it is about Ottla's image")]

MODULES = pathlib.Path(__file__).resolve().parent / "modules"
ENVIRONMENT = {"TESTCONTAINERS_RYUK_DISABLED": "true"}


def fetched(what: str, *argv, cwd=None, **env) -> None:
    """What a module needs; without it its tests are skipped."""
    if not shutil.which(argv[0]):
        pytest.skip(f"skipped, because {argv[0]} is not installed")
    done = subprocess.run([str(a) for a in argv], cwd=cwd, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        pytest.skip(f"skipped, because {what} cannot be fetched: {(done.stderr or done.stdout).strip()[-300:]}")


@functools.cache
def java() -> list:
    with paths.making("testcontainers-java") as libs:
        if not libs.exists():
            part = libs.with_suffix(".part")
            fetched("Testcontainers for Java", "mvn", "-q", "-f", MODULES / "java/pom.xml", "dependency:copy-dependencies",
                    f"-DoutputDirectory={part}")
            part.rename(libs)
    return ["java", "-cp", f"{libs}/*", MODULES / "java" / "Module.java"]


@functools.cache
def go() -> list:
    with paths.making("testcontainers-go") as program:
        fetched("Testcontainers for Go", "go", "build", "-C", MODULES / "go", "-o", program, ".")
    return [program]


@functools.cache
def node() -> list:
    with paths.making("testcontainers-node") as dir:
        dir.mkdir(exist_ok=True)
        for name in ("package.json", "module.js"):
            shutil.copy(MODULES / "node" / name, dir)
        if not (dir / "node_modules" / "kafkajs").exists():
            fetched("Testcontainers for Node", "npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", cwd=dir)
    return ["node", dir / "module.js"]


@functools.cache
def python() -> list:
    with paths.making("testcontainers-python") as venv:
        if not (venv / ".complete").exists():
            fetched("a venv", "/usr/bin/python3", "-m", "venv", venv)
            fetched("Testcontainers for Python", venv / "bin/pip", "install", "-q", "-r", MODULES / "python/requirements.txt")
            (venv / ".complete").touch()
    return [venv / "bin/python", MODULES / "python" / "module.py"]


# What is started; the program, its first arguments, the image's tag.
CASES = {
    "java KafkaContainer": (java, ["apache"], "3.9.1"),
    "java ConfluentKafkaContainer": (java, ["confluent"], "7.9.0"),
    "java KafkaContainer of before, with its ZooKeeper": (java, ["old"], "7.3.0"),
    "java KafkaContainer of before, KRaft": (java, ["old-kraft"], "7.3.0"),
    "java KafkaContainer of before, KRaft from 7.4": (java, ["old-kraft"], "7.9.0"),
    "go": (go, [], "7.9.0"),
    "node with its ZooKeeper": (node, ["zookeeper"], "7.3.0"),
    "node KRaft": (node, ["kraft"], "7.3.0"),
    "node KRaft from 8": (node, ["zookeeper"], "8.0.0"),
    "python with its ZooKeeper": (python, ["zookeeper"], "7.6.0"),
    "python KRaft": (python, ["kraft"], "7.6.0"),
}


@pytest.mark.parametrize("name", CASES)
def test_module(docker, image, name):
    program, arguments, version = CASES[name]
    tag = f"{image.split(':')[0]}:{version}"
    docker.docker("tag", image, tag)
    done = docker.run(*program(), *arguments, tag, timeout_s=180, **ENVIRONMENT)
    assert b"round trip of 10 records by" in done.stdout
    assert docker.docker("ps", "-q").stdout == b""
