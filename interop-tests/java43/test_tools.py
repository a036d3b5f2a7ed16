"""Kafka 4.3.0's command-line tools. The scenarios are in harness/java_scenarios.py."""

from harness.java_scenarios import JavaScenarios


class TestTools(JavaScenarios):
    version = "4.3.0"
