"""kafka-broker-api-versions, and what stands behind it."""

import re
import subprocess

import pytest

from harness import jvm, paths
from harness.process import free_port

from .tools import compared, kafkas, ours

pytestmark = pytest.mark.once


def test_same(pair):
    for b in pair:
        args = ("broker-api-versions", "--bootstrap-server", b.bootstrap)
        assert compared(ours(*args), b) == compared(kafkas(*args), b)


def test_nobody_there(pair):
    done = ours("broker-api-versions", "--bootstrap-server", f"127.0.0.1:{free_port()}")
    assert done.code == 1 and done.out == "" and "Connection refused" in done.err
    assert ours("broker-api-versions").code == 1


def test_tables_are_those_of_the_jar(pair):
    """cli/client_apis.def and cli/exceptions.def; errors of KRaft's and of share groups are not among ours."""
    classes = jvm.compile_java(paths.INTEROP / "cli" / "Tables.java", jvm.KAFKA_VERSION, "cli-tables")
    said = subprocess.run(jvm.java("-cp", f"{classes}:{jvm.classpath(jvm.KAFKA_VERSION)}", "Tables"), check=True,
                          capture_output=True, text=True).stdout
    theirs = set(said.split("\n")) - {""}
    mine = set()
    for name in ("client_apis", "exceptions"):
        text = (paths.ROOT / "cli" / f"{name}.def").read_text()
        mine |= set(re.findall(r"^(?:CLIENT_API|KAFKA_EXCEPTION)\(.*\)$", text, re.MULTILINE))
    assert mine <= theirs
    assert {row.split("(")[1].split(",")[0] for row in theirs - mine} == {
        "INVALID_RECORD_STATE", "SHARE_SESSION_NOT_FOUND", "INVALID_SHARE_SESSION_EPOCH", "FENCED_STATE_EPOCH",
        "INVALID_VOTER_KEY", "DUPLICATE_VOTER", "VOTER_NOT_FOUND"}
