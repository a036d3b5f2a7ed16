"""The Java programs of this folder, compiled once for each version of Kafka's jars."""

import pathlib
import shutil
import subprocess

from harness import jvm, paths, toolhost

_HERE = pathlib.Path(__file__).parent / "java"
missing = toolhost.missing


def java(name: str, version: str, *options) -> list:
    """How java/<name>.java is run with the jars of a version."""
    source, made = _HERE / f"{name}.java", paths.MADE / f"transactions-{name}-{version}"
    stamp = made / "source"
    if not stamp.exists() or stamp.read_bytes() != source.read_bytes():
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        subprocess.run(["javac", "-nowarn", "-cp", jvm.classpath(version), "-d", made, source], check=True)
        stamp.write_bytes(source.read_bytes())
    return jvm.java("-Xmx128m", *options, f"-Dlog4j.configuration=file:{paths.INTEROP}/harness/tools-log4j.properties",
                    "-Dlog4j2.level=OFF", "-cp", f"{made}:{jvm.classpath(version)}", name)
