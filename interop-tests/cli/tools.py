"""Our tools and Kafka's, side by side."""

import os
import re
import subprocess

from harness import paths, toolhost
from harness.jvm import KAFKA_VERSION

_CLASS = re.compile(r"ERROR ([\w.$]+):")
_NAMES = re.compile(r"TopicId: [\w-]{22}")


def ours(tool: str, *args, stdin: str = "", timeout_s: float = 30, cwd=None, env=None) -> toolhost.Result:
    """Our tool, by its first argument."""
    done = subprocess.run([paths.ottla_binary(), tool, *map(str, args)], input=stdin, capture_output=True, text=True,
                          timeout=timeout_s, cwd=cwd, env={"PATH": os.environ["PATH"], **(env or {})})
    return toolhost.Result(done.returncode, done.stdout, done.stderr)


def kafkas(tool: str, *args, stdin: str = "") -> toolhost.Result:
    return toolhost.tools(KAFKA_VERSION).run("kafka-" + tool, *args, stdin=stdin, check=False)


def missing() -> str | None:
    return toolhost.missing(KAFKA_VERSION)


def compared(result: toolhost.Result, broker) -> tuple:
    """What has to be the same: the exit status, stdout but for ids and ports, and of stderr the class of a
    broker's error, or where there is none the sentence before the options."""
    out = _NAMES.sub("TopicId: ID", result.out).replace(broker.bootstrap, "BROKER")
    error = _CLASS.search(result.err)
    said = (error[1] if "common.errors" in error[1] else "an argument") if error else result.err.split("\n")[0] if not out and result.code else ""
    return result.code, out, said.replace(broker.bootstrap, "BROKER")
