"""What clients see of topics that are compacted, and what the cleaner's options do."""

import pathlib
import random
import re
import time

import pytest

from harness import clients, dump_log, toolhost
from harness import broker as brokers
from harness.life import unique
from harness.wait import wait_for

ck_admin = pytest.importorskip("confluent_kafka.admin", reason="skipped, because confluent-kafka is not installed")
ck = pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")
pytestmark = [pytest.mark.client("compaction"),
              pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because it reads Ottla's log")]
SEED = 5
CLEANED = re.compile(r"cleaned topic=(\S+) partition=(\d+) from=(\d+) to=(\d+) keys=(\d+) bytes_before=(\d+) "
                     r"bytes_after=(\d+) segments_before=(\d+) segments_after=(\d+) ms=(\d+)")
FIELDS = ("partition", "begin", "end", "keys", "bytes_before", "bytes_after", "segments_before", "segments_after", "ms")


def cleans(b, topic: str) -> list:
    """Of each clean of the topic since the start what the broker says, as a dict."""
    return [dict(zip(FIELDS, map(int, m.groups()[1:]))) for m in CLEANED.finditer(b.said()) if m[1] == topic]


def active_base(b, topic: str, partition: int = 0) -> int:
    return max(int(p.stem) for p in (b.data_dir / f"{topic}-{partition}").glob("*.log"))


def wait_until_clean(b, topic: str, timeout_s: float = 60) -> list:
    def is_clean():
        done = cleans(b, topic)
        return done and done[-1]["end"] >= active_base(b, topic) and done
    return wait_for(is_clean, timeout_s, f"{topic} to be cleaned")


class Writer:
    """Keys and values; the last of each that was acknowledged, and what came after it and may be there."""

    def __init__(self, b, topic: str, **options):
        self.topic, self.acked, self.sent = topic, {}, {}
        self._producer = ck.Producer({"bootstrap.servers": b.bootstrap, "linger.ms": 2, "enable.idempotence": True,
                                      "batch.size": 2000, "message.timeout.ms": 60000, "log_level": 0, **options})

    def write(self, key: str, value: str | None) -> None:
        def done(error, _message):
            if error is None:
                self.acked[key] = max(self.acked.get(key, (-1, None)), (n, value))
        n = self.sent.setdefault(key, [])
        n.append(value)
        n = len(n) - 1
        self._producer.produce(self.topic, value, key, on_delivery=done)
        self._producer.poll(0)

    def flush(self) -> None:
        assert self._producer.flush(90) == 0


def read(b, topic: str, offset: int = 0) -> list:
    """(offset, key, value) up to the end."""
    c = ck.Consumer({"bootstrap.servers": b.bootstrap, "group.id": unique("not-used"), "enable.auto.commit": False,
                     "auto.offset.reset": "earliest", "enable.partition.eof": True, "log_level": 0})
    c.assign([ck.TopicPartition(topic, 0, offset)])
    found, at_end = [], False
    deadline = time.monotonic() + 60
    while not at_end:
        assert time.monotonic() < deadline, f"the end of {topic}"
        for m in c.consume(10000, 0.2):
            if m.error() is None:
                found.append((m.offset(), m.key().decode(), m.value() and m.value().decode()))
            else:
                assert m.error().code() == ck.KafkaError._PARTITION_EOF, m.error()
                at_end = True
    c.close()
    return found


def check(found: list, writer: Writer) -> None:
    """Offsets ascend; of each key the last that was acknowledged is there, or something that was sent after it."""
    offsets = [offset for offset, _, _ in found]
    assert offsets == sorted(set(offsets))
    last = {key: value for _, key, value in found}
    for key, (n, value) in writer.acked.items():
        later = writer.sent[key][n:]
        assert last.get(key) in later, f"{key}: {last.get(key)}, of {later[:5]}"


def fill(writer: Writer, records: int, keys: int, rng) -> None:
    for i in range(records):
        writer.write(f"key-{rng.randrange(keys)}", None if rng.random() < 0.05 else f"value {i} {'x' * 40}")
    writer.flush()


def alter(b, kind, name: str, options: dict) -> None:
    """Sets options of a topic or a broker."""
    admin = ck_admin.AdminClient({"bootstrap.servers": b.bootstrap, "log_level": 0})
    entries = [ck_admin.ConfigEntry(option, value, incremental_operation=ck_admin.AlterConfigOpType.SET)
               for option, value in options.items()]
    for future in admin.incremental_alter_configs([ck_admin.ConfigResource(kind, name, incremental_configs=entries)]).values():
        future.result(30)


def test_the_last_value_of_each_key(compacting):
    b = compacting()
    topic = clients.create_topic(b, unique("compacted-last"), 1, cleanup_policy="compact", segment_bytes=20000)
    writer, rng = Writer(b, topic), random.Random(SEED)
    fill(writer, 5000, 50, rng)
    wait_until_clean(b, topic)
    found = read(b, topic)
    check(found, writer)
    assert len(found) < 1000, "5000 records of 50 keys, of which the last segment alone is not compacted"
    # from every offset, also one that is gone, the next record
    for offset in rng.sample(range(found[-1][0]), 5):
        assert read(b, topic, offset)[0] == next(f for f in found if f[0] >= offset)
    b.restart()
    assert read(b, topic) == found
    b.crash()
    assert read(b, topic) == found
    fill(writer, 500, 50, rng)
    check(read(b, topic), writer)
    b.stop()
    if not toolhost.missing("3.9.1"):
        dump_log.check_everything(b.data_dir)


def test_a_topic_that_becomes_compacted(compacting):
    """Its option changes while the broker runs; and back."""
    b = compacting()
    topic = clients.create_topic(b, unique("becomes"), 1, segment_bytes=10000)
    writer = Writer(b, topic)
    fill(writer, 1000, 10, random.Random(SEED))
    assert len(read(b, topic)) == 1000 and not cleans(b, topic)
    alter(b, ck_admin.ConfigResource.Type.TOPIC, topic, {"cleanup.policy": "compact"})
    wait_until_clean(b, topic)
    found = read(b, topic)
    check(found, writer)
    assert len(found) < 500
    alter(b, ck_admin.ConfigResource.Type.TOPIC, topic, {"cleanup.policy": "delete"})
    done = len(cleans(b, topic))
    fill(writer, 1000, 10, random.Random(SEED))
    assert len(read(b, topic)) == len(found) + 1000 and len(cleans(b, topic)) == done


def test_killed_meanwhile(compacting):
    """kill -9 while keys are written and compacted: what was acknowledged is there, or what replaced it."""
    b = compacting()
    topic = clients.create_topic(b, unique("compacted-killed"), 1, cleanup_policy="compact", segment_bytes=6000)
    writer, rng, kills, cleaned = Writer(b, topic), random.Random(SEED), 6, 0
    for _ in range(kills):
        for _ in range(3):
            fill(writer, 200, 40, rng)
            time.sleep(0.15)  # about as long as the cleaner waits
        for i in range(200):
            writer.write(f"key-{rng.randrange(40)}", f"in flight {i}")
        time.sleep(rng.random() * 0.3)
        cleaned += len(cleans(b, topic))
        b.crash()
        writer.flush()
        check(read(b, topic), writer)
    print(f"kills {kills}, cleans {cleaned}, acknowledged {sum(len(s) for s in writer.sent.values())}, seed {SEED}")
    assert cleaned > kills
    wait_until_clean(b, topic)
    check(read(b, topic), writer)
    b.stop()
    if not toolhost.missing("3.9.1"):
        dump_log.check_everything(b.data_dir)


def test_offsets_of_groups(compacting):
    """__consumer_offsets is compacted like any other, and is loaded from what is left."""
    b = compacting(offsets_topic_num_partitions=1, offsets_topic_segment_bytes=20000)
    topic = clients.create_topic(b, unique("read"), 3)
    members = [ck.Consumer({"bootstrap.servers": b.bootstrap, "group.id": f"group-{i}", "log_level": 0}) for i in range(7)]
    for i in range(60):
        for c in members:
            c.commit(offsets=[ck.TopicPartition(topic, p, i * 3 + p) for p in range(3)], asynchronous=False)
    wait_until_clean(b, "__consumer_offsets")
    b.crash()
    for c in members:
        got = c.committed([ck.TopicPartition(topic, p) for p in range(3)], 30)
        assert [p.offset for p in got] == [59 * 3 + p for p in range(3)]
        c.close()
    assert sum(p.stat().st_size for p in (b.data_dir / "__consumer_offsets-0").glob("*.log")) < 40000


def test_more_keys_than_fit(compacting):
    """The memory for keys is bounded: a log with more is cleaned in several passes."""
    b = compacting(log_cleaner_dedupe_buffer_size=1100000, log_cleaner_io_buffer_load_factor=0.2)
    topic = clients.create_topic(b, unique("keys"), 1, cleanup_policy="compact", segment_bytes=1000000)
    writer = Writer(b, topic, **{"batch.size": 100000})
    for i in range(40000):
        writer.write(f"key-{i}", "v" * 20)
    writer.flush()
    done = wait_until_clean(b, topic)
    assert len(done) >= 2 and all(d["keys"] <= 1100000 / 12 * 0.2 for d in done), done
    assert len(read(b, topic)) == 40000


def test_what_is_read_and_written_at_once(compacting):
    """log.cleaner.io.buffer.size: by how often the process reads and writes files."""
    def calls(**options) -> int:
        b = compacting(log_cleaner_enable="false", **options)
        topic = clients.create_topic(b, unique("parts"), 1, cleanup_policy="compact", segment_bytes=60000)
        writer = Writer(b, topic, **{"batch.size": 1000})
        for i in range(5000):
            writer.write(f"key-{i}", "v" * 50)
        writer.flush()
        b.properties["log.cleaner.enable"] = "true"
        b.restart()
        done = wait_until_clean(b, topic)
        assert sum(d["keys"] for d in done) >= 4000
        return sum(int(n) for n in re.findall(r"^sysc[rw]: (\d+)$", pathlib.Path(f"/proc/{b.process.pid}/io").read_text(), re.M))
    small, large = calls(log_cleaner_io_buffer_size=8192), calls()
    assert small > large + 60, f"{small} calls with 4096 bytes at once, {large} with 262144"


def test_bytes_per_second(compacting):
    b = compacting(log_cleaner_io_max_bytes_per_second=100000)
    topic = clients.create_topic(b, unique("budget"), 1, cleanup_policy="compact", segment_bytes=60000)
    fill(Writer(b, topic), 1500, 10, random.Random(SEED))
    done = wait_until_clean(b, topic)[0]
    read_at_least = 2 * done["bytes_before"] + done["bytes_after"]
    assert done["ms"] >= read_at_least * 1000 / 100000 - 400 and done["ms"] > 500, done


def test_lags(compacting):
    """Nothing younger than min.compaction.lag.ms; what is older than max.compaction.lag.ms however little is dirty."""
    b = compacting(log_cleaner_min_cleanable_ratio=1.0)
    young, late, old = (clients.create_topic(b, unique(name), 1, cleanup_policy="compact", segment_bytes=5000, **options)
                        for name, options in (("young", {"min_compaction_lag_ms": 3600000, "min_cleanable_dirty_ratio": 0.01}),
                                              ("late", {"max_compaction_lag_ms": 500}), ("old", {})))
    for topic in (young, old, late):
        fill(Writer(b, topic), 300, 5, random.Random(SEED))
    time.sleep(0.6)
    fill(Writer(b, late), 1, 5, random.Random(SEED))
    assert len(read(b, late)) and wait_until_clean(b, late)
    assert not cleans(b, young) and not cleans(b, old)
    assert len(read(b, young)) == len(read(b, old)) == 300


def test_deletion_markers(compacting):
    """They stay for delete.retention.ms, and go with a clean after that."""
    b = compacting(log_cleaner_delete_retention_ms=1000)
    topic = clients.create_topic(b, unique("markers"), 1, cleanup_policy="compact", segment_bytes=4000)
    writer = Writer(b, topic)
    writer.write("goes", "v")
    writer.write("goes", None)
    fill(writer, 200, 5, random.Random(SEED))
    wait_until_clean(b, topic)
    assert ("goes", None) in [(key, value) for _, key, value in read(b, topic)]
    time.sleep(1.1)
    fill(writer, 200, 5, random.Random(SEED))

    def gone():
        return "goes" not in [key for _, key, _ in read(b, topic)]
    wait_for(gone, 30, "the deletion marker to go")


def test_compact_and_delete(compacting):
    """Both policies: retention goes on, by the cleaner; with log.cleaner.enable=false nobody does either."""
    b = compacting(log_retention_check_interval_ms=100)
    topic = clients.create_topic(b, unique("both"), 1, cleanup_policy="compact,delete", segment_bytes=4000, retention_ms=2000)
    writer = Writer(b, topic)
    fill(writer, 300, 100, random.Random(SEED))
    wait_until_clean(b, topic)
    wait_for(lambda: not read(b, topic), 30, "all of it to be too old")
    b.properties["log.cleaner.enable"] = "false"
    b.restart()
    fill(Writer(b, topic), 300, 100, random.Random(SEED))
    time.sleep(3)
    assert len(read(b, topic)) == 300 and not cleans(b, topic)


def test_options_at_run_time(compacting):
    """kafka-configs changes the cleaner while it runs."""
    b = compacting(log_cleaner_backoff_ms=3600000)
    topic = clients.create_topic(b, unique("run-time"), 1, cleanup_policy="compact", segment_bytes=5000)
    fill(Writer(b, topic), 300, 5, random.Random(SEED))
    assert not cleans(b, topic)
    alter(b, ck_admin.ConfigResource.Type.BROKER, b.properties["broker.id"],
          {"log.cleaner.backoff.ms": "100", "log.cleaner.threads": "2"})
    wait_until_clean(b, topic)
    threads = {p.read_text().strip() for p in pathlib.Path(f"/proc/{b.process.pid}/task").glob("*/comm")}
    assert {"cleaner-0", "cleaner-1"} <= threads, threads


@pytest.mark.skipif(bool(toolhost.missing("3.9.1")), reason="skipped, because Kafka's tools are not there")
def test_the_tools(compacting, tmp_path):
    """kafka-configs on the cleaner, what it may not become; kafka-delete-records, and what kafka-log-dirs says then."""
    b = compacting(log_retention_check_interval_ms=100)
    topic = clients.create_topic(b, unique("tools"), 1, segment_bytes=10000, file_delete_delay_ms=100)

    def tool(name: str, *args):
        return toolhost.tools("3.9.1").run(name, "--bootstrap-server", b.bootstrap, *args, check=False)

    def set_threads(n: int) -> str:
        said = tool("kafka-configs", "--alter", "--entity-type", "brokers", "--entity-name", b.properties["broker.id"],
                    "--add-config", f"log.cleaner.threads={n}")
        return said.out + said.err
    assert "must be at least 1MB per cleaner thread" in set_threads(9)
    assert "cannot be increased to more than double the current value 1" in set_threads(3)
    assert "Completed updating config" in set_threads(2)
    fill(Writer(b, topic), 3000, 5, random.Random(SEED))

    def size() -> int:
        out = tool("kafka-log-dirs", "--describe", "--topic-list", topic).out
        return int(re.search(r'"size":(\d+)', out)[1])
    before, path = size(), tmp_path / "offsets.json"
    path.write_text('{"version":1,"partitions":[{"topic":"%s","partition":0,"offset":2900}]}' % topic)
    assert f"partition: {topic}-0\tlow_watermark: 2900" in tool("kafka-delete-records", "--offset-json-file", path).out
    wait_for(lambda: size() < before / 4, 30, "segments below the start to go")
    assert len(read(b, topic)) == 100
    wait_for(lambda: not list(b.data_dir.glob(f"{topic}-0/*.deleted")), 30, "their files to go")
