"""What several of these tests stand on."""

import pytest

from harness.zookeeper import ZooKeeper


@pytest.fixture(scope="module")
def zookeeper():
    """One of their own, which may be paused and killed."""
    z = ZooKeeper()
    yield z
    z.destroy()
