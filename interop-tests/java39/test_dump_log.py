"""Kafka's own kafka-dump-log reads every file that the broker writes, without complaint.

The directory is filled by several clients, with small segments so that there are sealed ones and snapshots, and is
looked at after a clean stop and again after kill -9 and a start.
"""

import re

import pytest

from harness import clients, dump_log, toolhost
from harness import broker as brokers
from harness.life import unique

VERSION = "3.9.1"
pytestmark = [pytest.mark.skipif(bool(toolhost.missing(VERSION)), reason=f"skipped, because {toolhost.missing(VERSION)}")]


def fill(b) -> None:
    run = toolhost.tools(VERSION).run
    group = unique("dump-group")
    for name, configs in {"plain": {"segment_bytes": 2000}, "times": {"message_timestamp_type": "LogAppendTime"},
                          "compacted": {"cleanup_policy": "compact", "segment_bytes": 2000},
                          "zstd": {"compression_type": "zstd"}}.items():
        topic = clients.create_topic(b, unique(f"dump-{name}"), 2, **configs)
        for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
            run("kafka-console-producer", "--bootstrap-server", b.bootstrap, "--topic", topic, "--compression-codec",
                codec, "--property", "parse.key=true", "--property", "parse.headers=true", "--batch-size", 500,
                stdin="".join(f"h:{i}\tkey{i}\tvalue {i}\n" for i in range(100)))
        run("kafka-console-consumer", "--bootstrap-server", b.bootstrap, "--topic", topic, "--group", group,
            "--from-beginning", "--max-messages", 500, "--timeout-ms", 30000)


@pytest.mark.once
@pytest.mark.parametrize("end", ["stopped", "killed"])
def test_every_file(broker, end):
    fill(broker)
    if end == "killed":
        broker.crash()
        fill(broker)
    broker.stop()
    kinds = dump_log.check_everything(broker.data_dir)
    for kind in (".log", ".index", ".timeindex", "leader-epoch-checkpoint", "partition.metadata"):
        assert kinds.get(kind, 0) >= 8, f"too few {kind} files to say anything: {kinds}"
    assert kinds.get(".snapshot", 0) > 0, kinds
    names = {p.name for p in broker.data_dir.iterdir()}
    assert {"meta.properties", "recovery-point-offset-checkpoint", "replication-offset-checkpoint",
            "log-start-offset-checkpoint", ".kafka_cleanshutdown"} <= names, names


def test_kafka_opens_the_directory(broker):
    """A real Kafka 3.9.1 starts on the directory and serves what is in it."""
    topic = clients.create_topic(broker, unique("handed-over"), 2)
    values = [f"value {i}" for i in range(200)]
    run = toolhost.tools(VERSION).run
    run("kafka-console-producer", "--bootstrap-server", broker.bootstrap, "--topic", topic,
        stdin="".join(v + "\n" for v in values))
    topic_id = re.search(r"topic_id: (\S+)", (broker.data_dir / f"{topic}-0" / "partition.metadata").read_text())[1]
    ends = clients.end_offsets(broker, topic, 2)
    broker.stop()
    meta = dict(line.split("=", 1) for line in (broker.data_dir / "meta.properties").read_text().splitlines()
                if "=" in line)
    other = brokers.Kafka({"log.dirs": str(broker.data_dir), "broker.id": meta["broker.id"]})
    try:
        # A ZooKeeper of its own has to know the cluster and the topic as the files do.
        other.seed_zookeeper(meta["cluster.id"], {topic: (topic_id, 2)})
        other.start()
        got = run("kafka-console-consumer", "--bootstrap-server", other.bootstrap, "--topic", topic,
                  "--from-beginning", "--max-messages", 200, "--timeout-ms", 30000)
        assert sorted(got.lines()) == sorted(values)
        assert clients.end_offsets(other, topic, 2) == ends
    finally:
        other.destroy()
