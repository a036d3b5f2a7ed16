"""ottla-test: what a real client sees of faults that are asked for."""

import json
import re
import socket
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

from harness import broker as brokers
from harness import paths
from harness.process import Process
from harness.wait import wait_for
from wire import schema

confluent_kafka = pytest.importorskip("confluent_kafka")
from confluent_kafka.admin import AdminClient, NewTopic  # noqa: E402

BINARY = paths.ottla_binary().with_name("ottla-test")

pytestmark = [pytest.mark.once,
              pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because it is about Ottla"),
              pytest.mark.skipif(not BINARY.exists(), reason=f"skipped, because {BINARY} is not there")]


class Faulty:
    """A broker in memory that takes requests for faults."""

    def __init__(self, directory, *args):
        ready = directory / "ready"
        self.process = Process("ottla-test", [BINARY, "--in-memory", "--override", "listeners=PLAINTEXT://127.0.0.1:0",
                                              "--ready-file", ready, "--faults=:0", "--create-topic", "t:2", "--override",
                                              "offsets.topic.num.partitions=1", *args], directory / "log", cwd=directory)
        wait_for(lambda: ready.exists() or not self.process.running(), 20, "the broker")
        assert self.process.running(), self.process.tail()
        where = dict(line.split("=", 1) for line in ready.read_text().splitlines())
        self.bootstrap, self.http = where["PLAINTEXT"], where["FAULTS"]

    def ask(self, method, path, body=None):
        """(status, answer)"""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{self.http}{path}", data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as e:
            return e.code, json.load(e)

    def add(self, **rule) -> int:
        status, answer = self.ask("POST", "/faults", rule)
        assert status == 201, answer
        return answer["id"]

    def rule(self, rule_id) -> dict:
        return next(r for r in self.ask("GET", "/faults")[1]["faults"] if r["id"] == rule_id)

    def hits(self, rule_id) -> int:
        return self.rule(rule_id)["hits"]


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    b = Faulty(tmp_path_factory.mktemp("faulty"))
    yield b
    b.process.kill()


@pytest.fixture
def b(faulty):
    """Without rules, before and after."""
    faulty.ask("DELETE", "/faults")
    yield faulty
    faulty.ask("DELETE", "/faults")


def producer(b, **config):
    return confluent_kafka.Producer({"bootstrap.servers": b.bootstrap, "retry.backoff.ms": 20, "retry.backoff.max.ms": 50,
                                     "reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 50, "linger.ms": 0, "log_level": 0,
                                     **{k if k == "error_cb" else k.replace("_", "."): v for k, v in config.items()}})


def produce(p, partition=0, value="x", topic="t", timeout_s=20):
    """The delivered message, or the error it was given up with."""
    told = []
    p.produce(topic, value, partition=partition, on_delivery=lambda error, message: told.append(error or message))
    p.flush(timeout_s)
    return told[0] if told else None


def consumer(b, **config):
    return confluent_kafka.Consumer({"bootstrap.servers": b.bootstrap, "group.id": "g", "auto.offset.reset": "earliest", "log_level": 0,
                                     "reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 50, "fetch.wait.max.ms": 20,
                                     **{k.replace("_", "."): v for k, v in config.items()}})


def read(c, timeout_s=30):
    """The next message; what the client says of errors meanwhile is passed over."""
    def poll():
        message = c.poll(0.1)
        return message if message and not message.error() else None
    return wait_for(poll, timeout_s, "a message")


def high_watermark(b, partition=0, topic="t") -> int:
    c = consumer(b)
    try:
        return c.get_watermark_offsets(confluent_kafka.TopicPartition(topic, partition), timeout=20)[1]
    finally:
        c.close()


# ---- what a client sees ----

def test_an_error_is_tried_again(b):
    before = high_watermark(b)
    rule = b.add(api="Produce", action="error", error="NOT_LEADER_OR_FOLLOWER", count=2)
    message = produce(producer(b))
    assert message.offset() == before and high_watermark(b) == before + 1  # refused twice, stored once
    assert b.rule(rule) == {"id": rule, "api": "Produce", "action": "error", "error": "NOT_LEADER_OR_FOLLOWER", "count": 2, "hits": 2,
                            "held": 0}


def test_an_error_that_is_not_tried_again(b):
    b.add(api=0, topic="t", partition=1, action="error", error=10)
    p = producer(b)
    assert produce(p, 0).offset() >= 0
    assert produce(p, 1).code() == confluent_kafka.KafkaError.MSG_SIZE_TOO_LARGE
    assert produce(p, 1).offset() >= 0


