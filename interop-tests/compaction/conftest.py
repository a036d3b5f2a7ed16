"""A broker that compacts at once, with the options that a test asks for."""

import pytest

from harness import broker as brokers

SOON = {"log.cleaner.backoff.ms": "100", "log.cleaner.min.cleanable.ratio": "0.0001", "log.cleaner.dedupe.buffer.size": "4194304",
        "log.segment.delete.delay.ms": "1000", "log.initial.task.delay.ms": "100"}


@pytest.fixture
def compacting(request):
    """compacting(options) starts it."""
    started = []

    def start(**options):
        b = brokers.new_broker({**SOON, **{k.replace("_", "."): str(v) for k, v in options.items()}})
        started.append(b)
        return b.start()
    yield start
    for b in started:
        b.destroy()
