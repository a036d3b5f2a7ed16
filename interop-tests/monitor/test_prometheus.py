"""The board and the rules of docker/monitoring in a real Prometheus: every query has data, and each alert fires when its
fault is made, and not before."""

import os
import signal
import socket
import struct
import subprocess
import threading

import pytest

from harness import broker as brokers
from harness import clients
from harness.cluster import Cluster
from harness.coordinators import coordinators_there
from harness.life import unique
from harness.process import free_port
from harness.wait import wait_for
from monitor import prometheus
from monitor.page import listener_options, page
from monitor.prometheus import Prometheus
from wire import records

pytestmark = [pytest.mark.once,
              pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because it is about Ottla"),
              pytest.mark.skipif(prometheus.missing() is not None, reason=f"skipped, because {prometheus.missing()}")]

SEEN = set()  # the alerts that have fired in this run, of whichever test


def fires(watch: Prometheus, *alerts: str, timeout_s: float = 60) -> None:
    for alert in alerts:
        watch.wait_firing(alert, timeout_s)
        SEEN.add(alert)


def produce(b, topic: str, count: int = 1, acks: int = -1) -> int:
    batch = records.batch({"records": [{"value": b"v" * 10}] * count})
    answer = clients.ask_once(b, "Produce", 8, {"acks": acks, "timeout_ms": 5000, "topic_data": [
        {"name": topic, "partition_data": [{"index": 0, "records": batch}]}]})
    return answer["responses"][0]["partition_responses"][0]["error_code"]


def commit(b, group: str, topic: str) -> None:
    coordinators_there(getattr(b, "brokers", [b])[0])
    answer = clients.ask_once(b.coordinates(group, 0), "OffsetCommit", 2, {
        "group_id": group, "generation_id_or_member_epoch": -1, "member_id": "", "retention_time_ms": -1,
        "topics": [{"name": topic, "partitions": [{"partition_index": 0, "committed_offset": 0}]}]})
    assert answer["topics"][0]["partitions"][0]["error_code"] == 0


class Traffic:
    """Somebody who produces and consumes all the time."""

    def __init__(self, b, topic: str):
        self.b, self.topic, self.ended = b, topic, threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        from confluent_kafka import Consumer, Producer
        p = Producer({"bootstrap.servers": self.b.bootstrap, "linger.ms": 0})
        c = Consumer({"bootstrap.servers": self.b.bootstrap, "group.id": "traffic", "auto.offset.reset": "earliest", "auto.commit.interval.ms": 200})
        c.subscribe([self.topic])
        while not self.ended.is_set():
            p.produce(self.topic, b"v" * 100)
            p.poll(0)
            c.poll(0.05)
            self.ended.wait(0.001)  # as fast as it can it would be as far behind as the alert is about, between two commits
        p.flush(5)
        c.close()

    def end(self):
        self.ended.set()
        self.thread.join()


@pytest.fixture
def watched():
    """A broker with two log directories, and who watches over it."""
    b = brokers.new_broker(listener_options(**{"offsets.topic.num.partitions": 1, "group.initial.rebalance.delay.ms": 0}))
    b.data_dir.mkdir()
    b.properties["log.dirs"] = f"{b.data_dir}/good,{b.data_dir}/bad"
    watch = None
    try:
        watch = Prometheus([b.start().properties["ottla.http.listener"]])
        wait_for(watch.healthy, 30, "the first page")
        yield b, watch
    finally:
        if watch:
            watch.destroy()
        b.destroy()


def test_board(watched):
    b, watch = watched
    traffic = Traffic(b, b.create_topic(unique("t")))
    try:
        for panel, expression in prometheus.queries():
            wait_for(lambda: watch.query(expression), 40, f"data of the panel {panel}: {expression}")
        quiet = {"SlowRequests"}  # this machine may be slow
        assert watch.firing() <= quiet
    finally:
        traffic.end()


