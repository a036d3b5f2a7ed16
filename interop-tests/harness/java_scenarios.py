"""The scenarios of Kafka's command-line tools, for any version of them. java39/ and java43/ inherit from here.

Each test is told its life: the second half of a scenario sees the broker as it was (fresh), cleanly restarted, or
started again after kill -9.
"""

import json
import re

import pytest

from . import toolhost
from .life import LIVES, between, unique
from .wait import wait_for


class JavaScenarios:
    version = ""

    @pytest.fixture(params=LIVES)
    def life(self, request):
        return request.param

    @pytest.fixture(autouse=True)
    def _needs_tools(self):
        why = toolhost.missing(self.version)
        if why:
            pytest.skip(f"skipped, because {why}")

    # --- helpers

    def run(self, broker, tool, *args, **kw):
        return toolhost.tools(self.version).run(tool, "--bootstrap-server", broker.bootstrap, *args, **kw)

    def start(self, broker, tool, *args):
        return toolhost.tools(self.version).start(tool, "--bootstrap-server", broker.bootstrap, *args)

    def _properties(self, kind, *properties) -> list:
        """--property of 3.9; 4.x wants it named by its reader."""
        option = "--property" if self.version.startswith("3") else f"--{kind}-property"
        return [word for p in properties for word in (option, p)]

    def create(self, broker, topic, partitions=1, **configs):
        configs = [word for k, v in configs.items() for word in ("--config", f"{k.replace('_', '.')}={v}")]
        result = self.run(broker, "kafka-topics", "--create", "--topic", topic, "--partitions", partitions, *configs)
        assert f"Created topic {topic}." in result.out
        return topic

    def produce(self, broker, topic, lines, *args):
        self.run(broker, "kafka-console-producer", "--topic", topic, *args, stdin="".join(x + "\n" for x in lines))

    def consume(self, broker, topic, count, *args, from_beginning=True, timeout_ms=30000):
        """The lines of `count` messages; fails when fewer come."""
        args = (["--from-beginning"] if from_beginning else []) + list(args)
        result = self.run(broker, "kafka-console-consumer", "--topic", topic, "--max-messages", count,
                          "--timeout-ms", timeout_ms, *args)
        assert f"Processed a total of {count} messages" in result.err, result.err
        return result.lines()

    def consume_rest(self, broker, topic, *args):
        """What comes until nothing comes for two seconds."""
        return self.run(broker, "kafka-console-consumer", "--topic", topic, "--timeout-ms", 2000, *args,
                        check=False).lines()

    def group(self, broker, *args, **kw):
        return self.run(broker, "kafka-consumer-groups", *args, **kw)

    def described_group(self, broker, group) -> dict:
        """(topic, partition) -> the columns of kafka-consumer-groups --describe."""
        rows = [line.split() for line in self.group(broker, "--describe", "--group", group).lines() if line.strip()]
        header = rows[0]
        return {(r[1], int(r[2])): dict(zip(header, r)) for r in rows[1:]}

    def offsets(self, broker, topic, *args) -> dict:
        out = self.run(broker, "kafka-get-offsets", "--topic", topic, *args).lines()
        return {int(line.split(":")[1]): (int(line.split(":")[2]) if line.split(":")[2] else None) for line in out}

    # --- scenarios

    def test_console_keys_headers(self, shared_broker, life):
        b = shared_broker
        topic = self.create(b, unique("console"), partitions=2)
        sent = [f"h1:a{i},h2:b\tkey{i}\tvalue {i}" for i in range(50)]
        self.produce(b, topic, sent, *self._properties("reader", "parse.key=true", "parse.headers=true"))
        between(b, life)
        got = self.consume(b, topic, 50, *self._properties("formatter", "print.key=true", "print.headers=true"))
        assert sorted(got) == sorted(sent)

    @pytest.mark.once
    def test_console_from_a_partition(self, shared_broker, life):
        b = shared_broker
        topic = self.create(b, unique("partition"), partitions=3)
        self.produce(b, topic, [f"{i}\tv{i}" for i in range(60)], *self._properties("reader", "parse.key=true"))
        between(b, life)
        ends = self.offsets(b, topic)
        assert sum(ends.values()) == 60
        everything = []
        for partition, end in ends.items():
            got = self.consume(b, topic, end, "--partition", partition, "--offset", "earliest", from_beginning=False)
            everything += got
            tail = self.consume(b, topic, 1, "--partition", partition, "--offset", end - 1, from_beginning=False)
            assert tail == got[-1:]
        assert sorted(everything) == sorted(f"v{i}" for i in range(60))

    @pytest.mark.once
    def test_console_latest_sees_only_what_is_new(self, shared_broker):
        b = shared_broker
        topic = self.create(b, unique("latest"))
        self.produce(b, topic, ["old"])
        call = self.start(b, "kafka-console-consumer", "--topic", topic, "--partition", 0, "--offset", "latest",
                          "--timeout-ms", 20000)
        for i in range(200):  # until it listens, nobody reads what is sent
            self.produce(b, topic, [f"new{i}"])
            if "new" in call.out():
                break
        call.wait_out(lambda out: "new" in out, 10, "a record sent after its start")
        call.stop()
        assert "old" not in call.wait().out

    def test_group_goes_on_where_it_was(self, shared_broker, life):
        b = shared_broker
        topic, group = self.create(b, unique("goes-on"), partitions=2), unique("group")
        self.produce(b, topic, [f"{i}\tfirst{i}" for i in range(40)], *self._properties("reader", "parse.key=true"))
        assert sorted(self.consume(b, topic, 40, "--group", group)) == sorted(f"first{i}" for i in range(40))
        between(b, life)
        self.produce(b, topic, [f"{i}\tsecond{i}" for i in range(40)], *self._properties("reader", "parse.key=true"))
        assert sorted(self.consume(b, topic, 40, "--group", group)) == sorted(f"second{i}" for i in range(40))
        rows = self.described_group(b, group)
        assert {k[0] for k in rows} == {topic}
        assert all(r["LAG"] == "0" and r["CONSUMER-ID"] == "-" for r in rows.values())
        assert sum(int(r["CURRENT-OFFSET"]) for r in rows.values()) == 80

    def test_acks_and_no_idempotence(self, shared_broker):
        b = shared_broker
        topic = self.create(b, unique("acks"))
        for acks in ("0", "1", "all"):
            self.produce(b, topic, [f"acks {acks}"], "--request-required-acks", acks,
                         "--producer-property", "enable.idempotence=false")
        assert sorted(self.consume(b, topic, 3)) == ["acks 0", "acks 1", "acks all"]

    def test_auto_creation(self, shared_broker):
        topic = unique("auto")
        self.produce(shared_broker, topic, ["made by producing"])
        assert self.consume(shared_broker, topic, 1) == ["made by producing"]

    def test_topics(self, shared_broker, life):
        b, topic = shared_broker, unique("topics")
        self.create(b, topic, partitions=2, retention_ms=123456)
        self.run(b, "kafka-topics", "--alter", "--topic", topic, "--partitions", 3)
        before = self.run(b, "kafka-topics", "--describe", "--topic", topic).out
        head = before.splitlines()[0]
        assert re.match(rf"Topic: {topic}\tTopicId: \S{{22}}\tPartitionCount: 3\tReplicationFactor: 1\tConfigs: .*"
                        r"retention\.ms=123456", head), head
        assert [line.split("\t")[2:6] for line in before.splitlines()[1:]] == [
            [f"Partition: {i}", "Leader: 0", "Replicas: 0", "Isr: 0"] for i in range(3)]
        between(b, life)
        assert self.run(b, "kafka-topics", "--describe", "--topic", topic).out == before
        assert topic in self.run(b, "kafka-topics", "--list").lines()
        again = self.run(b, "kafka-topics", "--create", "--topic", topic, check=False)
        assert again.code != 0 and f"Topic '{topic}' already exists" in again.out + again.err
        self.run(b, "kafka-topics", "--create", "--if-not-exists", "--topic", topic)
        self.run(b, "kafka-topics", "--delete", "--topic", topic)
        assert topic not in self.run(b, "kafka-topics", "--list").lines()
        gone = self.run(b, "kafka-topics", "--describe", "--topic", topic, check=False)
        assert gone.code != 0

    def test_deleted_topic_stays_deleted(self, shared_broker, life):
        b, topic = shared_broker, unique("deleted")
        self.create(b, topic, partitions=2)
        self.produce(b, topic, ["x"])
        self.run(b, "kafka-topics", "--delete", "--topic", topic)
        between(b, life)
        assert topic not in self.run(b, "kafka-topics", "--list").lines()
        # For a moment after DeleteTopics has answered Kafka itself says "marked for deletion".
        wait_for(lambda: self.create(b, topic), 15, "the name to be free again")
        assert self.offsets(b, topic) == {0: 0}

    def test_consumer_groups(self, shared_broker, life):
        b = shared_broker
        topic, group = self.create(b, unique("groups")), unique("group")
        self.produce(b, topic, [str(i) for i in range(30)])
        self.consume(b, topic, 10, "--group", group)
        between(b, life)
        assert group in self.group(b, "--list").lines()
        assert any(line.split()[0] == group and line.split()[-1] == "Empty"
                   for line in self.group(b, "--list", "--state").lines() if line.split()[:1] == [group])
        row = self.described_group(b, group)[topic, 0]
        assert (row["CURRENT-OFFSET"], row["LOG-END-OFFSET"], row["LAG"]) == ("10", "30", "20")
        assert f"Consumer group '{group}' has no active members." in self.group(b, "--describe", "--group", group).err
        dry = self.group(b, "--reset-offsets", "--to-offset", 5, "--group", group, "--topic", topic, "--dry-run")
        assert f"{group} {topic} 0 5" in " ".join(dry.out.split())
        assert self.described_group(b, group)[topic, 0]["CURRENT-OFFSET"] == "10"
        self.group(b, "--reset-offsets", "--to-offset", 5, "--group", group, "--topic", topic, "--execute")
        assert self.consume(b, topic, 25, "--group", group) == [str(i) for i in range(5, 30)]
        self.group(b, "--reset-offsets", "--to-earliest", "--group", group, "--all-topics", "--execute")
        self.group(b, "--reset-offsets", "--shift-by", 3, "--group", group, "--topic", topic, "--execute")
        assert self.described_group(b, group)[topic, 0]["CURRENT-OFFSET"] == "3"
        self.group(b, "--reset-offsets", "--to-datetime", "2020-01-01T00:00:00.000", "--group", group, "--topic",
                   topic, "--execute")
        assert self.described_group(b, group)[topic, 0]["CURRENT-OFFSET"] == "0"
        deleted = self.group(b, "--delete", "--group", group)
        assert f"Deletion of requested consumer groups ('{group}') was successful." in deleted.out
        assert group not in self.group(b, "--list").lines()
        assert self.group(b, "--delete", "--group", group, check=False).code != 0 or "Error" in self.group(
            b, "--delete", "--group", group, check=False).out

    def test_consumer_group_with_a_member(self, shared_broker):
        b = shared_broker
        topic, group = self.create(b, unique("member"), partitions=2), unique("group")
        self.produce(b, topic, [str(i) for i in range(10)])
        call = self.start(b, "kafka-console-consumer", "--topic", topic, "--group", group, "--from-beginning")
        call.wait_out(lambda out: len(out.split()) == 10, 30, "10 records")
        rows = self.described_group(b, group)
        assert len(rows) == 2 and all(r["CONSUMER-ID"].startswith("console-consumer-") and r["HOST"] == "/127.0.0.1"
                                      for r in rows.values())
        members = self.group(b, "--describe", "--group", group, "--members").out
        assert re.search(rf"^{group}\s+console-consumer-\S+\s+/127\.0\.0\.1\s+console-consumer\s+2\s*$", members, re.M)
        state = self.group(b, "--describe", "--group", group, "--state").out
        assert re.search(rf"^{group}\s+127\.0\.0\.1:{b.port}\s+\(0\)\s+range\s+Stable\s+1\s*$", state, re.M), state
        refused = self.group(b, "--delete", "--group", group, check=False)
        assert "GroupNotEmptyException" in refused.out + refused.err
        call.stop()
        call.wait()

    def test_get_offsets(self, shared_broker, life):
        b = shared_broker
        topic = self.create(b, unique("offsets"), partitions=2)
        self.produce(b, topic, [str(i) for i in range(7)])
        between(b, life)
        assert sum(self.offsets(b, topic).values()) == 7
        assert self.offsets(b, topic, "--time", -2) == {0: 0, 1: 0}
        assert sum(v for v in self.offsets(b, topic, "--time", "latest").values()) == 7
        assert sorted(v for v in self.offsets(b, topic, "--time", "max-timestamp").values() if v is not None)
        assert all(v in (0, None) for v in self.offsets(b, topic, "--time", 1000).values())

    @pytest.mark.once
    def test_verifiable_clients(self, shared_broker, life):
        b = shared_broker
        topic, group = self.create(b, unique("verifiable"), partitions=3), unique("group")
        host = toolhost.tools(self.version)
        sent = host.start("kafka-verifiable-producer", "--bootstrap-server", b.bootstrap, "--topic", topic,
                          "--max-messages", 1000, "--acks", -1)
        sent.end_input()
        assert sent.wait(60).code == 0
        acked = {(r["partition"], r["offset"]): r["value"] for r in sent.json_lines()
                 if r["name"] == "producer_send_success"}
        assert sorted(map(int, acked.values())) == list(range(1000))
        between(b, life)
        got = host.start("kafka-verifiable-consumer", "--bootstrap-server", b.bootstrap, "--topic", topic,
                         "--group-id", group, "--max-messages", 1000, "--reset-policy", "earliest", "--verbose")
        assert got.wait(60).code == 0
        data = [r for r in got.json_lines() if r["name"] == "record_data"]
        assert {(r["partition"], r["offset"]): r["value"] for r in data} == acked and len(data) == 1000
        assert any(r["name"] == "offsets_committed" and r["success"] for r in got.json_lines())

    def test_configs(self, shared_broker, life):
        b = shared_broker
        topic = self.create(b, unique("configs"))
        done = self.run(b, "kafka-configs", "--alter", "--entity-type", "topics", "--entity-name", topic,
                        "--add-config", "retention.ms=777000,cleanup.policy=[compact,delete]")
        assert f"Completed updating config for topic {topic}." in done.out
        between(b, life)
        text = self.run(b, "kafka-configs", "--describe", "--entity-type", "topics", "--entity-name", topic).out
        assert "retention.ms=777000" in text and "cleanup.policy=compact,delete" in text
        self.run(b, "kafka-configs", "--alter", "--entity-type", "topics", "--entity-name", topic,
                 "--delete-config", "retention.ms")
        text = self.run(b, "kafka-configs", "--describe", "--entity-type", "topics", "--entity-name", topic).out
        assert "retention.ms" not in text and "cleanup.policy=compact,delete" in text
        text = self.run(b, "kafka-configs", "--describe", "--entity-type", "brokers", "--entity-name", "0",
                        "--all").out
        assert "log.segment.bytes=1073741824" in text

    @pytest.mark.once
    def test_quotas(self, shared_broker, life):
        """A client's, and a default user's for another; seen after a restart, felt by a producer, taken away."""
        b = shared_broker
        client = unique("limited")
        of_client = ("--entity-type", "clients", "--entity-name", client)
        of_both = ("--entity-type", "users", "--entity-default", "--entity-type", "clients", "--entity-name", client + " x")
        self.run(b, "kafka-configs", "--alter", *of_client, "--add-config", "producer_byte_rate=20000,request_percentage=150")
        self.run(b, "kafka-configs", "--alter", *of_both, "--add-config", "consumer_byte_rate=2048")
        between(b, life)
        text = self.run(b, "kafka-configs", "--describe", *of_client).out
        assert f"Quota configs for client-id '{client}' are" in text and "producer_byte_rate=20000.0" in text, text
        assert "consumer_byte_rate=2048.0" in self.run(b, "kafka-configs", "--describe", *of_both).out
        topic = self.create(b, unique("quota"))
        said = toolhost.tools(self.version).run(
            "kafka-producer-perf-test", "--topic", topic, "--num-records", 260, "--record-size", 1000, "--throughput", -1,
            "--print-metrics", "--producer-props", f"bootstrap.servers={b.bootstrap}", f"client.id={client}").out
        throttled = re.search(r"produce-throttle-time-max.*:\s*([\d.]+)", said)
        assert throttled and 1000 < float(throttled[1]) < 9000, said
        self.run(b, "kafka-configs", "--alter", *of_client, "--delete-config", "producer_byte_rate,request_percentage")
        self.run(b, "kafka-configs", "--alter", *of_both, "--delete-config", "consumer_byte_rate")
        assert "producer_byte_rate" not in self.run(b, "kafka-configs", "--describe", *of_client).out

    def test_delete_records(self, shared_broker, life, tmp_path):
        b, plan = shared_broker, tmp_path / "plan.json"
        topic = self.create(b, unique("delete-records"))
        self.produce(b, topic, [str(i) for i in range(10)])
        plan.write_text(json.dumps({"version": 1, "partitions": [{"topic": topic, "partition": 0, "offset": 4}]}))
        out = self.run(b, "kafka-delete-records", "--offset-json-file", plan).out
        assert f"partition: {topic}-0\tlow_watermark: 4" in out
        assert self.offsets(b, topic, "--time", -2) == {0: 4}
        between(b, life)
        # The start is on disk with the next checkpoint (a minute at most), and at a clean stop.
        assert self.offsets(b, topic, "--time", -2) == {0: 4} or life == "killed"
        plan.write_text(json.dumps({"version": 1, "partitions": [{"topic": topic, "partition": 0, "offset": 11}]}))
        assert "OffsetOutOfRangeException" in self.run(b, "kafka-delete-records", "--offset-json-file", plan).out
        plan.write_text(json.dumps({"version": 1, "partitions": [{"topic": topic, "partition": 0, "offset": -1}]}))
        self.run(b, "kafka-delete-records", "--offset-json-file", plan)
        assert self.offsets(b, topic, "--time", -2) == {0: 10} and self.consume_rest(b, topic, "--from-beginning") == []

    def test_log_dirs(self, shared_broker, life):
        b = shared_broker
        topic = self.create(b, unique("log-dirs"), partitions=2)
        self.produce(b, topic, ["x" * 1000])
        between(b, life)
        out = self.run(b, "kafka-log-dirs", "--describe", "--topic-list", topic).out
        (answer,) = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        (node,) = answer["brokers"]
        (directory,) = node["logDirs"]
        assert node["broker"] == 0 and directory["error"] is None and directory["logDir"] == str(b.data_dir)
        sizes = {p["partition"]: p["size"] for p in directory["partitions"]}
        assert sizes.keys() == {f"{topic}-0", f"{topic}-1"} and sum(size > 1000 for size in sizes.values()) == 1
        assert all(p["offsetLag"] == 0 and not p["isFuture"] for p in directory["partitions"])

    def test_delete_offsets(self, shared_broker, life):
        b = shared_broker
        topic, group = self.create(b, unique("delete-offsets")), unique("group")
        self.produce(b, topic, ["a", "b"])
        self.consume(b, topic, 1, "--group", group)
        between(b, life)
        out = self.group(b, "--delete-offsets", "--group", group, "--topic", topic).out
        assert "Request succeed" in out and "Successful" in out
        assert group not in self.group(b, "--list").lines()
        call = self.start(b, "kafka-console-consumer", "--topic", topic, "--group", group, "--from-beginning")
        call.wait_out(lambda out: len(out.split()) == 2, 30, "2 records")
        refused = self.group(b, "--delete-offsets", "--group", group, "--topic", topic, check=False)
        assert "subscribed" in refused.out + refused.err
        call.stop()
        call.wait()

    def test_acls_without_an_authorizer(self, shared_broker):
        refused = self.run(shared_broker, "kafka-acls", "--list", check=False)
        assert "SecurityDisabledException: No Authorizer is configured" in refused.out + refused.err

    def test_broker_api_versions(self, shared_broker):
        out = self.run(shared_broker, "kafka-broker-api-versions").out
        for line in ("Produce(0): 0 to 11 [usable:", "Fetch(1): 0 to 17 [usable:", "Metadata(3): 0 to 12 [usable:",
                     "ApiVersions(18): 0 to 4 [usable:"):
            assert line in out

    @pytest.mark.whole
    def test_a_million_lines(self, shared_broker):
        b, count = shared_broker, 1_000_000
        topic = self.create(b, unique("lines"))
        self.run(b, "kafka-console-producer", "--topic", topic, "--compression-codec", "zstd", timeout_s=300,
                 stdin="".join(f"line {i}\n" for i in range(count)))
        result = self.run(b, "kafka-console-consumer", "--topic", topic, "--from-beginning", "--max-messages", count,
                          "--timeout-ms", 60000, timeout_s=300)
        lines = result.lines()
        assert len(lines) == count
        wrong = next((i for i, line in enumerate(lines) if line != f"line {i}"), None)
        assert wrong is None, f"line {wrong} is {lines[wrong]!r}"

    @pytest.mark.once
    def test_producer_perf(self, shared_broker):
        b = shared_broker
        topic = self.create(b, unique("perf"), partitions=2)
        out = toolhost.tools(self.version).run(
            "kafka-producer-perf-test", "--topic", topic, "--num-records", 20000, "--record-size", 200,
            "--throughput", -1, "--producer-props", f"bootstrap.servers={b.bootstrap}", "acks=all").out
        assert re.search(r"^20000 records sent, [\d.]+ records/sec .* 99\.9th\.$", out, re.M), out
        assert sum(self.offsets(b, topic).values()) == 20000
