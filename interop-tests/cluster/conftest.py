"""A cluster for the tests of a module, and the gaps they measured."""

import os
import sys

import pytest

from harness import broker as brokers
from harness import network, zookeeper

KINDS = (os.environ.get("OTTLA_KINDS") or ",".join([brokers.kind_under_test()] * 3)).split(",")
gaps = {}

if network.missing() is None:
    network.enter()  # while this process has one thread


@pytest.fixture(scope="session")
def kinds() -> list:
    why = zookeeper.missing()
    if why:
        pytest.skip(f"skipped, because {why}")
    return KINDS


@pytest.fixture(scope="module")
def shared_cluster(kinds, request):
    """A module may say how many BROKERS, with which OVERRIDES of options, and in which RACKS."""
    from harness.cluster import Cluster  # needs kazoo
    more = getattr(request.module, "BROKERS", len(kinds)) - len(kinds)
    c = Cluster(kinds + kinds[:1] * more, getattr(request.module, "OVERRIDES", None))
    for b, rack in zip(c.brokers, getattr(request.module, "RACKS", ())):
        b.properties["broker.rack"] = rack
    try:
        yield c.start()
    finally:
        c.destroy()


@pytest.fixture
def cluster(shared_cluster):
    """The module's brokers, all there and whole, whatever the test before has done."""
    shared_cluster.heal()
    shared_cluster.settle()
    return shared_cluster


@pytest.fixture
def work(cluster, tmp_path, request):
    """A load on a topic of its own, on three brokers."""
    from .work import Work  # needs confluent-kafka
    w = Work(cluster, tmp_path, request.node.name)
    try:
        yield w
    finally:
        w.load.kill()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    c = item.funcargs.get("shared_cluster") or item.funcargs.get("cluster")
    if report.failed and c:
        report.sections += [(f"the log of broker {n}", b.log_tail(15)) for n, b in enumerate(c.brokers)]


def pytest_terminal_summary(terminalreporter):
    if gaps:
        terminalreporter.section("longest time between two acknowledgements of one partition (acks=all)")
    for test, seconds in gaps.items():
        terminalreporter.write_line(f"{seconds:6.2f} s  {test}")
    if "cluster.scenario" in sys.modules:
        heard = sys.modules["cluster.scenario"].seconds
        terminalreporter.section("time of each scenario whose messages were compared")
        for scenario, seconds in heard.items():
            terminalreporter.write_line(f"{seconds:6.2f} s  {scenario}")