def test_alerts_of_one_broker(watched):
    b, watch = watched
    topic = b.create_topic(unique("t"))
    wait_for(lambda: watch.query("kafka_log_log_size"), 30, "a page")
    before = watch.firing() - {"SlowRequests"}
    assert before == set()
    for _ in range(4):
        assert produce(b, topic, 3000) == 0
    commit(b, "behind", topic)
    b.create_topic(unique("t"), min_insync_replicas=2)
    fires(watch, "ConsumerGroupLag", "UnderMinIsrPartitions")
    (b.data_dir / "bad").rename(b.data_dir / "gone")
    for _ in range(20):  # in the lost directory one of them fails
        clients.ask_once(b, "CreateTopics", 2, {"timeout_ms": 2000, "topics": [{"name": unique("t"), "num_partitions": 2, "replication_factor": 1}]})
        if watch.query("kafka_log_logmanager_offlinelogdirectorycount > 0"):
            break
    fires(watch, "OfflineLogDirectory")
    b.kill()
    fires(watch, "BrokerDown")


@pytest.mark.whole
def test_alert_of_slow_requests():
    b = brokers.new_broker(listener_options(**{"ottla.request.slow.ms": 0})).start()
    watch = Prometheus([b.properties["ottla.http.listener"]])
    try:
        ended = threading.Event()

        def load():
            while not ended.is_set():
                b.create_topic(unique("t"), 100)
                clients.ask_once(b, "Metadata", 5, {"topics": None, "allow_auto_topic_creation": False})
        thread = threading.Thread(target=load)
        thread.start()
        try:
            fires(watch, "SlowRequests")
        finally:
            ended.set()
            thread.join()
    finally:
        watch.destroy()
        b.destroy()


@pytest.mark.whole
def test_alert_of_busy_loops():
    """Each loop gets thousands of requests at a time, by connections that never wait."""
    b = brokers.new_broker(listener_options()).start()
    watch = Prometheus([b.properties["ottla.http.listener"]])
    request = struct.pack(">ihhih", 10, 18, 0, 1, -1)
    ended = threading.Event()

    def flood():
        with socket.create_connection(("127.0.0.1", b.port)) as s:
            s.settimeout(20)
            s.sendall(request)
            one = 4 + struct.unpack(">i", s.recv(4, socket.MSG_WAITALL))[0]
            s.recv(one - 4, socket.MSG_WAITALL)
            while not ended.is_set():
                s.sendall(request * 500)
                left = 500 * one
                while left > 0:
                    left -= len(s.recv(min(left, 1 << 20)))
    threads = [threading.Thread(target=flood) for _ in range(8)]
    try:
        for thread in threads:
            thread.start()
        fires(watch, "EventLoopsBusy", timeout_s=90)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
        watch.destroy()
        b.destroy()


