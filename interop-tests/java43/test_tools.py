"""Kafka 4.3.0's command-line tools. The scenarios are in harness/java_scenarios.py."""

import pytest

from harness.java_scenarios import JavaScenarios


@pytest.mark.once
class TestTools(JavaScenarios):
    version = "4.3.0"
