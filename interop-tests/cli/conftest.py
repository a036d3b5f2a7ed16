"""Two brokers: one that Kafka's tools change, one that ours do."""

import pytest

from harness import broker as brokers

from .tools import missing


@pytest.fixture(scope="module")
def pair():
    why = missing()
    if why:
        pytest.skip(f"skipped, because {why}")
    both = [brokers.new_broker({"broker.id": "7", "log.segment.bytes": "1000000"}) for _ in range(2)]
    try:
        for b in both:
            b.start()
        yield both
    finally:
        for b in both:
            b.destroy()
