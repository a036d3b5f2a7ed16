"""Clients that are programs: kcat, librdkafka/client.c and go/. And topics without any client."""

import functools
import shutil
import subprocess

from wire import schema
from wire.player import Connection, APIS

from . import paths
from .wait import wait_for

_SOURCE = paths.INTEROP / "librdkafka" / "client.c"
_GO = paths.INTEROP / "go"


def run(*argv, stdin: bytes = b"", timeout_s: float = 90, check: bool = True) -> subprocess.CompletedProcess:
    done = subprocess.run([str(a) for a in argv], input=stdin, capture_output=True, timeout=timeout_s)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, argv))} ended with {done.returncode}\n"
                             f"stdout: {done.stdout.decode()[-2000:]}\nstderr: {done.stderr.decode()[-4000:]}")
    return done


def kcat_missing() -> str | None:
    return None if shutil.which("kcat") else "kcat is not installed"


def kcat(*args, **kw) -> list:
    """The lines kcat prints."""
    return run("kcat", *args, **kw).stdout.decode().splitlines()


def librdkafka_missing() -> str | None:
    if not shutil.which("cc"):
        return "there is no C compiler"
    there = subprocess.run(["cc", "-E", "-include", "librdkafka/rdkafka.h", "-x", "c", "/dev/null"], capture_output=True)
    return None if there.returncode == 0 else "librdkafka-dev is not installed"


def librdkafka_client() -> str:
    """The compiled client."""
    with paths.making("librdkafka-client") as made:
        if not made.exists() or made.stat().st_mtime < _SOURCE.stat().st_mtime:
            run("cc", "-O1", "-Wall", "-Wextra", "-o", made, _SOURCE, "-lrdkafka")
    return str(made)


@functools.cache
def go_missing() -> str | None:
    if not shutil.which("go"):
        return "go is not installed"
    try:
        fetched = subprocess.run(["go", "mod", "download"], cwd=_GO, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        return "the Go modules cannot be fetched in time"
    why = (fetched.stderr.splitlines() or ["no reason given"])[-1]
    return None if fetched.returncode == 0 else f"the Go modules cannot be fetched: {why}"


@functools.cache
def go_client() -> str:
    """The compiled client; Go itself knows what is up to date."""
    with paths.making("go-client") as made:
        run("go", "build", "-C", _GO, "-o", made, ".", timeout_s=300)
    return str(made)


def create_topic(broker, name: str, partitions: int = 1, **configs) -> str:
    """By the wire, so that a test of one client does not depend on another."""
    connection = Connection(broker.host, broker.port)
    try:
        body = {"topics": [{"name": name, "num_partitions": partitions, "replication_factor": 1,
                            "configs": [{"name": k.replace("_", "."), "value": str(v)} for k, v in configs.items()]}],
                "timeout_ms": 15000}
        answer = ask(connection, "CreateTopics", 5, body)
        assert answer["topics"][0]["error_code"] == 0, answer

        def led():
            topic = ask(connection, "Metadata", 4, {"topics": [{"name": name}],
                                                     "allow_auto_topic_creation": False})["topics"][0]
            return len(topic["partitions"]) == partitions and all(p["leader_id"] >= 0 for p in topic["partitions"])
        wait_for(led, 15, f"the leaders of {name}")
    finally:
        connection.close()
    return name


def end_offsets(broker, topic: str, partitions: int) -> list:
    answer = ask_once(broker, "ListOffsets", 1, {"topics": [{"name": topic, "partitions": [
        {"partition_index": p, "timestamp": -1} for p in range(partitions)]}]})
    found = {p["partition_index"]: p for p in answer["topics"][0]["partitions"]}
    assert all(p["error_code"] == 0 for p in found.values()), answer
    return [found[p]["offset"] for p in range(partitions)]


def ask_once(broker, name: str, version: int, values: dict, timeout_s: float = 30) -> dict:
    """On a connection of its own."""
    connection = Connection(broker.host, broker.port, timeout_s)
    try:
        return ask(connection, name, version, values, timeout_s)
    finally:
        connection.close()


def ask(connection: Connection, name: str, version: int, values: dict, timeout_s: float = 30) -> dict:
    """One request, and its answer as a dict."""
    api = APIS[name]
    connection.correlation += 1
    frame = schema.encode_header(api.key, version, connection.correlation, "interop", version in api.flexible) \
        + schema.encode_body(api, version, values)
    connection.send(len(frame).to_bytes(4, "big") + frame)
    return schema.decode_response(api, version, connection.frame(timeout_s))[1]
