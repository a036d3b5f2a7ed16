"""How often the checkpoint files are written: each by its own option, and not by another's."""

import pytest

from harness import broker as brokers
from harness import clients
from harness.life import unique
from harness.wait import wait_for

ck = pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")
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
