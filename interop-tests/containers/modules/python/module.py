"""The Kafka module of Testcontainers for Python, as its users write it: module.py KIND IMAGE."""

import sys
import time

from confluent_kafka import Consumer, Producer
from testcontainers.community.kafka import KafkaContainer


def round_trip(server: str) -> None:
    sent = [f"record {i}" for i in range(10)]
    producer = Producer({"bootstrap.servers": server})
    for value in sent:
        producer.produce("records", value)
    assert producer.flush(30) == 0
    consumer = Consumer({"bootstrap.servers": server, "group.id": "readers", "auto.offset.reset": "earliest"})
    consumer.subscribe(["records"])
    got, deadline = [], time.monotonic() + 30
    while len(got) < len(sent) and time.monotonic() < deadline:
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            got.append(message.value().decode())
    consumer.close()
    assert got == sent, f"consumed {got}"
    print(f"round trip of 10 records by {server}")


def main(kind: str, image: str) -> None:
    container = KafkaContainer(image)
    if kind == "kraft":
        container = container.with_kraft()
    with container as kafka:
        round_trip(kafka.get_bootstrap_server())


main(*sys.argv[1:])
