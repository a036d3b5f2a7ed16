"""What a page of metrics tells of a broker that does this and that."""

import os
import shutil
import subprocess

import pytest

from harness import broker as brokers
from harness import clients
from harness.life import unique
from harness.wait import wait_for
from monitor.page import Page, get, listener_options, page
from wire import records
from wire.player import Connection

pytestmark = [pytest.mark.once, pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because it is about Ottla")]

# The names that Kafka's boards and alerts use most.
NAMES = """
kafka_server_brokertopicmetrics_messagesin_total kafka_server_brokertopicmetrics_bytesin_total
kafka_server_brokertopicmetrics_bytesout_total kafka_server_brokertopicmetrics_totalproducerequests_total
kafka_server_brokertopicmetrics_totalfetchrequests_total kafka_server_brokertopicmetrics_failedproducerequests_total
kafka_server_brokertopicmetrics_failedfetchrequests_total kafka_server_brokertopicmetrics_producemessageconversions_total
kafka_server_brokertopicmetrics_fetchmessageconversions_total kafka_server_replicamanager_leadercount
kafka_server_replicamanager_partitioncount kafka_server_replicamanager_underreplicatedpartitions
kafka_server_replicamanager_underminisrpartitioncount kafka_server_replicamanager_offlinereplicacount
kafka_server_replicamanager_isrshrinks_total kafka_server_replicamanager_isrexpands_total
kafka_cluster_partition_underminisr kafka_cluster_partition_atminisr
kafka_controller_kafkacontroller_activecontrollercount kafka_controller_kafkacontroller_offlinepartitionscount
kafka_controller_kafkacontroller_preferredreplicaimbalancecount kafka_controller_kafkacontroller_globaltopiccount
kafka_controller_kafkacontroller_globalpartitioncount kafka_controller_controllerstats_uncleanleaderelections_total
kafka_log_log_size kafka_log_log_logstartoffset kafka_log_log_logendoffset kafka_log_logmanager_offlinelogdirectorycount
kafka_server_kafkaserver_brokerstate kafka_network_requestmetrics_requests_total kafka_network_requestmetrics_totaltimems
kafka_network_requestmetrics_requestqueuetimems kafka_network_requestmetrics_localtimems
kafka_network_requestmetrics_remotetimems kafka_network_requestmetrics_responsequeuetimems
kafka_network_requestmetrics_responsesendtimems kafka_network_requestmetrics_errors_total
kafka_network_requestchannel_requestqueuesize kafka_network_requestchannel_responsequeuesize
kafka_network_socketserver_networkprocessoravgidle_percent
kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent
kafka_server_socket_server_metrics_connection_count kafka_server_socket_server_metrics_connection_creation_rate
kafka_server_socket_server_metrics_connection_close_rate kafka_coordinator_group_groupmetadatamanager_numgroups
kafka_coordinator_group_groupmetadatamanager_numgroupsstable kafka_coordinator_group_groupmetadatamanager_numgroupsempty
kafka_coordinator_group_groupmetadatamanager_numgroupspreparingrebalance kafka_server_fetchsessioncache_numincrementalfetchsessions
kafka_server_replicafetchermanager_maxlag kafka_server_replicafetchermanager_minfetchrate
kafka_server_transaction_coordinator_metrics_partition_load_time_max kafka_server_group_coordinator_metrics_partition_load_time_avg
kafka_brokers kafka_broker_info kafka_topic_partitions kafka_topic_partition_current_offset
kafka_topic_partition_oldest_offset kafka_topic_partition_in_sync_replica kafka_topic_partition_replicas
kafka_topic_partition_leader kafka_topic_partition_leader_is_preferred
kafka_topic_partition_under_replicated_partition kafka_consumergroup_current_offset kafka_consumergroup_lag
kafka_consumergroup_lag_sum kafka_consumergroup_members
process_open_fds process_cpu_seconds_total process_resident_memory_bytes process_start_time_seconds
""".split()


@pytest.fixture(scope="module")
def broker():
    b = brokers.new_broker(listener_options(**{"offsets.topic.num.partitions": 3, "group.initial.rebalance.delay.ms": 0})).start()
    yield b
    b.destroy()


def produce(broker, topic: str, count: int, size: int = 100) -> None:
    from confluent_kafka import Producer
    p = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 0})
    for _ in range(count):
        p.produce(topic, b"v" * size)
    assert p.flush(30) == 0