def test_a_client_of_its_own(b):
    rule = b.add(api="Produce", client_id="victim", action="error", error="TOPIC_AUTHORIZATION_FAILED", count=0)
    assert produce(producer(b, client_id="other")).offset() >= 0
    assert b.hits(rule) == 0
    assert produce(producer(b, client_id="victim")).code() == confluent_kafka.KafkaError.TOPIC_AUTHORIZATION_FAILED


def test_a_delay(b):
    p = producer(b)
    produce(p)
    rule = b.add(api="Produce", action="delay", delay_ms=700)
    begin = time.monotonic()
    assert produce(p).offset() >= 0
    assert time.monotonic() - begin >= 0.7
    begin = time.monotonic()
    assert produce(p).offset() >= 0
    assert time.monotonic() - begin < 0.6 and b.hits(rule) == 1


def test_a_request_that_is_dropped(b):
    p = producer(b, request_timeout_ms=400, socket_timeout_ms=400)
    before = high_watermark(b)
    rule = b.add(api="Produce", action="drop")
    assert produce(p).offset() == before  # the second attempt
    assert b.hits(rule) == 1 and high_watermark(b) == before + 1


def test_an_answer_that_is_lost(b):
    """Carried out, and sent again: an idempotent producer leaves no duplicate, another one does."""
    for idempotent, copies in ((True, 1), (False, 2)):
        p = producer(b, enable_idempotence=idempotent, request_timeout_ms=400, socket_timeout_ms=400)
        produce(p)
        before = high_watermark(b)
        rule = b.add(api="Produce", action="lose")
        produce(p)
        assert b.hits(rule) == 1 and high_watermark(b) == before + copies


def test_a_connection_that_is_closed(b):
    p = producer(b)
    produce(p)
    rule = b.add(api="Produce", action="close", count=3)
    assert produce(p).offset() >= 0 and b.hits(rule) == 3


def test_connections_are_cut(b):
    errors = []
    p = producer(b, error_cb=errors.append)
    produce(p)
    assert b.ask("POST", "/connections/cut", b"") == (200, {})
    wait_for(lambda: p.poll(0.05) is not None and errors, 20, "the client to notice")
    assert errors[0].code() in (confluent_kafka.KafkaError._TRANSPORT, confluent_kafka.KafkaError._ALL_BROKERS_DOWN)
    assert produce(p).offset() >= 0  # it has connected again


def test_a_frozen_partition(b):
    p = producer(b, message_timeout_ms=700, request_timeout_ms=400, socket_timeout_ms=400)
    before = [high_watermark(b, n) for n in (0, 1)]
    rule = b.add(topic="t", partition=0, action="hold")
    assert produce(p, 0).code() == confluent_kafka.KafkaError._MSG_TIMED_OUT
    assert produce(producer(b), 1).offset() == before[1]  # the other one is well, by another connection
    assert b.hits(rule) > 0
    with pytest.raises(confluent_kafka.KafkaException):
        c = consumer(b, socket_timeout_ms=400)
        try:
            c.get_watermark_offsets(confluent_kafka.TopicPartition("t", 0), timeout=1)
        finally:
            c.close()


def test_thawed_it_goes_on(b):
    p = producer(b)
    produce(p)
    before = high_watermark(b)
    rule = b.add(topic="t", partition=0, action="hold")
    told = []
    p.produce("t", "held", partition=0, on_delivery=lambda error, message: told.append(error or message))
    threading.Thread(target=p.flush, args=(20,), daemon=True).start()
    wait_for(lambda: b.rule(rule)["held"] == 1, 20, "the request to be held")
    assert not told
    assert b.ask("DELETE", f"/faults/{rule}") == (200, {"cleared": 1})
    wait_for(lambda: told, 20, "the request to go on")
    assert told[0].offset() == before


def test_a_client_that_leaves_what_is_held(b):
    rule = b.add(topic="t", partition=0, action="hold")
    p = producer(b, message_timeout_ms=400, request_timeout_ms=300, socket_timeout_ms=300)
    produce(p, 0)
    wait_for(lambda: b.hits(rule) > 0, 20, "a request")
    b.ask("POST", "/connections/cut", b"")
    del p
    wait_for(lambda: b.rule(rule)["held"] == 0, 20, "what is held to go with its connection")


# ---- other APIs ----

def test_metadata_without_a_topic(b):
    """The answer still has brokers, or a client had nobody to ask again."""
    rule = b.add(api="Metadata", topic="t", action="error", error="LEADER_NOT_AVAILABLE", count=3)
    assert produce(producer(b, topic_metadata_refresh_fast_interval_ms=50)).offset() >= 0
    assert b.hits(rule) == 3


