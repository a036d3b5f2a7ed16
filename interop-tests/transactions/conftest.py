"""The brokers of these tests: short sessions, timed out transactions found soon, and both coordinators there."""

import pytest

from harness import broker as brokers
from harness.coordinators import SOON, coordinators_there


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