def consume(broker, topic: str, group: str, count: int):
    """A consumer that has read and committed so many, and stays."""
    from confluent_kafka import Consumer
    c = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group, "auto.offset.reset": "earliest",
                  "enable.auto.commit": False, "max.poll.interval.ms": 60000})
    c.subscribe([topic])
    got = []
    while len(got) < count:
        got += [m for m in c.consume(count - len(got), 1) if not m.error()]
    c.commit(got[-1], asynchronous=False)
    return c


# ---- what is there ----

def test_every_name(broker):
    topic = broker.create_topic(unique("t"))
    produce(broker, topic, 1)
    consume(broker, topic, unique("g"), 1).close()
    found = page(broker).names()
    assert [name for name in NAMES if name not in found] == []
    assert not [name for name in found if name.startswith("jvm_")]


def test_promtool(broker):
    if not shutil.which("promtool"):
        pytest.skip("there is no promtool: apt-get install prometheus")
    status, text = get(broker, "/metrics")
    said = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    # What Kafka's own names are blamed for is not ours to mend.
    blamed = [line for line in said.stderr.splitlines() if "camelCase" not in line and "suffix" not in line]
    assert status == 200 and blamed == []


def test_traffic(broker):
    topic = broker.create_topic(unique("t"), 2)
    before = page(broker)
    produce(broker, topic, 500)
    consume(broker, topic, unique("g"), 500).close()
    after = page(broker)
    name = "kafka_server_brokertopicmetrics_{}_total"
    assert after.get(name.format("messagesin"), topic=topic) == 500
    assert after.get(name.format("messagesin")) - before.get(name.format("messagesin")) >= 500  # the commit's too
    size = after.get(name.format("bytesin"), topic=topic)
    assert 500 * 100 < size == sum(after.get("kafka_log_log_size", topic=topic, partition=i) for i in (0, 1))
    assert after.get(name.format("bytesout"), topic=topic) >= size
    assert after.get(name.format("totalproducerequests"), topic=topic) >= 2
    assert after.get(name.format("failedproducerequests"), topic=topic) == 0
    ends = [after.get("kafka_log_log_logendoffset", topic=topic, partition=i) for i in (0, 1)]
    assert sum(ends) == 500 and sum(after.get("kafka_topic_partition_current_offset", topic=topic, partition=i) for i in (0, 1)) == 500


# What a Kafka 3.9.1 counts in BrokerTopicMetrics (of the topic, and of all topics) after each of these, where it is not 0.
COUNTED = [
    ("three records", {}, {"records": ["a", "b", "c"]}, 0,
     {"totalproducerequests": 1, "messagesin": 3, "bytesin": 85}),
    ("of an idempotent producer", {"acks": -1}, {"records": ["a", "b"], "producer_id": 4000, "producer_epoch": 0, "base_sequence": 0}, 0,
     {"totalproducerequests": 1, "messagesin": 2, "bytesin": 77}),
    ("the same again", {"acks": -1}, {"records": ["a", "b"], "producer_id": 4000, "producer_epoch": 0, "base_sequence": 0}, 0,
     {"totalproducerequests": 1, "messagesin": 2, "bytesin": 77}),
    ("out of sequence", {"acks": -1}, {"records": ["a", "b"], "producer_id": 4000, "producer_epoch": 0, "base_sequence": 9}, 45,
     {"totalproducerequests": 1, "failedproducerequests": 1}),
    ("a wrong CRC", {}, {"crc": "bad"}, 2, {"totalproducerequests": 1}),
    ("an unknown partition", {"index": 7}, {}, 3, {}),
    ("no such acks", {"acks": 5}, {}, 21, {}),
    ("too large", {}, {"records": ["x" * 2000]}, 10, {"totalproducerequests": 1, "bytesrejected": 2070}),
    ("a wrong count", {}, {"count": 5}, 87, {"totalproducerequests": 1, "failedproducerequests": 1}),
    ("in another codec", {}, {"records": ["a", "b"], "codec": "gzip"}, 0,
     {"totalproducerequests": 1, "messagesin": 2, "bytesin": 97, "producemessageconversions": 2}),
    ("in an old format", {"version": 2}, None, 0,
     {"totalproducerequests": 1, "messagesin": 2, "bytesin": 70, "producemessageconversions": 2}),
]
COUNTERS = ["messagesin", "bytesin", "bytesrejected", "totalproducerequests", "failedproducerequests", "producemessageconversions"]


