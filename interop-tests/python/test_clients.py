"""confluent-kafka: produce, consume, groups, admin."""

import pytest

from harness.life import LIVES, between, unique
from harness.wait import wait_for

ck = pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")
admin = pytest.importorskip("confluent_kafka.admin")


def conf(b, **more) -> dict:
    return {"bootstrap.servers": b.bootstrap, **{k.replace("_", "."): v for k, v in more.items()}}


def the(futures):
    """The one result of an admin call."""
    (future,) = futures.values() if isinstance(futures, dict) else [futures]
    return future.result(30)


def create(b, topic, partitions=1, **config):
    a = admin.AdminClient(conf(b))  # has to live until the answer is there
    the(a.create_topics([admin.NewTopic(topic, num_partitions=partitions, config=config)]))
    return topic


def produce(b, topic, values, **more) -> dict:
    """Returns (partition, offset) -> value of everything acknowledged."""
    acked, errors = {}, []

    def delivered(error, m):
        if error:
            errors.append(error)
        else:
            acked[m.partition(), m.offset()] = m.value().decode()

    producer = ck.Producer(conf(b, enable_idempotence=True, **more))
    for v in values:
        producer.produce(topic, key=f"k{v}", value=str(v), headers={"n": str(v)}, on_delivery=delivered)
        producer.poll(0)
    producer.flush(60)
    assert not errors, errors
    assert len(acked) == len(values)
    return acked


def consume(consumer, count, timeout_s=60) -> dict:
    got = {}

    def enough():
        for m in consumer.consume(1000, 0.1):
            assert m.error() is None, m.error()
            assert (m.partition(), m.offset()) not in got, "the same record twice"
            assert m.key() == b"k" + m.value() and m.headers() == [("n", m.value())]
            got[m.partition(), m.offset()] = m.value().decode()
        return len(got) >= count
    wait_for(enough, timeout_s, f"{count} records", interval_s=0)
    return got


@pytest.mark.parametrize("life", LIVES)
def test_produce_and_group(shared_broker, life):
    b = shared_broker
    topic, group = create(b, unique("py"), 3), unique("group")
    first = produce(b, topic, range(2000))
    c = ck.Consumer(conf(b, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False))
    c.subscribe([topic])
    assert consume(c, 2000) == first
    c.commit(asynchronous=False)
    c.close()
    between(b, life)
    second = produce(b, topic, range(2000, 2500))
    c = ck.Consumer(conf(b, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False))
    c.subscribe([topic])
    assert consume(c, 500) == second
    c.commit(asynchronous=False)
    assert sum(p.offset for p in c.committed([ck.TopicPartition(topic, p) for p in range(3)], 30)) == 2500
    c.close()


