"""The brokers of these tests: short sessions, and timed out transactions found soon."""

import pytest

from harness import broker as brokers

SOON = {
    "group.min.session.timeout.ms": "500",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "300",
}


def _broker():
    b = brokers.new_broker(SOON)
    try:
        b.start()
        yield b
    finally:
        b.destroy()


broker = pytest.fixture(_broker)
shared_broker = pytest.fixture(_broker, scope="module")
