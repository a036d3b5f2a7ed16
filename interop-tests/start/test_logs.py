"""The log of a broker: its form, its file, its levels, the line of each request, and floods."""

import json
import re
import signal

import pytest

from harness import broker as brokers
from harness import clients
from harness.life import unique
from harness.wait import wait_for
from wire import schema
from wire.player import APIS, Connection

pytestmark = [pytest.mark.once, pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because it is about Ottla")]

LINE = re.compile(r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}\] (DEBUG|INFO|WARN|ERROR|FATAL) .* \([a-z.-]+\)$")
SET, DELETE = 0, 1
LOGGERS = 8


@pytest.fixture
def started():
    """Starts brokers with these options."""
    all_of_them = []

    def start(**options):
        b = brokers.new_broker({k.replace("_", "."): str(v) for k, v in options.items()})
        all_of_them.append(b)
        return b.start()
    yield start
    for b in all_of_them:
        b.destroy()


def set_levels(b, **levels) -> list:
    """Levels by logger (None: the root's again; "_" for "."). The error and message of the answer."""
    configs = [{"name": name.replace("__", "-").replace("_", "."), "config_operation": DELETE if level is None else SET, "value": level}
               for name, level in levels.items()]
    answer = clients.ask_once(b, "IncrementalAlterConfigs", 1, {"resources": [
        {"resource_type": LOGGERS, "resource_name": "0", "configs": configs}], "validate_only": False})
    return [(r["error_code"], r["error_message"]) for r in answer["responses"]]


def levels(b) -> dict:
    answer = clients.ask_once(b, "DescribeConfigs", 4, {"resources": [
        {"resource_type": LOGGERS, "resource_name": "0", "configuration_keys": None}], "include_synonyms": False, "include_documentation": False})
    return {c["name"]: c["value"] for c in answer["results"][0]["configs"]}


# ---- form ----

def test_kafkas_form(started):
    b = started()
    b.create_topic(unique("t"))
    lines = b.said().splitlines()
    assert lines and all(LINE.match(line) for line in lines)


def test_json(started):
    b = started(ottla_log_format="json")
    wait_for(lambda: '"message":"listening"' in b.said(), 10, "what it says when it serves")
    lines = [json.loads(line) for line in b.said().splitlines()]
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    listening = next(line for line in lines if line["message"] == "listening")
    assert listening["fields"] == {"listener": "PLAINTEXT", "bootstrap.servers": b.bootstrap} and listening["logger"] == "broker"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", listening["time"])


# ---- the file ----

def test_file_is_opened_anew(started, tmp_path):
    path, moved = tmp_path / "server.log", tmp_path / "server.log.1"
    b = started(ottla_log_file=path)
    assert "started" in path.read_text() and b.said() == ""
    path.rename(moved)
    set_levels(b, root="WARN")
    set_levels(b, root="INFO")
    assert "log level set" in moved.read_text() and not path.exists()
    b.process.signal(signal.SIGHUP)
    wait_for(lambda: path.exists() and "log file opened again" in path.read_text(), 10, "the new file")
    before = moved.read_text()
    b.stop()
    assert path.read_text().endswith("stopped (broker)\n") and moved.read_text() == before


def test_file_that_cannot_be_opened(tmp_path):
    b = brokers.new_broker({"ottla.log.file": f"{tmp_path}/no/where"})
    try:
        status, said = b.start_refused(10)
        assert status == 1 and f"option ottla.log.file: cannot open {tmp_path}/no/where: No such file or directory" in said
    finally:
        b.destroy()


def test_file_that_cannot_be_opened_again(started, tmp_path):
    (tmp_path / "logs").mkdir()
    path = tmp_path / "logs" / "server.log"
    b = started(ottla_log_file=path)
    (tmp_path / "logs").rename(tmp_path / "gone")
    b.process.signal(signal.SIGHUP)
    wait_for(lambda: "cannot open the log file again" in (tmp_path / "gone" / "server.log").read_text(), 10, "a line that says so")


# ---- levels ----

def test_levels_while_it_runs(started):
    b = started()
    known = levels(b)
    assert known["root"] == known["controller"] == known["kafka.request.logger"] == "INFO"
    assert set_levels(b, controller="DEBUG", root="ERROR") == [(0, None)]
    assert levels(b) | {"root": "ERROR", "controller": "DEBUG", "storage": "ERROR"} == levels(b)
    before = b.said()
    b.create_topic(unique("t"))
    b.process.signal(signal.SIGHUP)
    assert set_levels(b, controller=None) == [(0, None)]
    assert levels(b)["controller"] == "ERROR"
    assert "(config)" not in b.said()[len(before):] and "(broker)" not in b.said()[len(before):]
    assert set_levels(b, nowhere="DEBUG") == [(40, "Logger nowhere does not exist!")]
    assert set_levels(b, root=None) == [(42, "Removing the log level of the root logger is not allowed")]
    assert "Valid log levels are" in set_levels(b, controller="LOUD")[0][1]


