"""The brokers of these tests: short sessions, timed out transactions found soon, and both coordinators there."""

import pytest

from harness import broker as brokers
from harness import clients
from harness.wait import wait_for

SOON = {
    "group.min.session.timeout.ms": "500",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "300",
}


def coordinators_there(b) -> None:
    """Their topics are made when one is first looked for, and librdkafka may then wait for ever for a group's."""
    for key_type in (0, 1):
        wait_for(lambda: clients.ask_once(b, "FindCoordinator", 3, {"key": "x", "key_type": key_type})["error_code"] == 0,
                 30, f"a coordinator ({key_type})")


def _broker():
    b = brokers.new_broker(SOON)
    try:
        b.start()
        coordinators_there(b)
        yield b
    finally:
        b.destroy()


broker = pytest.fixture(_broker)
shared_broker = pytest.fixture(_broker, scope="module")