SLOW_FDATASYNC = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>
int fdatasync(int fd)
{
    usleep(1500000);
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
"""


@pytest.mark.whole
@pytest.mark.skipif("OTTLA_BINARY" in os.environ, reason="skipped, because only the ordinary binary takes libraries in front")
def test_alert_of_a_slow_disk(tmp_path):
    """Its disk takes a second and a half for each flush."""
    (tmp_path / "slow.c").write_text(SLOW_FDATASYNC)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", tmp_path / "slow.so", tmp_path / "slow.c", "-ldl"], check=True)
    b = brokers.new_broker(listener_options(**{"log.flush.interval.messages": 1}))
    b.start_timeout_s = 60
    b.environment["LD_PRELOAD"] = str(tmp_path / "slow.so")
    watch = None
    try:
        b.start()
        topic = b.create_topic(unique("t"))
        watch = Prometheus([b.properties["ottla.http.listener"]])
        assert produce(b, topic) == 0
        fires(watch, "SlowDisk")
    finally:
        if watch:
            watch.destroy()
        b.destroy()


@pytest.fixture
def cluster():
    """Three brokers, each with an HTTP listener, and who watches over them."""
    c = Cluster(["ottla"] * 3)
    for b in c.brokers:
        b.properties |= {"ottla.http.listener": f"{b.host}:{free_port()}", "ottla.http.allow.remote": "true"}
    watch = None
    try:
        c.start()
        watch = Prometheus([b.properties["ottla.http.listener"] for b in c.brokers])
        wait_for(watch.healthy, 30, "the first pages")
        yield c, watch
    finally:
        if watch:
            watch.destroy()
        c.destroy()


@pytest.mark.whole
def test_pages_of_a_cluster(cluster):
    """Each thing is told by one broker, so that sums are right; and what only brokers of a cluster have."""
    c, watch = cluster
    topic = c.create_topic(unique("t"), 6)
    for _ in range(5):
        assert produce(c.leads(topic, 0), topic, 10) == 0
    commit(c, "group", topic)
    where = {"consumergroup": "group", "topic": topic, "partition": 0}
    wait_for(lambda: any(page(b).get("kafka_consumergroup_lag", **where) == 50 for b in c.brokers), 20,
             "the coordinator, a follower, to know the high watermark")
    pages = [page(b) for b in c.brokers]
    told = [labels for p in pages for labels in p.all("kafka_topic_partition_current_offset")]
    assert len(told) == len(set(told)) and sum(dict(labels)["topic"] == topic for labels in told) == 6
    assert [p.get("kafka_brokers") for p in pages if p.get("kafka_brokers") is not None] == [3]
    assert [p.get("kafka_topic_partitions", topic=topic) for p in pages if p.all("kafka_topic_partitions")] == [6]
    lags = [p.get("kafka_consumergroup_lag", consumergroup="group", topic=topic, partition=0) for p in pages]
    assert [lag for lag in lags if lag is not None] == [50]
    assert sum(p.get("kafka_controller_kafkacontroller_activecontrollercount") for p in pages) == 1
    assert sum(p.get("kafka_server_replicamanager_leadercount") for p in pages) >= 6
    assert all(p.get("kafka_server_replicafetchermanager_minfetchrate", clientId="Replica") > 0 for p in pages)
    assert sum(p.get("kafka_server_brokertopicmetrics_replicationbytesin_total") for p in pages) > 5 * 10 * 10
    assert all(p.get("kafka_server_zookeeperclientmetrics_zookeeperrequestlatencyms_count") > 0 for p in pages)


@pytest.mark.whole
def test_alerts_of_a_cluster(cluster):
    c, watch = cluster
    safe = c.create_topic(unique("t"), min_insync_replicas=2)
    alone = c.create_topic(unique("t"), replicas=1, min_insync_replicas=1)
    unclean = c.create_topic(unique("t"), replicas=2, min_insync_replicas=1, unclean_leader_election_enable="true")
    wait_for(lambda: watch.firing() <= {"SlowRequests", "ZooKeeperLost"}, 30, "all to be well")
    lost = c.state(alone).leader
    c.brokers[lost].kill()
    fires(watch, "BrokerDown", "UnderReplicatedPartitions", "OfflinePartitions")
    assert produce(c.leads(safe, 0), safe) == 0
    c.brokers[lost].start()
    wait_for(lambda: not {"UnderReplicatedPartitions", "OfflinePartitions", "BrokerDown"} & watch.firing(), 60, "the alerts to end")

    first, second = sorted(c.assignment(unclean)[0], key=lambda n: n != c.state(unclean).leader)
    c.brokers[second].kill()
    wait_for(lambda: c.state(unclean).isr == (first,), 30, "the in-sync set to shrink")
    c.brokers[first].kill()
    c.brokers[second].start()
    fires(watch, "UncleanLeaderElection")
    c.brokers[first].start()

    full = 0
    if c.can_cut:
        c.fill_disk(full, 1 << 20)
        fires(watch, "LogDirectoryAlmostFull")
        c.empty_disk(full)

    controller = c.controller()
    c.zookeeper.pause()
    try:
        fires(watch, "ZooKeeperLost")
        c.brokers[controller].kill()  # and nobody can be elected
        fires(watch, "NoActiveController")
    finally:
        c.zookeeper.resume()


@pytest.mark.whole
def test_alert_of_a_broker_that_does_not_serve():
    """One whose controller does not let it go stays in the state of leaving."""
    from start.test_other_brokers import Played, Told
    b = brokers.new_broker(listener_options(**{"controlled.shutdown.max.retries": 1, "controller.socket.timeout.ms": 60000})).start()
    watch = Prometheus([b.properties["ottla.http.listener"]])
    try:
        with Played() as controller:
            Told(b).tell_brokers({"PLAINTEXT": controller.port}, controller=1)
            b.process.signal(signal.SIGTERM)
            controller.accept()
            fires(watch, "BrokerNotRunning")
    finally:
        watch.destroy()
        b.destroy()


@pytest.mark.whole
def test_every_alert_has_fired():
    assert prometheus.alerts() - SEEN == set()
