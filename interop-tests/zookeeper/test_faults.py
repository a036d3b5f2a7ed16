"""What happens to ZooKeeper, and to the way there, must not happen to records.

The broker under test has a ZooKeeper that nobody else uses, behind a proxy. It is paused, killed, cut off, slow, or
not there at all. Producing, reading and groups go on all the time; afterwards the broker is registered, is the
controller, and does what needs ZooKeeper again. And the starts that have to be refused.
"""

import contextlib
import json
import random
import threading
import time

import pytest

from harness import broker as brokers
from harness import clients, toolhost
from harness.life import unique
from harness.process import free_port
from harness.tcp_proxy import TcpProxy
from harness.wait import wait_for

ck = pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")
admin = pytest.importorskip("confluent_kafka.admin")
from harness.load import Load  # noqa: E402

IS_KAFKA = brokers.kind_under_test() == "kafka"
SESSION_S = 2.0


@pytest.fixture
def proxied(zookeeper):
    """A broker that reaches its ZooKeeper through a proxy; not started."""
    proxy = TcpProxy(zookeeper.port)
    b = brokers.new_broker({"zookeeper.session.timeout.ms": int(SESSION_S * 1000)}, on=zookeeper)
    b.properties["zookeeper.connect"] = f"127.0.0.1:{proxy.port}{b.chroot}"
    b.proxy = proxy
    try:
        yield b
    finally:
        if zookeeper.process is None:
            zookeeper.start()
        zookeeper.resume()
        b.destroy()
        proxy.close()


@pytest.fixture
def working(proxied):
    """The same, started, with work that goes on: broker, load."""
    b = proxied.start()
    clients.create_topic(b, "live", 2)
    load = Load(b, "live", 2)
    try:
        load.goes_on()
        group_works(b)  # so that there are offsets partitions
        yield b, load
        assert b.alive(), f"the broker ended\n{b.log_tail(60)}"
    finally:
        load.stop()


def group_works(b) -> None:
    """A new group: it joins, reads, commits, and is asked what it has committed."""
    group = unique("group")
    c = ck.Consumer({"bootstrap.servers": b.bootstrap, "group.id": group, "auto.offset.reset": "earliest",
                     "enable.auto.commit": False, "log_level": 0})
    c.subscribe(["live"])
    got = []
    wait_for(lambda: got.extend(m for m in c.consume(50, 0.1) if not m.error()) or got, 20, "a group's records")
    (done, *_) = c.commit(message=got[-1], asynchronous=False)
    assert done.error is None, done.error
    asked = c.committed([ck.TopicPartition("live", got[-1].partition())], 10)
    assert asked[0].offset == got[-1].offset() + 1
    c.close()


def goes_on_for(seconds: float, b, load) -> None:
    """Records and groups, all that time."""
    end = time.monotonic() + seconds
    group_works(b)
    while time.monotonic() < end:
        load.goes_on(50, timeout_s=5)
    group_works(b)


class Nodes:
    """What the broker has in ZooKeeper, at one time."""

    def __init__(self, b):
        self.registration = b.zookeeper.node(f"{b.chroot}/brokers/ids/0")
        self.controller = b.zookeeper.node(f"{b.chroot}/controller")
        epoch = b.zookeeper.node(f"{b.chroot}/controller_epoch")
        self.controller_epoch = int(epoch.data) if epoch else 0

    def follows(self, before: "Nodes") -> None:
        """Either all is of the old session and as it was, or all is of a new one and newer."""
        new = self.registration.owner != before.registration.owner
        assert (self.registration.czxid > before.registration.czxid) == new
        assert (self.controller_epoch > before.controller_epoch) == new


def whole_again(b, load) -> Nodes:
    """Registered, the controller, and able to do what needs ZooKeeper."""
    def settled():
        nodes = Nodes(b)
        its = nodes.registration and nodes.controller and nodes.registration.owner == nodes.controller.owner
        return nodes if its and nodes.registration.owner else None
    nodes = wait_for(settled, 30, "the registration and the controller, of one session")
    assert json.loads(nodes.registration.data)["port"] == b.port
    assert json.loads(nodes.controller.data)["brokerid"] == 0

    def created():
        return clients.create_topic(b, unique("after"), 3, retention_ms=7777)
    topic = wait_for(created, 30, "a topic to be created")
    assert json.loads(b.zookeeper.node(f"{b.chroot}/config/topics/{topic}").data)["config"] == {"retention.ms": "7777"}
    p = ck.Producer({"bootstrap.servers": b.bootstrap})
    p.produce(topic, "x", partition=2)
    assert p.flush(30) == 0 and clients.end_offsets(b, topic, 3) == [0, 0, 1]
    group_works(b)
    load.goes_on()
    assert Nodes(b).registration.czxid == nodes.registration.czxid
    return nodes


