"""The coordinators of groups (key type 0) and of transactions (1)."""

from .clients import ask_once
from .wait import wait_for

TOPICS = ("__consumer_offsets", "__transaction_state")
PARTITIONS = ("offsets.topic.num.partitions", "transaction.state.log.num.partitions")  # the options that say how many

# Sessions may be short, and transactions that have timed out are found soon.
SOON = {
    "group.min.session.timeout.ms": "500",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "300",
}


def coordinators_there(b) -> None:
    """Their topics are made when one is first looked for, and librdkafka may then wait for ever for a group's."""
    for key_type in (0, 1):
        wait_for(lambda: ask_once(b, "FindCoordinator", 3, {"key": "x", "key_type": key_type})["error_code"] == 0,
                 30, f"a coordinator ({key_type})")


def partition_of(key: str, partitions: int) -> int:
    """Of the coordinator's topic, for a group or a transactional id, of letters that a Java has in one char each."""
    h = 0
    for c in key:
        h = (31 * h + ord(c)) & 0xffffffff
    h = h - (1 << 32) if h >> 31 else h
    return (0 if h == -(1 << 31) else abs(h)) % partitions