def test_fetch(b):
    produce(producer(b), value="to be read")
    rules = [b.add(api="Fetch", topic="t", action="error", error="NOT_LEADER_OR_FOLLOWER", count=2),
             b.add(api="ListOffsets", topic="t", action="error", error="LEADER_NOT_AVAILABLE", count=1)]
    c = consumer(b)
    c.assign([confluent_kafka.TopicPartition("t", 0, confluent_kafka.OFFSET_BEGINNING)])
    read(c)
    assert [b.hits(r) for r in rules] == [2, 1]
    c.close()


@pytest.mark.parametrize("api, error", [("FindCoordinator", "COORDINATOR_NOT_AVAILABLE"), pytest.param("JoinGroup", "NOT_COORDINATOR", marks=pytest.mark.whole),
                                        ("SyncGroup", "REBALANCE_IN_PROGRESS"), 
                                        ("OffsetFetch", "COORDINATOR_LOAD_IN_PROGRESS")])
def test_groups(b, api, error):
    produce(producer(b))
    rule = b.add(api=api, action="error", error=error, count=2)
    c = consumer(b, group_id=f"g-{api}-{error}")
    c.subscribe(["t"])
    read(c)
    assert b.hits(rule) == 2
    c.close()


def test_commit(b):
    produce(producer(b))
    c = consumer(b, group_id="committing", enable_auto_commit=False)
    c.assign([confluent_kafka.TopicPartition("t", 0, 0)])
    read(c)
    b.add(api="OffsetCommit", action="error", error="INVALID_COMMIT_OFFSET_SIZE")
    with pytest.raises(confluent_kafka.KafkaException) as e:
        c.commit(asynchronous=False)
    assert e.value.args[0].code() == confluent_kafka.KafkaError.INVALID_COMMIT_OFFSET_SIZE
    c.commit(asynchronous=False)
    c.close()


def test_admin(b):
    rules = [b.add(api=api, action="error", error="POLICY_VIOLATION" if api == "CreateTopics" else "TOPIC_AUTHORIZATION_FAILED")
             for api in ("CreateTopics", "DeleteTopics")]
    admin = AdminClient({"bootstrap.servers": b.bootstrap, "log_level": 0})
    for future, code in ((admin.create_topics([NewTopic("new", 1, 1)])["new"], "POLICY_VIOLATION"),
                         (admin.delete_topics(["t"])["t"], "TOPIC_AUTHORIZATION_FAILED")):
        with pytest.raises(confluent_kafka.KafkaException) as e:
            future.result(20)
        assert e.value.args[0].name() == code
    assert [b.hits(r) for r in rules] == [1, 1]
    assert set(admin.list_topics(timeout=20).topics) >= {"t"} and "new" not in admin.list_topics(timeout=20).topics


# ---- every API, every version ----

def filled(fields, version) -> dict:
    """A request with one element in each array, and "t" for each text."""
    def value(f):
        if f.type == "struct":
            return filled(f.fields, version)
        return {"string": "t", "uuid": bytes(16), "bytes": b"", "records": None}.get(f.type, 0)
    return {f.name: [value(f)] if f.array else value(f) for f in fields
            if version in f.versions and (f.array or f.type in ("string", "struct")) and f.tag is None}


def codes(values) -> list:
    if isinstance(values, list):
        return [c for v in values for c in codes(v)]
    if not isinstance(values, dict):
        return []
    return [v for k, v in values.items() if k.endswith("error_code") and k != "topic_config_error_code"] + codes(list(values.values()))


def test_every_api_in_every_version(b):
    """The answer is one by Kafka's own definitions, to the last byte, and says the error once for what was asked."""
    apis = schema.load()
    host, port = b.bootstrap.split(":")
    said = 0
    with socket.create_connection((host, int(port)), timeout=20) as s:
        f = s.makefile("rb")

        def ask(api, version, values):
            flexible = version in api.flexible
            frame = schema.encode_header(api.key, version, 7, "every", flexible) + schema.encode_body(api, version, values)
            s.sendall(struct.pack(">i", len(frame)) + frame)
            return schema.decode_response(api, version, f.read(struct.unpack(">i", f.read(4))[0]))[1]

        for served in ask(apis[18], 0, {})["api_keys"]:
            api = apis[served["api_key"]]
            rule = b.add(api=api.key, client_id="every", action="error", error=-1, count=0)
            for version in range(served["min_version"], served["max_version"] + 1):
                values = filled(api.request, version)
                if api.key == 0:
                    values["acks"] = -1
                if api.key == 3 and version == 0:
                    continue  # no topics mean all there, and the answer needs its brokers
                answer = ask(api, version, values)
                assert set(codes(answer)) == {-1}, (api.name, version, answer)
                if api.key == 3:
                    assert len(answer["brokers"]) == 1
                said += 1
            b.ask("DELETE", f"/faults/{rule}")
    assert said > 150


# ---- the interface ----

