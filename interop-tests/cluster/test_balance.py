"""Leaders that go home of themselves: auto.leader.rebalance.enable."""

from harness.life import unique
from harness.wait import wait_for

PARTITIONS = 6
OVERRIDES = {"auto.leader.rebalance.enable": "true", "leader.imbalance.check.interval.seconds": 1}


def test_preferred_leaders_of_themselves(cluster):
    topic = cluster.create_topic(unique("home"), PARTITIONS)
    preferred = {p: replicas[0] for p, replicas in cluster.assignment(topic).items()}
    leaders = lambda: {p: cluster.state(topic, p).leader for p in preferred}  # noqa: E731
    for b in cluster.brokers:
        b.stop()
        wait_for(lambda: leaders() != preferred, 30, "others to lead")
        b.start()
        wait_for(lambda: cluster.in_sync(topic) and leaders() == preferred, 60, "preferred leaders")