def traffic(told: Page, **labels) -> dict:
    return {name: told.get(f"kafka_server_brokertopicmetrics_{name}_total", **labels) or 0 for name in COUNTERS}


def grown(before: dict, after: dict) -> dict:
    return {name: after[name] - before[name] for name in COUNTERS if after[name] != before[name]}


def produce_raw(broker, topic: str, data: bytes, version: int = 7, acks: int = 1, index: int = 0) -> int:
    body = {"acks": acks, "timeout_ms": 5000, "topic_data": [{"name": topic, "partition_data": [{"index": index, "records": data}]}]}
    answer = clients.ask_once(broker, "Produce", version, body | ({"transactional_id": None} if version >= 3 else {}))
    return answer["responses"][0]["partition_responses"][0]["error_code"]


def test_counts_are_kafkas(broker):
    topic = clients.create_topic(broker, unique("t"), compression_type="uncompressed", max_message_bytes=1000)
    for what, how, batch, error, counted in COUNTED:
        data = records.message({"magic": 1}) * 2 if batch is None else records.batch(batch)
        before = page(broker)
        assert produce_raw(broker, topic, data, **how) == error, what
        after = page(broker)
        assert grown(traffic(before, topic=topic), traffic(after, topic=topic)) == counted, what
        assert grown(traffic(before), traffic(after)) == counted, what


def test_topics_that_are_not_there_are_not_counted(broker):
    def fetched(told):
        return told.get("kafka_server_brokertopicmetrics_totalfetchrequests_total")
    before = page(broker)
    assert produce_raw(broker, "no-such-topic", records.batch()) == 3
    clients.ask_once(broker, "Fetch", 11, {"replica_id": -1, "max_wait_ms": 0, "min_bytes": 0, "max_bytes": 1000, "session_id": 0, "session_epoch": -1,
                                           "topics": [{"topic": "no-such-topic", "partitions": [{"partition": 0, "current_leader_epoch": -1, "fetch_offset": 0, "partition_max_bytes": 1000}]}]})
    after = page(broker)
    assert grown(traffic(before), traffic(after)) == {} and fetched(after) == fetched(before)


def test_coordinators_count_as_producers(broker):
    topic = broker.create_topic(unique("t"))
    produce(broker, topic, 1)
    before = page(broker)
    consume(broker, topic, unique("g"), 1).close()
    after = page(broker)
    counted = grown(traffic(before, topic="__consumer_offsets"), traffic(after, topic="__consumer_offsets"))
    assert counted["messagesin"] == counted["totalproducerequests"] == 3 and counted["bytesin"] > 200  # join, commit, leave
    assert grown(traffic(before), traffic(after)) == counted
    assert produce_raw(broker, "__consumer_offsets", records.batch()) == 17
    assert grown(traffic(after), traffic(page(broker))) == {"totalproducerequests": 1}