def try_admin(b) -> dict:
    """Creates topics until told to stop; what was answered, by name."""
    answers, stop = {}, threading.Event()

    def work():
        a = admin.AdminClient({"bootstrap.servers": b.bootstrap, "log_level": 0})
        for i in range(1000):
            if stop.is_set():
                break
            topic = f"tried-{i}"
            try:
                (future,) = a.create_topics([admin.NewTopic(topic, 2, config={"segment.ms": f"{100000 + i}"})],
                                            operation_timeout=5, request_timeout=10).values()
                answers[topic] = future.result(15)
            except ck.KafkaException as e:
                answers[topic] = e
    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def end():
        stop.set()
        thread.join(30)
        assert not thread.is_alive(), "the admin client got no answer"
        return answers
    return end


def assert_as_answered(b, answers: dict) -> None:
    """What was said to be done is done, wholly."""
    for topic, answer in answers.items():
        if answer is None:
            config = b.zookeeper.node(f"{b.chroot}/config/topics/{topic}")
            assert json.loads(config.data)["config"] == {"segment.ms": f"{100000 + int(topic.split('-')[1])}"}
            wait_for(lambda: clients.end_offsets(b, topic, 2) == [0, 0], 15, f"{topic} to be led")


def test_zookeeper_is_paused(working):
    """Longer than the session lasts; whether it ends is up to ZooKeeper when it wakes up."""
    b, load = working
    before = Nodes(b)
    end_of_admin = try_admin(b)
    b.zookeeper.pause()
    goes_on_for(2 * SESSION_S, b, load)
    b.zookeeper.resume()
    after = whole_again(b, load)
    after.follows(before)
    assert_as_answered(b, end_of_admin())
    load.check()


def test_the_session_expires(working):
    """Cut off until ZooKeeper has given the broker up."""
    b, load = working
    before = Nodes(b)
    b.proxy.refuse()
    wait_for(lambda: (load.goes_on(10) or not Nodes(b).registration), 30, "ZooKeeper to end the session")
    goes_on_for(0.5, b, load)
    b.proxy.allow()
    after = whole_again(b, load)
    assert after.registration.owner != before.registration.owner
    after.follows(before)
    load.check()


def test_zookeeper_is_killed(working):
    """It knows its sessions when it is back and gives them their time again, so most often nothing is registered anew."""
    b, load = working
    before = Nodes(b)
    b.zookeeper.kill()
    goes_on_for(2 * SESSION_S, b, load)
    b.zookeeper.start()
    after = whole_again(b, load)
    after.follows(before)
    load.check()


@pytest.mark.parametrize("seconds", [4, pytest.param(30, marks=pytest.mark.whole)])
def test_connections_are_cut(working, seconds):
    b, load = working
    rng = random.Random(seconds)
    end_of_admin = try_admin(b)
    end, cuts = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        load.goes_on(rng.randrange(1, 60))  # the time between two cuts
        b.proxy.cut()
        cuts += 1
    answers = end_of_admin()
    assert cuts > 5 and b.proxy.passed > 2, "too few cuts to say anything"
    whole_again(b, load)
    assert_as_answered(b, answers)
    load.check()


def test_the_way_is_slow(working):
    """Every few bytes wait: messages come in pieces, and late."""
    b, load = working
    before = Nodes(b)
    b.proxy.delay_s, b.proxy.chunk_bytes = 0.005, 40
    topic = clients.create_topic(b, unique("slow"), 5, retention_ms=4444)
    load.goes_on()
    a = admin.AdminClient({"bootstrap.servers": b.bootstrap})
    a.delete_topics([topic])[topic].result(30)
    wait_for(lambda: b.zookeeper.node(f"{b.chroot}/brokers/topics/{topic}") is None, 30, "the topic to be gone")
    after = whole_again(b, load)
    assert after.registration.czxid == before.registration.czxid, "the session did not live through it"
    load.check()


# --- starts

