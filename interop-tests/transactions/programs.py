"""The Java programs of this folder, compiled once for each version of Kafka's jars."""

import pathlib

from harness import jvm, paths, toolhost

_HERE = pathlib.Path(__file__).parent / "java"
missing = toolhost.missing


def java(name: str, version: str, *options) -> list:
    """How java/<name>.java is run with the jars of a version."""
    made = jvm.compile_java(_HERE / f"{name}.java", version, f"transactions-{name}-{version}")
    return jvm.java("-Xmx128m", *options, f"-Dlog4j.configuration=file:{paths.INTEROP}/harness/tools-log4j.properties",
                    "-Dlog4j2.level=OFF", "-cp", f"{made}:{jvm.classpath(version)}", name)