def test_requests(broker):
    topic = broker.create_topic(unique("t"))
    before = page(broker)
    c = Connection("127.0.0.1", broker.port)
    for _ in range(7):
        clients.ask(c, "Metadata", 5, {"topics": [{"name": topic}], "allow_auto_topic_creation": False})
    clients.ask(c, "Metadata", 5, {"topics": [{"name": "no-such-topic"}], "allow_auto_topic_creation": False})
    after = page(broker)

    def more(name, **labels):
        return after.get(name, **labels) - (before.get(name, **labels) or 0)
    assert more("kafka_network_requestmetrics_requests_total", request="Metadata", version=5) == 8
    assert more("kafka_network_requestmetrics_errors_total", request="Metadata", error="UNKNOWN_TOPIC_OR_PARTITION") == 1
    for part in ("totaltimems", "requestqueuetimems", "localtimems", "remotetimems", "throttletimems", "responsequeuetimems", "responsesendtimems"):
        assert more(f"kafka_network_requestmetrics_{part}_count", request="Metadata") == 8
    assert 0 < after.get("kafka_network_requestmetrics_totaltimems", request="Metadata", quantile="0.99") < 1000
    assert after.get("kafka_server_socket_server_metrics_connection_count", listener="PLAINTEXT", networkProcessor=0) is not None


def test_being_held_back_is_throttle_time(broker):
    c = Connection("127.0.0.1", broker.port)

    def limit(remove):
        clients.ask(c, "AlterClientQuotas", 1, {"validate_only": False, "entries": [{
            "entity": [{"entity_type": "client-id", "entity_name": "held back"}],
            "ops": [{"key": "producer_byte_rate", "value": 1000.0, "remove": remove}]}]})
    limit(remove=False)
    from confluent_kafka import Producer
    p = Producer({"bootstrap.servers": broker.bootstrap, "client.id": "held back"})
    topic = broker.create_topic(unique("t"))
    p.produce(topic, b"x" * 11000)
    assert p.flush(30) == 0
    after = page(broker)
    assert after.get("kafka_network_requestmetrics_throttletimems_sum", request="Produce") > 500
    assert after.get("kafka_network_requestmetrics_throttletimems", request="Metadata", quantile="0.999") == 0
    limit(remove=True)


def test_waiting_is_remote_time(broker):
    topic = broker.create_topic(unique("t"))
    c = Connection("127.0.0.1", broker.port)
    before = page(broker).get("kafka_network_requestmetrics_remotetimems_sum", request="FetchConsumer") or 0
    clients.ask(c, "Fetch", 11, {"replica_id": -1, "max_wait_ms": 300, "min_bytes": 1, "max_bytes": 1000, "session_id": 0, "session_epoch": -1,
                                 "topics": [{"topic": topic, "partitions": [{"partition": 0, "current_leader_epoch": -1, "fetch_offset": 0, "partition_max_bytes": 1000}]}]})
    after = page(broker)
    assert after.get("kafka_network_requestmetrics_remotetimems_sum", request="FetchConsumer") - before >= 290
    assert after.get("kafka_network_requestmetrics_localtimems", request="FetchConsumer", quantile="0.999") < 290


# ---- groups ----

def test_lag(broker):
    topic, group = broker.create_topic(unique("t")), unique("g")
    produce(broker, topic, 10)
    c = consume(broker, topic, group, 4)
    try:
        where = {"consumergroup": group, "topic": topic}
        told = page(broker)
        assert told.get("kafka_consumergroup_current_offset", **where, partition=0) == 4
        assert told.get("kafka_consumergroup_lag", **where, partition=0) == 6
        assert told.get("kafka_consumergroup_lag_sum", **where) == 6
        assert told.get("kafka_consumergroup_members", consumergroup=group) == 1
        assert told.get("kafka_coordinator_group_groupmetadatamanager_numgroupsstable") >= 1
    finally:
        c.close()
    wait_for(lambda: page(broker).get("kafka_consumergroup_members", consumergroup=group) == 0, 10, "the member to leave")


def test_names_of_clients_are_escaped(broker):
    """A group's name is anything: it stands in its label, and nowhere else."""
    topic = broker.create_topic(unique("t"))
    group = 'q"u\\o\nte}{ 1\nkafka_brokers 99\n' + unique("")
    produce(broker, topic, 1)
    consume(broker, topic, group, 1).close()
    told = page(broker)
    escaped = group.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    assert told.get("kafka_consumergroup_lag", consumergroup=escaped, topic=topic, partition=0) == 0
    assert told.get("kafka_brokers") == 1


