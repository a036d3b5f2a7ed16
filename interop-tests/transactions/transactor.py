#!/usr/bin/env python3
"""A transactional producer and a reader on confluent-kafka that do what they are told: see transactors.py."""

import sys

import confluent_kafka as ck

BOOTSTRAP = sys.argv[1]
COMMON = {"bootstrap.servers": BOOTSTRAP, "log_level": 0, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200,
          "retry.backoff.ms": 20, "metadata.recovery.strategy": "none"}
FENCED = (ck.KafkaError._FENCED, ck.KafkaError.PRODUCER_FENCED, ck.KafkaError.INVALID_PRODUCER_EPOCH)


def again(call):
    while True:
        try:
            return call()
        except ck.KafkaException as e:
            if not e.args[0].retriable():
                raise


class Transactor:
    def init(self, transactional_id, timeout_ms):
        self.producer = ck.Producer({**COMMON, "transactional.id": transactional_id, "transaction.timeout.ms": timeout_ms,
                                     "linger.ms": 0})
        again(lambda: self.producer.init_transactions(10))

    def begin(self):
        self.producer.begin_transaction()

    def send(self, topic, partition, value):
        said = []
        self.producer.produce(topic, value, partition=int(partition), on_delivery=lambda e, m: said.append((e, m)))
        while not said:
            self.producer.poll(0.1)
        error, message = said[0]
        if error:
            raise ck.KafkaException(error)
        return message.offset()

    def offsets(self, group, topic, partition, offset):
        c = ck.Consumer({**COMMON, "group.id": group})  # which never joins it
        at = [ck.TopicPartition(topic, int(partition), int(offset))]
        again(lambda: self.producer.send_offsets_to_transaction(at, c.consumer_group_metadata(), 10))
        c.close()

    def commit(self):
        again(lambda: self.producer.commit_transaction(10))

    def abort(self):
        again(lambda: self.producer.abort_transaction(10))

    def read(self, topic, partitions, isolation):
        c = ck.Consumer({**COMMON, "group.id": "not used", "enable.auto.commit": False, "auto.offset.reset": "error",
                         "isolation.level": f"read_{isolation}"})
        c.assign([ck.TopicPartition(topic, p, 0) for p in range(int(partitions))])
        values, ends = [], 0
        while ends < int(partitions):
            for m in c.consume(100, 0.1):
                if m.error():
                    continue
                if m.value() == b"end":
                    ends += 1
                else:
                    values.append(m.value().decode())
        c.close()
        return " ".join(values)


def main():
    transactor = Transactor()
    for line in sys.stdin:
        command, *arguments = line.split()
        try:
            answer = f"ok {getattr(transactor, command)(*arguments)}"
        except ck.KafkaException as e:
            error = e.args[0]
            answer = f"{'fenced' if error.code() in FENCED or error.fatal() else 'error'} {error.name()} {error.str()}"
        print("<", answer, flush=True)


main()