@pytest.mark.parametrize("life", LIVES[1:])
def test_clients_live_through(shared_broker, life):
    """Producer and consumer stay; the broker goes and comes."""
    b = shared_broker
    topic, group = create(b, unique("py-through"), 2), unique("group")
    fast = {"reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200, "log_level": 0}
    acked = []
    producer = ck.Producer({**conf(b, enable_idempotence=True), **fast})
    c = ck.Consumer({**conf(b, group_id=group, auto_offset_reset="earliest"), **fast})
    c.subscribe([topic])

    def send(values):
        for v in values:
            producer.produce(topic, key=f"k{v}", value=str(v), headers={"n": str(v)},
                             on_delivery=lambda e, m: acked.append((e, m.value())))
        assert producer.flush(60) == 0

    send(range(500))
    got = consume(c, 500)
    between(b, life)
    send(range(500, 1000))

    def rest():
        for m in c.consume(1000, 0.1):
            if m.error() is None:
                got[m.partition(), m.offset()] = m.value().decode()
        return len(got) >= 1000
    wait_for(rest, 60, "the records after the broker came back")
    assert sorted(map(int, got.values())) == list(range(1000))
    assert all(e is None for e, _ in acked) and len(acked) == 1000
    c.close()


@pytest.mark.once
@pytest.mark.parametrize("strategy", ["range", "roundrobin", "cooperative-sticky"])
def test_two_members_share(shared_broker, strategy):
    b = shared_broker
    topic, group = create(b, unique("py-share"), 4), unique("group")
    members = []
    try:
        for _ in range(2):
            m = ck.Consumer(conf(b, group_id=group, auto_offset_reset="earliest",
                                 partition_assignment_strategy=strategy))
            m.subscribe([topic])
            members.append(m)

        def shared():
            for m in members:
                m.poll(0.05)
            return [len(m.assignment()) for m in members] == [2, 2]
        wait_for(shared, 60, "two partitions for each")
        assert len({p.partition for m in members for p in m.assignment()}) == 4
    finally:
        for m in members:
            m.close()


@pytest.mark.once
def test_static_member_comes_back_to_its_partitions(shared_broker):
    b = shared_broker
    topic, group = create(b, unique("py-static"), 4), unique("group")

    def member(name):
        c = ck.Consumer(conf(b, group_id=group, group_instance_id=name, auto_offset_reset="earliest"))
        c.subscribe([topic])
        return c

    one, two = member("one"), member("two")

    def settled():
        one.poll(0.05), two.poll(0.05)
        return len(one.assignment()) == len(two.assignment()) == 2
    wait_for(settled, 60, "two partitions for each")
    before = {p.partition for p in one.assignment()}
    one.close()
    one = member("one")
    wait_for(settled, 60, "two partitions for each again")
    assert {p.partition for p in one.assignment()} == before
    one.close(), two.close()


@pytest.mark.parametrize("life", LIVES)
def test_admin(shared_broker, life):
    b = shared_broker
    a = admin.AdminClient(conf(b))
    topic = create(b, unique("py-admin"), 2, **{"retention.ms": "111000"})
    the(a.create_partitions([admin.NewPartitions(topic, 3)]))
    between(b, life)
    a = admin.AdminClient(conf(b))
    described = the(a.describe_topics(ck.TopicCollection([topic])))
    assert len(described.partitions) == 3 and all(p.leader.id == 0 for p in described.partitions)
    resource = admin.ConfigResource(admin.ConfigResource.Type.TOPIC, topic)
    assert the(a.describe_configs([resource]))["retention.ms"].value == "111000"
    the(a.incremental_alter_configs([admin.ConfigResource(
        admin.ConfigResource.Type.TOPIC, topic, incremental_configs=[
            admin.ConfigEntry("retention.ms", "222000", incremental_operation=admin.AlterConfigOpType.SET)])]))
    wait_for(lambda: the(a.describe_configs([resource]))["retention.ms"].value == "222000", 10, "the new setting")
    assert the(a.describe_cluster()).controller.id == 0
    with pytest.raises(ck.KafkaException) as e:
        create(b, topic)
    assert e.value.args[0].code() == ck.KafkaError.TOPIC_ALREADY_EXISTS
    produce(b, topic, range(10))
    latest = the(a.list_offsets({ck.TopicPartition(topic, 0): admin.OffsetSpec.latest()}))
    assert latest.offset >= 0
    the(a.delete_topics([topic]))
    wait_for(lambda: topic not in a.list_topics(timeout=10).topics, 10, "the topic to be gone")


@pytest.mark.parametrize("life", LIVES)
def test_admin_of_groups(shared_broker, life):
    b = shared_broker
    topic, group = create(b, unique("py-groups"), 1), unique("group")
    produce(b, topic, range(20))
    c = ck.Consumer(conf(b, group_id=group, auto_offset_reset="earliest"))
    c.subscribe([topic])
    consume(c, 20)
    a = admin.AdminClient(conf(b))
    described = the(a.describe_consumer_groups([group]))
    assert described.state == ck.ConsumerGroupState.STABLE and len(described.members) == 1
    c.commit(asynchronous=False)
    c.close()
    between(b, life)
    a = admin.AdminClient(conf(b))
    # A coordinator that is still loading answers with what it has, beside an error that is not raised here.
    wait_for(lambda: group in {g.group_id for g in the(a.list_consumer_groups()).valid}, 15, "the group in the list")
    offsets = the(a.list_consumer_group_offsets([ck.ConsumerGroupTopicPartitions(group)]))
    assert [(p.topic, p.partition, p.offset) for p in offsets.topic_partitions] == [(topic, 0, 20)]
    the(a.alter_consumer_group_offsets([ck.ConsumerGroupTopicPartitions(group, [ck.TopicPartition(topic, 0, 7)])]))
    offsets = the(a.list_consumer_group_offsets([ck.ConsumerGroupTopicPartitions(group)]))
    assert offsets.topic_partitions[0].offset == 7
    the(a.delete_consumer_groups([group]))
    assert group not in {g.group_id for g in the(a.list_consumer_groups()).valid}


def test_create_then_produce_at_once(shared_broker):
    """A topic can be used as soon as CreateTopics has answered: no retries, no errors."""
    b, errors = shared_broker, []
    a = admin.AdminClient(conf(b))
    producer = ck.Producer({**conf(b, retries=0), "log_level": 0})

    for i in range(30):
        topic = unique("py-at-once")
        the(a.create_topics([admin.NewTopic(topic, num_partitions=1)]))
        producer.produce(topic, value="x", on_delivery=lambda e, m: errors.append(e) if e else None)
        assert producer.flush(30) == 0
    assert not errors, errors
