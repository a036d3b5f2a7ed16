"""Fixtures of the interop tests. What they stand on is in harness/."""

import json
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

pytest.register_assert_rewrite("harness.java_scenarios")

from harness import broker as brokers  # noqa: E402
from harness import paths, toolhost  # noqa: E402

WHOLE = os.environ.get("OTTLA_INTEROP", "slice") == "all"
PASS = brokers.coordination()
AGAIN = PASS == "zookeeper" and brokers.kind_under_test() == "ottla"  # the second of two passes
_results = {}

# What is about ZooKeeper itself, or about several brokers, needs no pass without it; the image is looked at in one.
collect_ignore_glob = ["zookeeper/*", "cluster/*"] if PASS == "embedded" else ["containers/*"]


def pytest_addoption(parser):
    parser.addoption("--record", nargs="?", const="anew", default="", choices=["anew", "again"],
                     help="cluster/test_messages.py: write down what Apache Kafka's brokers say")


def pytest_collection_modifyitems(items):
    if not WHOLE:
        for item in items:
            if item.get_closest_marker("whole"):
                item.add_marker(pytest.mark.skip(reason="only in the whole run: interop-tests/run all"))
            elif AGAIN and item.get_closest_marker("once"):
                item.add_marker(pytest.mark.skip(reason="on ZooKeeper only in the whole run: interop-tests/run all"))


def pytest_sessionstart():
    why = brokers.missing()
    if why:
        _results["all"] = {"client": "all", "test": f"skipped, because {why}", "outcome": "skipped", "seconds": 0}
        _write_results()
        pytest.exit(f"skipped, because {why}", 5 if PASS == "zookeeper" else 2)


def _client(item) -> str:
    marker = item.get_closest_marker("client")
    return marker.args[0] if marker else item.path.parent.name


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.when == "call" or report.outcome != "passed":
        _results[item.nodeid] = {"client": _client(item), "test": item.name, "outcome": report.outcome,
                                 "seconds": round(report.duration, 1)}
    if report.failed:
        for name in ("broker", "shared_broker"):
            b = item.funcargs.get(name)
            if b is not None:
                report.sections.append(("the broker's log", b.log_tail(25)))


def _write_results():
    paths.MADE.mkdir(parents=True, exist_ok=True)
    (paths.MADE / f"results-{paths.RUN}.json").write_text(json.dumps(_results, indent=1))


def pytest_sessionfinish():
    _write_results()
    toolhost.close_all()
    brokers.ZooKeeper.destroy_shared()


@pytest.fixture
def broker():
    """A new broker for one test."""
    b = brokers.new_broker()
    try:
        b.start()
        yield b
    finally:
        b.destroy()


@pytest.fixture(scope="module")
def shared_broker():
    """One broker for the tests of a module that do not disturb each other."""
    b = brokers.new_broker()
    try:
        b.start()
        yield b
    finally:
        b.destroy()