def assert_refused(b, within_s: float, *words) -> None:
    """Status 1 in time; Ottla says why in one line."""
    started = time.monotonic()
    status, said = b.start_refused(within_s + (20 if IS_KAFKA else 0))
    assert status == 1, said
    if not IS_KAFKA:
        lines = [line for line in said.splitlines() if not line.startswith("[")]
        assert len(lines) == 1 and lines[0].startswith("ottla: cannot start: "), said
        assert all(word in lines[0] for word in words), lines[0]
        assert time.monotonic() - started < within_s


def test_no_zookeeper_at_the_start(proxied):
    b = proxied
    b.properties |= {"zookeeper.connect": f"127.0.0.1:{free_port()}/x", "zookeeper.connection.timeout.ms": 1500}
    assert_refused(b, 2.5, b.properties["zookeeper.connect"].split("/")[0])


def test_zookeeper_says_nothing_at_the_start(proxied):
    """It takes the connection, and that is all."""
    b = proxied
    b._before_start()
    b._before_start = lambda: None
    b.properties["zookeeper.connection.timeout.ms"] = 1500
    b.zookeeper.pause()
    try:
        assert_refused(b, 2.5)
    finally:
        b.zookeeper.resume()


def test_zookeeper_comes_while_the_broker_starts(proxied):
    b = proxied
    b.properties["zookeeper.connection.timeout.ms"] = 20000
    b._before_start()
    b._before_start = lambda: None
    b.proxy.refuse()
    threading.Timer(1.5, b.proxy.allow).start()
    b.start()


def test_missing_chroot(proxied):
    """Kafka makes it. Ottla takes it for a mistake."""
    b = proxied
    b._before_start = lambda: None
    if IS_KAFKA:
        b.start()
        assert b.zookeeper.node(b.chroot).data is None
    else:
        assert_refused(b, 5, b.chroot)
        assert b.zookeeper.node(b.chroot) is None
        assert not (b.data_dir / "meta.properties").exists(), "a start that is refused leaves nothing"


@pytest.mark.parametrize("name, value", [("cluster.id", "AAAAAAAAAAAAAAAAAAAAAA"), ("broker.id", "7")])
def test_another_brokers_directory(proxied, name, value):
    b = proxied
    b.start()
    clients.create_topic(b, "kept")
    b.stop()
    meta = b.data_dir / "meta.properties"
    text = meta.read_text()
    changed = "".join(line + "\n" if not line.startswith(f"{name}=") else f"{name}={value}\n" for line in text.splitlines())
    assert changed != text
    meta.write_text(changed)
    before = b.zookeeper.tree(b.chroot)
    assert_refused(b, 5, value)
    assert meta.read_text() == changed
    assert not b.zookeeper.tree(b.chroot).get("/brokers/ids/0")
    assert b.zookeeper.tree(b.chroot).keys() == before.keys()
    meta.write_text(text)
    b.start()
    assert clients.end_offsets(b, "kept", 1) == [0]


def test_the_id_is_taken(proxied):
    """By a broker that lives: its node has to stay its own."""
    b = proxied
    b.start()
    registration = Nodes(b).registration.data
    b.stop()
    with b.zookeeper.client(b.chroot) as other:
        other.create("/brokers/ids/0", registration, ephemeral=True)
        b._before_start = lambda: None
        czxid = Nodes(b).registration.czxid
        assert_refused(b, SESSION_S + 4, "broker.id", "0")  # the session's time, and a little
        assert Nodes(b).registration.czxid == czxid
    b.start()
    assert Nodes(b).registration.czxid > czxid


@pytest.mark.skipif(IS_KAFKA, reason="a killed Kafka has to wait for its old session to end")
def test_at_once_after_kill_9(zookeeper):
    """It takes over its own session, or what is left of it, instead of waiting for 18 seconds."""
    b = brokers.new_broker({"zookeeper.session.timeout.ms": 18000}, on=zookeeper).start()
    try:
        clients.create_topic(b, "kept")
        seen, last = {Nodes(b).registration.czxid}, Nodes(b)
        for _ in range(5):
            b.kill()
            started = time.monotonic()
            b.start()
            assert time.monotonic() - started < 1.5
            nodes = Nodes(b)
            assert nodes.registration.czxid > max(seen), "the broker epoch of the broker that was killed"
            assert nodes.controller_epoch > last.controller_epoch
            assert clients.end_offsets(b, "kept", 1) == [0]
            seen.add(nodes.registration.czxid)
            last = nodes
        clients.create_topic(b, "new")
    finally:
        b.destroy()
