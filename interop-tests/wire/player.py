"""Plays the cases of a file against a broker."""

import socket
import struct
import time
from dataclasses import dataclass

from . import schema
from .language import Case, CaseError, Parser, Scope, show

APIS = schema.load()
EXPECT_TIMEOUT_S = 15.0
AWAIT_TIMEOUT_S = 30.0

STEPS = {"producer": ["InitProducerId", "DescribeTransactions"], "begin": ["AddPartitionsToTxn"],
         "end": ["EndTxn", "DescribeTransactions"]}  # what the verbs use


class Skip(Exception):
    pass


class Closed(AssertionError):
    pass


@dataclass
class Pending:
    api: object
    version: int
    correlation: int
    sent_at: float


class Connection:
    def __init__(self, host: str, port: int, timeout_s: float = EXPECT_TIMEOUT_S):
        self.socket = socket.create_connection((host, port), timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending = []
        self.buffer = bytearray()
        self.correlation = 0

    def send(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # closed already; the expectation that follows tells

    def _fill(self, deadline: float) -> bool:
        """Reads some more; False when the peer has closed."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.socket.settimeout(left)
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionResetError:
            return False
        self.buffer += data
        return bool(data)

    def frame(self, timeout_s: float) -> bytes:
        deadline = time.monotonic() + timeout_s
        try:
            while True:
                if len(self.buffer) >= 4:
                    (length,) = struct.unpack_from(">i", self.buffer)
                    if len(self.buffer) >= 4 + length:
                        frame = bytes(self.buffer[4:4 + length])
                        del self.buffer[:4 + length]
                        return frame
                if not self._fill(deadline):
                    raise Closed("the broker closed the connection; an answer was expected")
        except TimeoutError:
            raise AssertionError(f"no answer within {timeout_s:g} s") from None

    def closed(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        try:
            while self._fill(deadline):
                raise AssertionError(f"the connection should be closed, but there came x\"{self.buffer[:60].hex()}\"")
        except TimeoutError:
            raise AssertionError(f"the connection was not closed within {timeout_s:g} s") from None
        assert not self.buffer, f"bytes came before the close: x\"{self.buffer[:60].hex()}\""

    def silent(self, duration_s: float) -> None:
        try:
            if self._fill(time.monotonic() + duration_s):
                raise AssertionError(f"silence was expected, but there came x\"{self.buffer[:60].hex()}\"")
            raise AssertionError("silence was expected, but the connection was closed")
        except TimeoutError:
            assert not self.buffer, f"silence was expected, but there came x\"{self.buffer[:60].hex()}\""

    def close(self) -> None:
        self.socket.close()


class Player:
    """One case against one broker; kind is kafka or ottla and chooses between marked expectations."""

    def __init__(self, host: str, port: int, kind: str, verbose: bool = False):
        self.host, self.port, self.kind, self.verbose = host, port, kind, verbose
        self.offered = None

    def play(self, case: Case) -> None:
        """Raises AssertionError (failed), Skip, or CaseError."""
        self.scope = Scope(APIS)
        self.scope.vars.update(host=self.host, port=self.port)
        self.connections = {}
        self.producers, self.sequences = {}, {}  # of begin, write, end
        self.last_answer = None
        if case.needs is not None:
            self._skip_if_not_offered(case)
        try:
            for s in case.statements:
                if s.only and s.only != self.kind:
                    continue
                parser = Parser(s.tokens)
                try:
                    getattr(self, "do_" + s.verb, self._unknown)(parser)
                    if not parser.done():
                        raise CaseError(f"{parser.peek()[1]!r} is left over")
                except (AssertionError, CaseError, schema.Malformed, OSError, struct.error, TypeError, ValueError,
                        LookupError) as e:
                    # A broker that talks nonsense or is gone has failed; a value that cannot be is the case's fault.
                    kind = AssertionError if isinstance(e, (AssertionError, schema.Malformed, OSError)) else CaseError
                    text = f"line {s.line}, {s.verb}: {e}"
                    if self.last_answer is not None:
                        text += f"\n    the last answer was {show(self.last_answer, 1500)}"
                    raise kind(text) from None
        finally:
            for connection in self.connections.values():
                connection.close()

    def _skip_if_not_offered(self, case: Case) -> None:
        if self.offered is None:
            connection = Connection(self.host, self.port)
            connection.send(struct.pack(">ihhih", 10, 18, 0, 1, -1))
            _, answer = schema.decode_response(APIS[18], 0, connection.frame(EXPECT_TIMEOUT_S))
            connection.close()
            self.offered = {a["api_key"] for a in answer["api_keys"]}
        used = [text for s in case.statements if s.verb in ("call", "send", "await", "repeat") for kind, text in s.tokens
                if kind == "name" and text in APIS]
        used += [name for s in case.statements for name in STEPS.get(s.verb, [])]
        for name in case.needs + used:
            if APIS[name].key not in self.offered:
                raise Skip(f"{name} is not offered")

    def _unknown(self, parser):
        raise CaseError("no such verb")

    def _connection(self, parser: Parser) -> Connection:
        name = parser.next() if parser.peek()[0] == "conn" else "@0"
        if name not in self.connections:
            self.connections[name] = Connection(self.host, self.port)
        return self.connections[name]

    def _api_and_version(self, parser: Parser) -> tuple:
        name = parser.next("name")
        if name not in APIS:
            raise CaseError(f"no API {name}")
        word = parser.next("name")
        if word == "v" and parser.peek()[0] == "number":
            return APIS[name], int(parser.next())
        if not word.startswith("v") or not word[1:].isdigit():
            raise CaseError(f"a version like v3 is expected, found {word!r}")
        return APIS[name], int(word[1:])

    def _request(self, connection: Connection, parser: Parser) -> bytes:
        """Reads `Api vN {fields} modifiers`, notes the expected answer, returns the frame with its length."""
        api, version = self._api_and_version(parser)
        values = parser.expression() if parser.peek("{") else None
        connection.correlation += 1
        modifiers = {"corr": connection.correlation, "client": "wire", "tail": b"", "tags": b"\0", "body": None, "cut": None}
        answered = True
        while parser.peek()[0] == "name":
            word = parser.next()
            if word == "unanswered":
                answered = False
                continue
            if word not in modifiers:
                raise CaseError(f"no modifier {word}")
            parser.next(text="=")
            modifiers[word] = self.scope.eval(parser.expression())
        body = modifiers["body"]
        if body is None:
            body = schema.encode_body(api, version, self.scope.eval(values) if values else {})
        flexible = version in api.flexible
        frame = schema.encode_header(api.key, version, modifiers["corr"], modifiers["client"], flexible,
                                     modifiers["tags"]) + body + modifiers["tail"]
        if modifiers["cut"] is not None:
            frame = frame[:modifiers["cut"]]
        if self.verbose:
            print(f"> {api.name} v{version} {show(self.scope.eval(values) if values else {}, 4000)}\n  {frame.hex()}")
        if answered:
            connection.pending.append(Pending(api, version, modifiers["corr"], time.monotonic()))
        return struct.pack(">i", len(frame)) + frame

    def _answer(self, connection: Connection, timeout_s: float, as_version: int | None = None) -> tuple:
        if not connection.pending:
            raise CaseError("no request is waiting for an answer")
        frame = connection.frame(timeout_s)
        pending = connection.pending.pop(0)
        version = pending.version if as_version is None else as_version
        correlation, values = schema.decode_response(pending.api, version, frame)
        self.last_answer = values
        if self.verbose:
            print(f"< {pending.api.name} v{version} {show(values, 4000)}\n  {frame.hex()}")
        assert correlation == pending.correlation, f"correlation id {correlation}, expected {pending.correlation}"
        return values, time.monotonic() - pending.sent_at

    # --- verbs

    def do_connect(self, parser):
        self._connection(parser)

    def do_disconnect(self, parser):
        name = parser.next("conn")
        self.connections.pop(name).close()

    def do_let(self, parser):
        name = parser.next("var")[1:]
        parser.next(text="=")
        self.scope.vars[name] = self.scope.eval(parser.expression())

    def do_skip(self, parser):
        raise Skip(self.scope.eval(parser.expression()))

    def do_send(self, parser):
        """send [@c] Api vN {…}; several requests joined by => travel in one write."""
        connection = self._connection(parser)
        data = self._request(connection, parser)
        while parser.accept("=>"):
            data += self._request(connection, parser)
        connection.send(data)

    def do_raw(self, parser):
        self._connection(parser).send(self._bytes(parser))

    def _bytes(self, parser) -> bytes:
        data = self.scope.eval(parser.expression())
        return data.encode() if isinstance(data, str) else data

    def do_frame(self, parser):
        connection = self._connection(parser)
        data = self._bytes(parser)
        connection.send(struct.pack(">i", len(data)) + data)

    def do_expect(self, parser):
        """expect [@c] [as vN] [within MS] [after MS] pattern   or   expect [@c] bytes EXPRESSION"""
        connection = self._connection(parser)
        timeout_s, after_s, as_version = EXPECT_TIMEOUT_S, 0.0, None
        while parser.peek()[0] == "name":
            word = parser.next()
            if word == "as":
                as_version = int(parser.next("name")[1:])
            elif word == "within":
                timeout_s = int(parser.next("number")) / 1000
            elif word == "after":
                after_s = int(parser.next("number")) / 1000
            elif word == "bytes":
                expected = self.scope.eval(parser.expression())
                frame = connection.frame(timeout_s)
                if connection.pending:
                    connection.pending.pop(0)
                assert frame == expected, f"x\"{frame.hex()}\", expected x\"{expected.hex()}\""
                return
            else:
                raise CaseError(f"no such word {word}")
        values, took_s = self._answer(connection, timeout_s, as_version)
        self.scope.match(parser.expression(), values)
        assert took_s >= after_s - 0.005, f"answered after {took_s * 1000:.0f} ms, not before {after_s * 1000:.0f} expected"

    def do_call(self, parser):
        """call [@c] Api vN {…} => pattern"""
        connection = self._connection(parser)
        connection.send(self._request(connection, parser))
        parser.next(text="=>")
        values, _ = self._answer(connection, EXPECT_TIMEOUT_S)
        self.scope.match(parser.expression(), values)

    def do_repeat(self, parser):
        """repeat N [@c] Api vN {…} => pattern: the same request N times, many under way; every answer has to fit."""
        left = int(parser.next("number"))
        connection = self._connection(parser)
        start = parser.at
        while left:
            many = min(left, 500)
            data = b""
            for _ in range(many):
                parser.at = start
                data += self._request(connection, parser)
            parser.next(text="=>")
            pattern = parser.expression()
            connection.send(data)
            for _ in range(many):
                values, _ = self._answer(connection, EXPECT_TIMEOUT_S)
                self.scope.match(pattern, values)
            left -= many

    def do_await(self, parser):
        """await [@c] Api vN {…} => pattern: asks again until the answer fits."""
        connection = self._connection(parser)
        start, deadline = parser.at, time.monotonic() + AWAIT_TIMEOUT_S
        while True:
            parser.at = start
            data = self._request(connection, parser)
            parser.next(text="=>")
            pattern = parser.expression()
            connection.send(data)
            values, _ = self._answer(connection, EXPECT_TIMEOUT_S)
            known = dict(self.scope.vars)
            try:
                return self.scope.match(pattern, values)
            except AssertionError as e:
                self.scope.vars = known
                if time.monotonic() > deadline:
                    raise AssertionError(f"not within {AWAIT_TIMEOUT_S:g} s: {e}") from None
            time.sleep(0.03)

    def do_close(self, parser):
        connection = self._connection(parser)
        connection.closed(EXPECT_TIMEOUT_S)

    def do_open(self, parser):
        """The connection still works: an ApiVersions round trip, after every answer that was due."""
        connection = self._connection(parser)
        if connection.pending:
            raise CaseError("there are answers not looked at yet")
        connection.send(struct.pack(">ihhih", 10, 18, 0, 0x7E57, -1))
        frame = connection.frame(EXPECT_TIMEOUT_S)
        assert frame[:6] == struct.pack(">ih", 0x7E57, 0), f"ApiVersions was answered with x\"{frame[:40].hex()}\""

    def do_fill(self, parser):
        """fill N: opens @fill0, @fill1 … until one is closed without a byte; at most N may work, at least N - 3."""
        limit = int(parser.next("number"))
        for opened in range(limit + 1):
            connection = Connection(self.host, self.port)
            connection.send(struct.pack(">ihhih", 10, 18, 0, 0x7E57, -1))
            try:
                connection.frame(EXPECT_TIMEOUT_S)
            except Closed:
                assert not connection.buffer, "bytes came before the close"
                connection.close()
                assert opened >= limit - 3, f"only {opened} connections of {limit} work"
                return
            self.connections[f"@fill{opened}"] = connection
        raise AssertionError(f"more than {limit} connections work")

    def do_retryopen(self, parser):
        """retryopen @c: connects until a new connection is not closed but works."""
        name, deadline = parser.next("conn"), time.monotonic() + EXPECT_TIMEOUT_S
        while True:
            connection = Connection(self.host, self.port)
            connection.send(struct.pack(">ihhih", 10, 18, 0, 0x7E57, -1))
            try:
                connection.frame(EXPECT_TIMEOUT_S)
                self.connections[name] = connection
                return
            except Closed:
                connection.close()
                assert time.monotonic() < deadline, "every new connection is closed"
            time.sleep(0.02)

    def do_silence(self, parser):
        """silence [@c] MS"""
        connection = self._connection(parser)
        connection.silent(int(parser.next("number")) / 1000)

    def do_topic(self, parser):
        """topic NAME [{partitions: n, configs: {…}}]: creates a topic and waits until its leaders are known."""
        name = self.scope.eval(parser.term())
        options = self.scope.eval(parser.expression()) if parser.peek("{") else {}
        partitions = options.get("partitions", 1)
        self._setup("CreateTopics", 5, {
            "topics": [{"name": name, "num_partitions": partitions, "replication_factor": 1,
                        "configs": [{"name": k, "value": str(v)} for k, v in options.get("configs", {}).items()]}],
            "timeout_ms": 10000}, lambda a: a["topics"][0]["error_code"] == 0)
        answer = self._setup("Metadata", 12, {"topics": [{"name": name}], "allow_auto_topic_creation": False},
                             lambda a: a["topics"][0]["error_code"] == 0
                             and len(a["topics"][0]["partitions"]) == partitions
                             and all(p["error_code"] == 0 for p in a["topics"][0]["partitions"]))
        self.scope.vars[options.get("id", "topic_id")] = answer["topics"][0]["topic_id"]

    def do_coordinator(self, parser):
        """coordinator GROUP: waits until the group's coordinator is there."""
        group = self.scope.eval(parser.term())
        self._setup("FindCoordinator", 3, {"key": group, "key_type": 0}, lambda a: a["error_code"] == 0)
        self._setup("Heartbeat", 0, {"group_id": group + "-probe", "generation_id": 1, "member_id": "x"},
                    lambda a: a["error_code"] == 25)

    def do_epoch(self, parser):
        """epoch: the broker's own epoch, which nobody tells; requests to an earlier life are refused. Goes to
        $broker_epoch."""
        low, high = 0, (1 << 63) - 1  # refused; not refused
        while low + 1 < high:
            epoch = (low + high) // 2
            answer = self._setup("StopReplica", 3, {"controller_id": 0, "controller_epoch": 1, "broker_epoch": epoch,
                                                    "topic_states": []}, lambda a: a["error_code"] in (0, 77))
            low, high = (epoch, high) if answer["error_code"] == 77 else (low, epoch)
        self.scope.vars["broker_epoch"] = high

    # A transaction that is the ground of a case and not its subject.

    def do_producer(self, parser):
        """producer TXN [{timeout_ms: n, as: "X"}]: InitProducerId for this transactional id; its producer id and epoch
        go to $pid and $epoch, or to $pidX and $epochX."""
        txn = self.scope.eval(parser.term())
        options = self.scope.eval(parser.expression()) if parser.peek("{") else {}
        self._setup("FindCoordinator", 3, {"key": txn, "key_type": 1}, lambda a: a["error_code"] == 0)
        answer = self._step("InitProducerId", 4, {
            "transactional_id": txn, "transaction_timeout_ms": options.get("timeout_ms", 60000)},
            lambda a: a["error_code"])
        # The coordinators of other ids may take longer to be there.
        self._setup("DescribeTransactions", 0, {"transactional_ids": [f"probe-{i}" for i in range(10)]},
                    lambda a: all(t["error_code"] == 105 for t in a["transaction_states"]))
        self.producers[txn] = answer["producer_id"], answer["producer_epoch"]
        suffix = options.get("as", "")
        self.scope.vars["pid" + suffix], self.scope.vars["epoch" + suffix] = self.producers[txn]

    def do_begin(self, parser):
        """begin TXN TOPIC [PARTITION …]: adds partitions, 0 without any, to the transaction of its `producer`."""
        txn, topic = self.scope.eval(parser.term()), self.scope.eval(parser.term())
        partitions = []
        while not parser.done():
            partitions.append(self.scope.eval(parser.term()))
        pid, epoch = self.producers[txn]
        self._step("AddPartitionsToTxn", 3, {
            "v3_and_below_transactional_id": txn, "v3_and_below_producer_id": pid, "v3_and_below_producer_epoch": epoch,
            "v3_and_below_topics": [{"name": topic, "partitions": partitions or [0]}]},
            lambda a: next((p["partition_error_code"] for t in a["results_by_topic_v3_and_below"]
                            for p in t["results_by_partition"] if p["partition_error_code"]), 0))

    def do_write(self, parser):
        """write TXN TOPIC [{partition: n, … as batch() has it}]: a transactional batch, the sequence being counted. Its
        offset goes to $offset."""
        txn, topic = self.scope.eval(parser.term()), self.scope.eval(parser.term())
        fields = self.scope.eval(parser.expression()) if parser.peek("{") else {}
        partition = fields.pop("partition", 0)
        pid, epoch = self.producers[txn]
        key = pid, epoch, topic, partition
        sequence = self.sequences.get(key, 0)
        batch = self.scope.f_batch({"attributes": 0x10, "producer_id": pid, "producer_epoch": epoch,
                                    "base_sequence": sequence, **fields})
        answer = self._step("Produce", 9, {
            "transactional_id": txn, "acks": -1, "timeout_ms": 5000,
            "topic_data": [{"name": topic, "partition_data": [{"index": partition, "records": batch}]}]},
            lambda a: a["responses"][0]["partition_responses"][0]["error_code"])
        self.sequences[key] = sequence + len(fields.get("records", ["v"]))
        self.scope.vars["offset"] = answer["responses"][0]["partition_responses"][0]["base_offset"]

    def do_end(self, parser):
        """end TXN commit|abort: ends the transaction and waits until its coordinator shows it complete."""
        txn = self.scope.eval(parser.term())
        committed = {"commit": True, "abort": False}[parser.next("name")]
        pid, epoch = self.producers[txn]
        self._step("EndTxn", 3, {"transactional_id": txn, "producer_id": pid, "producer_epoch": epoch,
                                 "committed": committed}, lambda a: a["error_code"])
        self._setup("DescribeTransactions", 0, {"transactional_ids": [txn]},
                    lambda a: a["transaction_states"][0]["transaction_state"] ==
                    ("CompleteCommit" if committed else "CompleteAbort"))

    def _step(self, name, version, values, error):
        """As _setup(); only what clients try again is tried again."""
        answer = self._setup(name, version, values, lambda a: error(a) not in (14, 15, 16, 19, 51))
        assert error(answer) == 0, f"{name} answers {show(answer)}"
        return answer

    def _setup(self, name, version, values, good):
        connection = self.connections.setdefault("@setup", None) or Connection(self.host, self.port)
        self.connections["@setup"] = connection
        api, deadline = APIS[name], time.monotonic() + AWAIT_TIMEOUT_S
        while True:
            connection.correlation += 1
            frame = schema.encode_header(api.key, version, connection.correlation, "wire-setup",
                                         version in api.flexible) + schema.encode_body(api, version, values)
            connection.send(struct.pack(">i", len(frame)) + frame)
            _, answer = schema.decode_response(api, version, connection.frame(EXPECT_TIMEOUT_S))
            if good(answer):
                return answer
            assert time.monotonic() < deadline, f"{name} answers {show(answer)}"
            time.sleep(0.03)
