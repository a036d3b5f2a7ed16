"""How often the checkpoint files are written: each by its own option, and not by another's."""

import pytest

from harness import broker as brokers
from harness import clients
from harness.life import unique
from harness.wait import wait_for

ck = pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")
pytest.importorskip("confluent_kafka.admin")
pytestmark = [pytest.mark.once,
              pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because Kafka's own timers wait 30 s")]

FILES = {
    "log.flush.offset.checkpoint.interval.ms": "recovery-point-offset-checkpoint",
    "log.flush.start.offset.checkpoint.interval.ms": "log-start-offset-checkpoint",
    "replica.high.watermark.checkpoint.interval.ms": "replication-offset-checkpoint",
}


def written(b) -> dict:
    """option -> which file it is now: another one each time it is written."""
    def number(name):
        path = b.data_dir / name
        return (path.stat().st_ino, path.stat().st_mtime_ns) if path.exists() else None
    return {option: number(name) for option, name in FILES.items()}


def produce(b, topic: str) -> None:
    p = ck.Producer({"bootstrap.servers": b.bootstrap})
    p.produce(topic, b"x")
    assert p.flush(20) == 0


@pytest.mark.parametrize("option", FILES)
def test_interval(option):
    # One that writes every 20 ms; the others, never before the stop.
    for never in ("0", "2000000000"):
        b = brokers.new_broker({name: "20" if name == option else never for name in FILES})
        try:
            b.start()
            topic = clients.create_topic(b, unique("t"))
            for _ in range(2):
                before = written(b)
                produce(b, topic)
                wait_for(lambda: written(b)[option] != before[option], 10, f"{FILES[option]} to be written")
                after = written(b)
                assert {o: after[o] for o in FILES if o != option} == {o: before[o] for o in FILES if o != option}
            b.stop()
            assert None not in written(b).values()
        finally:
            b.destroy()


def test_deleted_records_stay_deleted():
    """A log's start inside of a segment is in log-start-offset-checkpoint alone."""
    b = brokers.new_broker({name: "20" if "start" in name else "0" for name in FILES})
    try:
        b.start()
        topic = clients.create_topic(b, unique("t"))
        for _ in range(3):
            produce(b, topic)
        admin = ck.admin.AdminClient({"bootstrap.servers": b.bootstrap})
        (deleted,) = admin.delete_records([ck.TopicPartition(topic, 0, 2)]).values()
        assert deleted.result(10).low_watermark == 2
        kept = b.data_dir / FILES["log.flush.start.offset.checkpoint.interval.ms"]
        wait_for(lambda: kept.exists() and f"{topic} 0 2\n" in kept.read_text(), 10, "the start to be written")
        b.crash()
        consumer = ck.Consumer({"bootstrap.servers": b.bootstrap, "group.id": "g"})
        assert consumer.get_watermark_offsets(ck.TopicPartition(topic, 0), timeout=10) == (2, 3)
        consumer.close()
    finally:
        b.destroy()
