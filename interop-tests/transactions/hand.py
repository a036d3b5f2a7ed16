"""A transactional producer whose every request is sent by hand, to a broker, or to whom of a cluster it is for."""

import time

from harness import clients
from harness.wait import wait_for
from wire import records
from wire.player import Connection

CONCURRENT = 51
NOT_YET = (14, 15, 16, CONCURRENT)  # what a coordinator answers before it can


class ByHand:
    def __init__(self, b, transactional_id: str, timeout_ms: int = 60000):
        self.name, self.timeout_ms = transactional_id, timeout_ms
        self.producer_id, self.epoch, self.sequences = -1, -1, {}
        self.connect(b)

    def connect(self, b) -> None:
        """Also to another broker in the place of the one that was there."""
        self._there, self._connections = b, {}

    def ask(self, api: str, version: int, values: dict, of=None) -> dict:
        """Whoever coordinates this producer, or of()."""
        b = of() if of else self._there.coordinates(self.name, 1)
        if b.bootstrap not in self._connections:
            self._connections[b.bootstrap] = Connection(b.host, b.port)
        try:
            return clients.ask(self._connections[b.bootstrap], api, version, values)
        except (AssertionError, OSError):
            del self._connections[b.bootstrap]
            raise

    def until(self, api: str, version: int, values: dict, code, of=None) -> dict:
        """Asks until the coordinator has an answer."""
        def answered():
            answer = self.ask(api, version, values, of)
            return answer if code(answer) not in NOT_YET else None
        return wait_for(answered, 30, f"an answer to {api}")

    def init(self, renew: bool = False) -> dict:
        """With the pair it has, where it is to be renewed."""
        wait_for(lambda: self.ask("FindCoordinator", 3, {"key": self.name, "key_type": 1})["error_code"] == 0, 30,
                 "the transaction coordinator")
        answer = self.until("InitProducerId", 4, {
            "transactional_id": self.name, "transaction_timeout_ms": self.timeout_ms,
            "producer_id": self.producer_id if renew else -1, "producer_epoch": self.epoch if renew else -1},
            lambda a: a["error_code"])
        assert answer["error_code"] == 0, answer
        self.producer_id, self.epoch, self.sequences = answer["producer_id"], answer["producer_epoch"], {}
        return answer

    def add(self, *partitions) -> None:
        """(topic, partition), as many as there are."""
        topics = {}
        for topic, partition in partitions:
            topics.setdefault(topic, []).append(partition)
        answer = self.until("AddPartitionsToTxn", 3, {
            "v3_and_below_transactional_id": self.name, "v3_and_below_producer_id": self.producer_id,
            "v3_and_below_producer_epoch": self.epoch,
            "v3_and_below_topics": [{"name": t, "partitions": p} for t, p in topics.items()]},
            lambda a: a["results_by_topic_v3_and_below"][0]["results_by_partition"][0]["partition_error_code"])
        assert all(p["partition_error_code"] == 0 for t in answer["results_by_topic_v3_and_below"]
                   for p in t["results_by_partition"]), answer

    def produce(self, topic: str, partition: int, *values: str, timestamp: int | None = None, expect: int = 0,
                version: int = 9) -> int:
        """One batch; the offset of its first record."""
        now = int(time.time() * 1000) if timestamp is None else timestamp
        first = self.sequences.get((topic, partition), 0)
        batch = records.batch({"attributes": 0x10, "producer_id": self.producer_id, "producer_epoch": self.epoch,
                               "base_sequence": first, "records": list(values), "base_timestamp": now,
                               "max_timestamp": now})

        def produced():
            answer = self.ask("Produce", version, {
                "transactional_id": self.name, "acks": -1, "timeout_ms": 10000,
                "topic_data": [{"name": topic, "partition_data": [{"index": partition, "records": batch}]}]},
                lambda: self._there.leads(topic, partition))
            said = answer["responses"][0]["partition_responses"][0]
            return said if said["error_code"] not in (6, 19) else None
        said = wait_for(produced, 30, "an answer to Produce")
        assert said["error_code"] == expect, said
        if expect == 0:
            self.sequences[topic, partition] = first + len(values)
        return said["base_offset"]

    def offsets(self, group: str, topic: str, partition: int, offset: int) -> None:
        def its_coordinator():
            return self._there.coordinates(group, 0)
        wait_for(lambda: self.ask("FindCoordinator", 3, {"key": group, "key_type": 0}, its_coordinator)["error_code"] == 0,
                 30, "the group's coordinator")
        me = {"transactional_id": self.name, "group_id": group, "producer_id": self.producer_id, "producer_epoch": self.epoch}
        answer = self.until("AddOffsetsToTxn", 3, me, lambda a: a["error_code"])
        assert answer["error_code"] == 0, answer
        answer = self.until("TxnOffsetCommit", 3, {**me, "topics": [
            {"name": topic, "partitions": [{"partition_index": partition, "committed_offset": offset,
                                            "committed_metadata": "by hand"}]}]},
            lambda a: a["topics"][0]["partitions"][0]["error_code"], its_coordinator)
        assert answer["topics"][0]["partitions"][0]["error_code"] == 0, answer

    def end(self, commits: bool, expect: int = 0) -> None:
        answer = self.until("EndTxn", 3, {"transactional_id": self.name, "producer_id": self.producer_id,
                                          "producer_epoch": self.epoch, "committed": commits}, lambda a: a["error_code"])
        assert answer["error_code"] == expect, answer


def write_markers(b, producer_id: int, epoch: int, commits: bool, partitions: list, coordinator_epoch: int = 0) -> None:
    """As a coordinator would."""
    answer = clients.ask_once(b, "WriteTxnMarkers", 1, {"markers": [{
        "producer_id": producer_id, "producer_epoch": epoch, "transaction_result": commits,
        "coordinator_epoch": coordinator_epoch,
        "topics": [{"name": t, "partition_indexes": [p]} for t, p in partitions]}]})
    assert all(p["error_code"] == 0 for t in answer["markers"][0]["topics"] for p in t["partitions"]), answer