@pytest.mark.parametrize("rule, said", [
    (b"{", "line 1: string or '}' expected near end of file"),
    (b"[]", 'a rule is a JSON object, like {"api": "Produce", "action": "close"}'),
    ({}, '"action" is missing: one of error, delay, drop, lose, close and hold'),
    ({"action": "explode"}, '"action" is one of error, delay, drop, lose, close and hold'),
    ({"action": "close", "api": "Nothing"}, '"api" is the name or the number of an API that is served, like "Produce"'),
    ({"action": "close", "api": 58}, '"api" is the name or the number of an API that is served, like "Produce"'),
    ({"action": "error", "api": "Produce"}, '"error" goes with "action": "error", and only with that'),
    ({"action": "error", "api": "Produce", "error": "X"},
     '"error" is the name or the number of one of Kafka\'s errors, like "NOT_LEADER_OR_FOLLOWER"'),
    ({"action": "error", "error": "NOT_COORDINATOR"}, '"action": "error" needs "api": answers differ'),
    ({"action": "error", "api": "Produce", "error": "NOT_COORDINATOR"}, '"error": Kafka never answers Produce with NOT_COORDINATOR'),
    ({"action": "delay"}, '"delay_ms" goes with "action": "delay", and only with that'),
    ({"action": "delay", "delay_ms": -1}, '"delay_ms" is a number from 0 to 3600000'),
    ({"action": "hold", "partition": 0}, '"partition" needs "topic"'),
    ({"action": "hold", "topic": "a b"}, '"topic": no topic can be called a b'),
    ({"action": "hold", "topics": "a"},
     '"topics" is not part of a rule, which has api, client_id, topic, partition, action, error, delay_ms and count'),
])
def test_mistakes(b, rule, said):
    assert b.ask("POST", "/faults", rule) == (400, {"error": said})
    assert b.ask("GET", "/faults") == (200, {"faults": []})


def test_listing_and_clearing(b):
    ids = [b.add(action="close", client_id="nobody") for _ in range(3)]
    assert [r["id"] for r in b.ask("GET", "/faults")[1]["faults"]] == ids
    assert b.ask("DELETE", f"/faults/{ids[1]}") == (200, {"cleared": 1})
    assert b.ask("DELETE", f"/faults/{ids[1]}")[0] == 404
    assert b.ask("DELETE", "/faults") == (200, {"cleared": 2})
    assert b.ask("GET", "/nothing")[0] == 404 and b.ask("PUT", "/faults", {})[0] == 404
    with urllib.request.urlopen(f"http://{b.http}/", timeout=20) as answer:
        assert b"POST   /connections/cut" in answer.read()


def test_stopping_with_what_is_held(tmp_path):
    b = Faulty(tmp_path)
    rule = b.add(topic="t", action="hold")
    p = producer(b)
    p.produce("t", "x", partition=0)
    wait_for(lambda: p.poll(0.01) is not None and b.rule(rule)["held"] > 0, 20, "a request to be held")
    assert b.process.terminate() == 0


def test_without_the_flag_it_is_a_broker_like_any_other(tmp_path):
    ready = tmp_path / "ready"
    process = Process("ottla-test", [BINARY, "--in-memory", "--override", "listeners=PLAINTEXT://127.0.0.1:0", "--ready-file", ready],
                      tmp_path / "log", cwd=tmp_path)
    try:
        wait_for(ready.exists, 20, "the broker")
        assert list(dict(line.split("=", 1) for line in ready.read_text().splitlines())) == ["PLAINTEXT"]
        assert process.terminate() == 0
    finally:
        process.kill()


@pytest.mark.parametrize("address, said", [("nonsense", '--faults: "nonsense" is not host:port'),
                                           ("127.0.0.1:1x", '--faults: "127.0.0.1:1x" is not host:port')])
def test_a_wrong_address(tmp_path, address, said):
    done = subprocess.run([BINARY, "--in-memory", "--override", "listeners=PLAINTEXT://127.0.0.1:0", f"--faults={address}"], cwd=tmp_path,
                          capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == f"ottla: cannot start: {said}"


def test_the_production_binary_has_nothing_of_it():
    theirs, ours = (subprocess.run(["nm", b], check=True, capture_output=True, text=True).stdout for b in (BINARY, paths.ottla_binary()))
    names = re.compile(r" [tTdDbBrR] ((?:faults_|rule_|answer_with|http_api_)\w*)")
    assert len(set(names.findall(theirs))) > 8 and names.findall(ours) == []
    for text in (b"--faults", b"/connections/cut", b"FAULTS=", b"Kafka never answers"):
        assert text in BINARY.read_bytes() and text not in paths.ottla_binary().read_bytes()
    done = subprocess.run([paths.ottla_binary(), "--faults=:0"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and "unknown option --faults=:0" in done.stderr
