#!/usr/bin/env python3
"""Copies records from one topic to another in transactions, on confluent-kafka; driven by copiers.py.

    copier.py BOOTSTRAP FROM TO PARTITIONS-OF-TO GROUP TRANSACTIONAL-ID SEED

Says on a line each what it does: "begin", "sent", "offsets", "ending", then "committed" with where it stands in each
partition (3:170), or "aborted": "on purpose", or why. A value "P:N" is copied as it is, and as "no P:N" where the
transaction, one in ten, is to be aborted. SIGTERM ends it between two transactions with status 0; "fatal" with 3.
"""

import os
import random
import signal
import sys

import confluent_kafka as ck

BATCH = 20
stop = []


def say(*words) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def again(call):
    """What may be repeated is repeated until it works."""
    while True:
        try:
            return call()
        except ck.KafkaException as e:
            if not e.args[0].retriable():
                raise
            say("again:", e.args[0].name(), e.args[0].str())


def back_to_committed(consumer) -> None:
    while not stop:
        try:
            for p in consumer.committed(consumer.assignment(), 1):
                consumer.seek(ck.TopicPartition(p.topic, p.partition, max(p.offset, 0)))
            return
        except ck.KafkaException as e:
            say("not back yet:", e.args[0].name())
            consumer.consume(10000, 0)  # its partitions may be another's by now


def copy(producer, consumer, records, to: str, partitions: int, commits: bool) -> None:
    """One transaction."""
    ends = {}
    producer.begin_transaction()
    say("begin")
    for m in records:
        value = m.value() if commits else b"no " + m.value()
        producer.produce(to, value, key=m.key(), partition=m.partition() % partitions)
        ends[m.partition()] = m.offset() + 1
    producer.poll(0)
    say("sent")
    offsets = [ck.TopicPartition(records[0].topic(), p, end) for p, end in ends.items()]
    again(lambda: producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), 5))
    say("offsets")
    if not commits:
        producer.flush(5)  # they are to be there, and be hidden
        say("ending with an abort")
        again(lambda: producer.abort_transaction(5))
        say("aborted on purpose")
        back_to_committed(consumer)
        return
    say("ending")
    again(lambda: producer.commit_transaction(5))
    say("committed", *(f"{p}:{end}" for p, end in ends.items()))


def main() -> None:
    bootstrap, source, to, partitions, group, transactional_id, seed = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    common = {"bootstrap.servers": bootstrap, "log_level": 0, "reconnect.backoff.ms": 20,
              "reconnect.backoff.max.ms": 200, "retry.backoff.ms": 20, "metadata.recovery.strategy": "none"}
    producer = ck.Producer({**common, "transactional.id": transactional_id, "transaction.timeout.ms": 20000,
                            "linger.ms": 0})
    again(lambda: producer.init_transactions(5))
    say("ready")
    consumer = ck.Consumer({**common, "group.id": group, "enable.auto.commit": False, "auto.offset.reset": "earliest",
                            "isolation.level": "read_committed", "session.timeout.ms": 3000,
                            "heartbeat.interval.ms": 300, "fetch.wait.max.ms": 50})
    consumer.subscribe([source])
    rng = random.Random(int(seed))
    while not stop:
        records = [m for m in consumer.consume(BATCH, 0.1) if not m.error()]
        if not records:
            continue
        try:
            copy(producer, consumer, records, to, int(partitions), rng.randrange(10) > 0)
        except ck.KafkaException as e:
            if e.args[0].fatal():
                raise
            again(lambda: producer.abort_transaction(5))
            say("aborted", e.args[0].name())
            back_to_committed(consumer)
    consumer.close()
    say("stopped")


if __name__ == "__main__":
    try:
        main()
    except ck.KafkaException as e:
        say("fatal", e.args[0].name(), e.args[0].str())
        os._exit(3)
