"""The list of Kafka's options that the unit tests compare ours with is Kafka 3.9.1's own."""

import shutil
import subprocess

import pytest

from harness import jvm, paths

pytestmark = pytest.mark.skipif(bool(jvm.missing()) or not shutil.which("javac"), reason="skipped, because there is no JDK, or no jars")


def test_the_list_is_kafkas():
    program = paths.INTEROP / "java39" / "KafkaOptions.java"
    said = subprocess.run(jvm.java("-cp", jvm.classpath(jvm.KAFKA_VERSION), program), capture_output=True, text=True, timeout=120)
    assert said.returncode == 0, said.stderr
    kept = paths.ROOT / "broker" / "tests" / "kafka_options.tsv"
    made = paths.MADE / "kafka_options.tsv"
    made.parent.mkdir(parents=True, exist_ok=True)
    made.write_text(said.stdout)
    assert said.stdout == kept.read_text(), f"{kept} is not what Kafka {jvm.KAFKA_VERSION} says: compare {made}"