# ---- how it is told ----

def test_openmetrics(broker):
    status, text = get(broker, "/metrics", Accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert status == 200 and text.endswith("# EOF\n")
    assert "# TYPE kafka_server_brokertopicmetrics_bytesin counter\n" in text
    Page(text.removesuffix("# EOF\n"))


@pytest.mark.parametrize("dialect, name", [("strimzi", "kafka_server_brokertopicmetrics_bytesinpersec_total"),
                                           ("confluent", "kafka_server_brokertopicmetrics_bytesinpersec")])
def test_dialects(dialect, name):
    b = brokers.new_broker(listener_options(**{"ottla.metrics.dialect": dialect})).start()
    try:
        assert page(b).get(name) == 0
    finally:
        b.destroy()


def test_bound_of_series():
    b = brokers.new_broker(listener_options(**{"ottla.metrics.partitions.max": 5, "offsets.topic.num.partitions": 1})).start()
    try:
        topic = b.create_topic(unique("t"), 9)
        told = page(b)
        assert len(told.all("kafka_log_log_size")) == 5
        assert told.get("ottla_scrape_series_left_out") == 4
        assert told.get("kafka_server_replicamanager_partitioncount") == told.get("kafka_server_replicamanager_leadercount") == 9
        assert topic
    finally:
        b.destroy()


def test_partitions_without_a_leader():
    """The controller tells of them, as kafka_exporter does."""
    b = brokers.new_broker(listener_options())
    dirs = [b.directory / "data", b.directory / "more"]
    b.properties["log.dirs"] = ",".join(map(str, dirs))
    b.start()
    try:
        topic = b.create_topic(unique("t"), 4)
        b.stop()
        lost = [int(d.name.rsplit("-", 1)[1]) for d in dirs[1].glob(f"{topic}-*")]
        shutil.rmtree(dirs[1])
        dirs[1].write_text("")  # no directory: it is offline
        b.start()
        wait_for(lambda: page(b).get("kafka_controller_kafkacontroller_offlinepartitionscount") == len(lost), 10, "the controller to know")
        told = page(b)
        assert lost and told.get("kafka_log_logmanager_offlinelogdirectorycount") == 1
        for i in range(4):
            gone = i in lost
            assert told.get("kafka_topic_partition_leader", topic=topic, partition=i) == (-1 if gone else 0)
            assert told.get("kafka_topic_partition_replicas", topic=topic, partition=i) == 1
            assert told.get("kafka_topic_partition_leader_is_preferred", topic=topic, partition=i) == (0 if gone else 1)
            assert (told.get("kafka_topic_partition_current_offset", topic=topic, partition=i) is None) == gone
    finally:
        b.destroy()


def test_slow_requests():
    """At 0 ms whatever takes a millisecond is slow: the creation of a topic does."""
    b = brokers.new_broker(listener_options(**{"ottla.request.slow.ms": 0})).start()
    try:
        def slow():
            c = Connection("127.0.0.1", b.port)
            clients.ask(c, "Metadata", 5, {"topics": None, "allow_auto_topic_creation": False})
            c.close()
            told = page(b)
            return sum(told.all("ottla_slow_requests_total").values()) > 0
        for i in range(40):
            b.create_topic(unique("t"), 200)
            if slow():
                break
        assert slow() and "slow request api=" in b.said()
    finally:
        b.destroy()


@pytest.mark.whole
def test_ten_thousand_partitions():
    b = brokers.new_broker(listener_options()).start()
    try:
        for _ in range(10):
            b.create_topic(unique("t"), 1000)
        page(b)
        told = page(b)  # how long the one before took
        assert len(told.all("kafka_log_log_size")) >= 10000
        assert told.get("ottla_scrape_duration_seconds") < (1 if os.environ.get("OTTLA_BINARY") else 0.2)
    finally:
        b.destroy()
