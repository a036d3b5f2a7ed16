"""What the log says, and how often."""

import pytest

from harness import broker as brokers
from harness import clients
from wire.player import Connection

pytestmark = [pytest.mark.once, pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because it is about Ottla")]


def test_a_transactional_client_is_told_in_the_log_once():
    """It is answered retriably, and asks for a minute: without a line nobody would know why."""
    b = brokers.new_broker()
    b.start()
    try:
        c = Connection("127.0.0.1", b.port)
        for _ in range(3):
            for name in ("one", "two"):
                assert clients.ask(c, "FindCoordinator", 3, {"key": name, "key_type": 1})["error_code"] == 15
                assert clients.ask(c, "InitProducerId", 4, {"transactional_id": name, "transaction_timeout_ms": 60000})["error_code"] == 15
        c.close()
        said = [line for line in b.log_tail(1000).splitlines() if "transactions are not built" in line]
        assert len(said) == 2 and "transactional.id=one" in said[0] and "transactional.id=two" in said[1]
        assert all("client.id=" in line and "client=/127.0.0.1" in line for line in said)
    finally:
        b.destroy()