def test_names_of_kafka(started):
    """Of its loggers that people know."""
    b = started()
    assert set_levels(b, kafka_log_LogCleaner="DEBUG") == [(0, None)]
    assert levels(b)["kafka.log.LogCleaner"] == levels(b)["cleaner"] == "DEBUG" and levels(b)["kafka.controller"] == "INFO"
    assert set_levels(b, cleaner=None) == [(0, None)] and levels(b)["kafka.log.LogCleaner"] == "INFO"


def test_levels_at_the_start(started):
    b = started(ottla_log_level="ERROR", ottla_log_levels="broker=INFO, controller=WARN")
    assert levels(b) | {"root": "ERROR", "broker": "INFO", "controller": "WARN", "storage": "ERROR"} == levels(b)
    assert all(line.endswith("(broker)") for line in b.said().splitlines()) and "started" in b.said()


@pytest.mark.parametrize("text, words", [
    ("nowhere=INFO", 'there is no area "nowhere"'),
    ("broker=LOUD", '"broker=LOUD" is not area=LEVEL'),
    ("broker", '"broker" is not area=LEVEL'),
])
def test_levels_that_are_refused(text, words):
    b = brokers.new_broker({"ottla.log.levels": text})
    try:
        status, said = b.start_refused(10)
        assert status == 1 and f"option ottla.log.levels: {words}" in said
    finally:
        b.destroy()


# ---- requests ----

def test_a_line_for_each_request(started):
    b = started()
    assert "completed request" not in b.said()
    assert set_levels(b, kafka_request_logger="DEBUG") == [(0, None)]
    c = Connection("127.0.0.1", b.port)
    clients.ask(c, "Metadata", 5, {"topics": None, "allow_auto_topic_creation": False})

    def found():
        return [line for line in b.said().splitlines() if "completed request api=Metadata version=5 " in line]
    wait_for(found, 10, "the line of the request")
    assert re.search(r'correlation_id=\d+ client_id=".*" peer=/127\.0\.0\.1 listener=PLAINTEXT bytes=\d+ queue_us=\d+ local_us=\d+ '
                     r"remote_us=\d+ answered=true \(kafka\.request\.logger\)$", found()[0])
    assert set_levels(b, kafka_request_logger=None) == [(0, None)]
    before = len(found())
    clients.ask(c, "Metadata", 5, {"topics": None, "allow_auto_topic_creation": False})
    assert len(found()) == before


def test_a_client_cannot_forge_fields(started):
    b = started(ottla_log_format="json")
    assert set_levels(b, kafka_request_logger="DEBUG") == [(0, None)]
    api = APIS["Metadata"]
    names = {'x" peer=forged y="': 'x? peer=forged y=?', "\u20ac" * 1000: "\u20ac" * 85}
    c = Connection("127.0.0.1", b.port)
    for correlation, name in enumerate(names):
        frame = schema.encode_header(api.key, 5, correlation, name, False) + schema.encode_body(api, 5, {"topics": None, "allow_auto_topic_creation": False})
        c.send(len(frame).to_bytes(4, "big") + frame)
        assert c.frame(10)

    def told():
        lines = [json.loads(line) for line in b.said().splitlines()]
        return [line["fields"] for line in lines if line["logger"] == "kafka.request.logger" and line["fields"]["api"] == "Metadata"
                and line["fields"]["version"] == 5]
    wait_for(lambda: len(told()) == len(names), 10, "a line for each request")
    assert {f["client_id"]: f["peer"] for f in told()} == dict.fromkeys(names.values(), "/127.0.0.1")


# ---- floods ----

def test_flood(started):
    """What a client can provoke is bounded; that something was left out is said."""
    b = started(ottla_log_lines_per_second=5)
    c = Connection("127.0.0.1", b.port)

    def provoke():
        for _ in range(50):
            clients.ask(c, "IncrementalAlterConfigs", 1, {"resources": [{"resource_type": LOGGERS, "resource_name": "0", "configs": [
                {"name": "loop", "config_operation": SET, "value": "INFO"}]}], "validate_only": False})
        return "lines left out, there were too many count=" in b.said()
    wait_for(provoke, 10, "lines to be left out")
    assert b.said().count("log level set logger=loop") < 100
