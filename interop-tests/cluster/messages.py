"""What brokers said to each other while something happened, in a form that two clusters have in common, and where one
differs from the other.

The form is a set of lines for each pair of brokers, "who asks > who is asked": a line is the head of a request, one
partition in it, or one of the brokers it says to live, each with every field that is there, and what was answered. A
set, since it is free in which order brokers are told, how partitions are spread over requests, and whether something
is said twice; what is not free of the order is out_of_order()'s. Numbers that depend on what was before are relative to it:

    brokers         by what they are in the scenario: C the controller, N the next one, A, B the others
    topics          their name without the number that makes it unique; "topic id" is right when it is ZooKeeper's
    partitions      by their topic and replicas: t[A,B,C]
    epochs          of leaders, partitions, controllers: +1 is one more than ZooKeeper had when the scenario began, 0 is
                    less than that; a partition's controller epoch is "now" when it is that of the request
    broker epochs   "current" that of the broker's last life in the scenario, "before" that of an earlier one, "none" -1
    addresses       by whose listener they are

What three Apache brokers say is kept in messages/<scenario>.txt; ALLOWED is what may be otherwise with ours.
"""

import base64
import collections
import datetime
import pathlib
import re
from dataclasses import dataclass, field

from harness import paths
from harness.jvm import KAFKA_VERSION

from .listener_proxy import CONTROL

ASKED = {"ControlledShutdown", "AlterPartition", "AllocateProducerIds"}
FOLLOWING = {"Fetch", "ListOffsets", "OffsetForLeaderEpoch"}
GOLDEN = pathlib.Path(__file__).parent / "messages"
SOMETIMES = "? "
LEADER_DURING_DELETE = -2


@dataclass(frozen=True)
class Line:
    sender: str
    receiver: str
    text: str

    def __str__(self) -> str:
        return f"{self.sender} > {self.receiver}  {self.text}"


@dataclass
class Partition:
    label: str
    leader_epoch: int
    partition_epoch: int
    is_new: bool = False  # it was not there when the scenario began


@dataclass
class Names:
    """What the numbers and names of a scenario are called."""

    brokers: dict = field(default_factory=dict)  # id -> letter
    partitions: dict = field(default_factory=dict)  # (topic, number) -> Partition
    topic_ids: dict = field(default_factory=dict)  # topic -> its id in ZooKeeper
    addresses: dict = field(default_factory=dict)  # (host, port) -> "clients of 0"
    controller_epoch: int = 0
    broker_epochs: dict = field(default_factory=dict)  # id -> its epochs in this scenario, in order

    def broker(self, number: int) -> str:
        return self.brokers.get(number, str(number))

    def partition(self, topic: str, number: int) -> Partition:
        return self.partitions.get((topic, number)) or Partition(f"{topic}-{number}", 0, 0)

    def partition_by_id(self, topic_id: bytes, number: int) -> Partition:
        return self.partition(self.topic_of(topic_id), number)

    def topic_of(self, topic_id: bytes) -> str:
        return next((name for name, known in self.topic_ids.items() if known == topic_id), topic_id.hex())

    def topic_id(self, topic: str, said: bytes) -> str:
        return "right" if said == self.topic_ids.get(topic) else "none" if not any(said) else "wrong"

    def broker_epoch(self, broker: int, said: int) -> str:
        known = self.broker_epochs.get(broker, [])
        if said == -1:
            return "none"
        if said not in known:
            return "unknown"
        return "current" if said == known[-1] else "before"

    def address(self, host: str, port: int) -> str:
        of, _, broker = self.addresses.get((host, port), f"{host}:{port} of ?").rpartition(" ")
        return f"{of} {self.broker(int(broker)) if broker.isdigit() else broker}"


class Rendering:
    """Messages to lines."""

    def __init__(self, names: Names):
        self._names = names
        self.lines = set()

    def add(self, message) -> None:
        getattr(self, "_" + message.api.name)(message)

    def _put(self, message, text: str) -> None:
        if message.api.name in FOLLOWING:
            pair = "follower", "leader"
        else:
            pair = self._names.broker(message.sender), self._names.broker(message.receiver)
        self.lines.add(Line(*pair, f"{message.api.name} {text}"))

    # --- fields

    def _ids(self, ids: list) -> str:
        return ",".join(self._names.broker(n) for n in ids) or "nobody"

    def _value(self, name: str, value, partition: Partition | None) -> str:
        if name in ("controller_id", "broker_id", "leader", "leader_id", "id", "replica_id"):
            return self._names.broker(value)
        if name in ("isr", "new_isr", "replicas", "adding_replicas", "removing_replicas", "offline_replicas"):
            return self._ids(value)
        if name in ("leader_epoch", "current_leader_epoch", "last_fetched_epoch"):
            return _relative(value, partition.leader_epoch)
        if name in ("partition_epoch", "zk_version"):
            return _relative(value, partition.partition_epoch)
        if isinstance(value, bytes):
            return value.hex() if any(value) else "zeros"
        return str(value).lower() if isinstance(value, bool) else str(value)

    def _fields(self, values: dict, without: tuple = (), partition: Partition | None = None) -> str:
        return " ".join(f"{name}={self._value(name, value, partition)}" for name, value in values.items()
                        if name not in without)

    def _head(self, message, *lists: str) -> None:
        """A request without its lists. Its brokers are who is asked (from a controller) or who asks."""
        r = message.request
        epoch_of = message.receiver if message.api.name in CONTROL else message.sender
        words = [f"v{message.version} client={re.sub('[0-9]+', lambda m: self._names.broker(int(m[0])), message.client, count=1)}"]
        for name, value in r.items():
            if name == "broker_epoch":
                value = self._names.broker_epoch(epoch_of, value)
            elif name == "controller_epoch":
                value = _relative(value, self._names.controller_epoch)
            elif name in lists:
                value = "some" if value else "none"
            else:
                value = self._value(name, value, None)
            words.append(f"{name}={value}")
        self._put(message, f"{' '.join(words)} -> {message.answer['error_code']}")

    # --- the controller's

    def _partition_fields(self, message, topic: dict, p: dict) -> str:
        partition = self._names.partition(topic["topic_name"], p["partition_index"])
        now = p["controller_epoch"] == message.request["controller_epoch"]
        return (f"{partition.label} topic_id={self._names.topic_id(topic['topic_name'], topic['topic_id'])} "
                f"controller_epoch={'now' if now else 'before'} "
                + self._fields(p, ("partition_index", "controller_epoch"), partition))

    def _LeaderAndIsr(self, message) -> None:
        r = message.request
        self._head(message, "topic_states", "live_leaders")
        told = {b["broker_id"]: self._names.address(b["host_name"], b["port"]) for b in r["live_leaders"]}
        errors = {(t["topic_id"], p["partition_index"]): p["error_code"]
                  for t in message.answer["topics"] for p in t["partition_errors"]}
        leaders = set()
        for topic in r["topic_states"]:
            for p in topic["partition_states"]:
                leaders.add(p["leader"])
                self._put(message, f"{self._partition_fields(message, topic, p)} "
                          f"leader_at=\"{told.get(p['leader'], 'not told')}\" "
                          f"-> {errors.get((topic['topic_id'], p['partition_index']), 'nothing')}")
        for other in set(told) - leaders:
            self._put(message, f"live leader that leads nothing: {self._names.broker(other)}")

    def _UpdateMetadata(self, message) -> None:
        r = message.request
        self._head(message, "topic_states", "live_brokers")
        self._put(message, f"lives: {','.join(sorted(self._names.broker(b['id']) for b in r['live_brokers']))}")
        for b in r["live_brokers"]:
            endpoints = sorted(f"{e['listener']}={self._names.address(e['host'], e['port'])} "
                               f"security_protocol={e['security_protocol']}" for e in b["endpoints"])
            rack = "its own" if b["rack"] == f"rack-{b['id']}" else b["rack"]
            self._put(message, f"broker {self._names.broker(b['id'])}: {'; '.join(endpoints)}; rack {rack}")
        for topic in r["topic_states"]:
            for p in topic["partition_states"]:
                self._put(message, self._partition_fields(message, topic, p))

    def _StopReplica(self, message) -> None:
        self._head(message, "topic_states")
        errors = {(p["topic_name"], p["partition_index"]): p["error_code"] for p in message.answer["partition_errors"]}
        for topic in message.request["topic_states"]:
            for p in topic["partition_states"]:
                partition = self._names.partition(topic["topic_name"], p["partition_index"])
                self._put(message, f"{partition.label} {self._fields(p, ('partition_index',), partition)} "
                          f"-> {errors.get((topic['topic_name'], p['partition_index']), 'nothing')}")

    # --- what the controller is asked

    def _ControlledShutdown(self, message) -> None:
        self._head(message)
        remaining = sorted(self._names.partition(p["topic_name"], p["partition_index"]).label
                           for p in message.answer["remaining_partitions"])
        self._put(message, f"-> remaining: {' '.join(remaining) or 'none'}")

    def _AllocateProducerIds(self, message) -> None:
        self._head(message)
        start, count = message.answer["producer_id_start"], message.answer["producer_id_len"]
        self._put(message, f"-> {count} from a multiple of 1000" if start % 1000 == 0 else f"-> {count} from {start}")

    def _member(self, broker: int, epoch: int) -> str:
        """Ours tell in which life they know it (KIP-903), Apache's tell that to a KRaft controller alone."""
        said = self._names.broker_epoch(broker, epoch)
        return f"{self._names.broker(broker)}(epoch {-1 if said in ('none', 'current') else said})"

    def _AlterPartition(self, message) -> None:
        self._head(message, "topics")
        if message.answer["error_code"] != 0:
            return  # all of it is asked again elsewhere; how much was asked here is a matter of time
        answers = {(t["topic_id"], p["partition_index"]): p
                   for t in message.answer["topics"] for p in t["partitions"]}
        for topic in message.request["topics"]:
            for p in topic["partitions"]:
                partition = self._names.partition_by_id(topic["topic_id"], p["partition_index"])
                isr = [self._member(m["broker_id"], m["broker_epoch"]) for m in p["new_isr_with_epochs"]]
                answer = answers.get((topic["topic_id"], p["partition_index"]))
                said = self._fields(answer, ("partition_index",), partition) if answer else "nothing"
                self._put(message, f"{partition.label} {self._fields(p, ('partition_index', 'new_isr_with_epochs'), partition)} "
                          f"new_isr={','.join(isr)} -> {said}")

    # --- of followers: the shape only, since how often and from where they ask is nobody's business

    def _ApiVersions(self, message) -> None:
        r = message.request
        self._put(message, f"v{message.version} client={'its id' if message.client == str(message.sender) else message.client} "
                  f"name={r.get('client_software_name')} -> {message.answer['error_code']}")

    def _Fetch(self, message) -> None:
        r = message.request
        own = self._names.broker_epochs.get(message.sender, [])
        state = r.get("replica_state") or {}
        client = message.client.replace(f"broker-{message.sender}-", "broker-<id>-")
        head = self._fields(r, ("replica_state", "session_id", "session_epoch", "topics", "forgotten_topics_data"))
        self._put(message, f"v{message.version} client={client} {head} replica_id="
                  f"{'its own' if state.get('replica_id') == message.sender else state.get('replica_id')} "
                  f"replica_epoch={'its own' if state.get('replica_epoch') in own else 'another'}")
        begins = r["session_id"] == 0 or r["session_epoch"] == 0  # with 0 the id says only which one ends (KIP-227)
        self._put(message, f"session {'0' if begins else 'n'}/{'0' if r['session_epoch'] == 0 else 'k'}, "
                  f"{'some' if r['topics'] else 'no'} partitions")
        for topic in r["topics"]:
            for p in topic["partitions"]:
                partition = self._names.partition_by_id(topic["topic_id"], p["partition"])
                where = "at 0" if p["fetch_offset"] == 0 else "at an offset"
                last = "none" if p["last_fetched_epoch"] == -1 else "an epoch"
                rest = self._fields(p, ("partition", "current_leader_epoch", "fetch_offset", "last_fetched_epoch"), partition)
                self._put(message, f"partition {where} last_fetched_epoch={last} {rest}")

    def _ListOffsets(self, message) -> None:
        for topic in message.request["topics"]:
            for p in topic["partitions"]:
                self._put(message, f"v{message.version} timestamp={p['timestamp']}")

    def _OffsetForLeaderEpoch(self, message) -> None:
        self._put(message, f"v{message.version}")


def _relative(value: int, base: int) -> str:
    return f"+{value - base}" if value >= base else str(value)


def lines(messages: list, names: Names, apis: set) -> set:
    """Of those that were answered."""
    rendering = Rendering(names)
    for message in messages:
        if message.answer is not None and message.api.name in apis:
            rendering.add(message)
    return rendering.lines


# --- the order


class _Told:
    """What one broker has been told by one controller, of each partition."""

    def __init__(self):
        self.epochs = {}  # (API, partition) -> the newest leader epoch
        self.stopped = set()

    def takes(self, api: str, partition: tuple, epoch: int) -> bool:
        """False: it goes back."""
        before = self.epochs.get((api, partition), epoch)
        self.epochs[api, partition] = max(epoch, before)
        return epoch >= before

    def has_taken(self, api: str, partition: tuple, epoch: int) -> bool:
        return self.epochs.get((api, partition), -1) >= epoch


def out_of_order(messages: list, names: Names) -> list:
    """What one controller has told one broker in a wrong order: an epoch that goes back; of an epoch that is new to it,
    first where the leader is and then its role (unless it has come in the meantime, and learns first what there is);
    to delete what it was not asked to stop."""
    told, wrong = collections.defaultdict(_Told), []

    def complain(message, partition: tuple, what: str) -> None:
        wrong.append(f"{names.broker(message.sender)} > {names.broker(message.receiver)}  "
                     f"{names.partition(*partition).label}: {what}")

    for message in messages:
        api, pair = message.api.name, told[message.sender, message.receiver]
        if api not in CONTROL:
            continue
        has_come = len(names.broker_epochs.get(message.receiver, [])) != 1
        for topic in message.request["topic_states"]:
            for p in topic["partition_states"]:
                partition, epoch = (topic["topic_name"], p["partition_index"]), p["leader_epoch"]
                if api == "StopReplica":
                    if p["delete_partition"] and partition not in pair.stopped:
                        complain(message, partition, "deleted, and was not stopped")
                    pair.stopped.add(partition)
                    continue
                if p["leader"] == LEADER_DURING_DELETE:
                    continue
                known = names.partition(*partition)
                is_news = epoch > known.leader_epoch or known.is_new
                if api == "LeaderAndIsr" and is_news and not has_come and pair.has_taken("UpdateMetadata", partition, epoch) \
                        and not pair.has_taken(api, partition, epoch):
                    complain(message, partition, f"metadata of epoch {epoch} before the role")
                if not pair.takes(api, partition, epoch):
                    complain(message, partition, f"{api} goes back to epoch {epoch}")
    return wrong


# --- beside Apache's


@dataclass(frozen=True)
class Allowed:
    """A difference that is meant: lines that only Apache's brokers say ("-"), or that ours say besides ("+").

    counterpart: (pattern, replacement), which makes of such a line one to the same broker that the other side does say.
    """

    sign: str
    scenarios: str
    line: str
    why: str
    counterpart: tuple | None = None
    sometimes: bool = False  # not in every run

    def fits(self, scenario: str, sign: str, line: Line, other_side: set) -> bool:
        if sign != self.sign or not re.fullmatch(self.scenarios, scenario) or not re.search(self.line, str(line)):
            return False
        said = {(other.receiver, other.text) for other in other_side}
        return not self.counterpart or (line.receiver, re.sub(*self.counterpart, line.text)) in said


ALLOWED = [
    Allowed("-", ".*", r"LeaderAndIsr .* -> 11$",
            "what a broker has been told, and has answered, is not told again", (" -> 11$", " -> 0")),
    Allowed("-", "broker out of sync dies", r"LeaderAndIsr .* leader_epoch=\+0 .* partition_epoch=\+0 .* -> 11$",
            "nor what it has been told before"),
    Allowed("-", "controller .*", r"(LeaderAndIsr|UpdateMetadata) .* controller_epoch=now ",
            "a new controller repeats states as they are in ZooKeeper; Apache's repeats them once more, with its own "
            "epoch in them, though it has not written them", ("controller_epoch=now", "controller_epoch=before")),
    Allowed("+", "controller .* and is back", r"(LeaderAndIsr|UpdateMetadata) .* controller_epoch=before ",
            "and that is the epoch they keep", ("controller_epoch=before", "controller_epoch=now")),
    Allowed("+", ".*", r"UpdateMetadata v8 .* topic_states=none ",
            "who lives is told before anything is decided, in a message of its own",
            ("topic_states=none", "topic_states=some")),
    Allowed("-", "(.* back.*|bounce|session expires)", r"(LeaderAndIsr|UpdateMetadata) .*\bleader=-1 ",
            "of each partition the newest state is told: a broker that has come is not told that nobody leads what it is "
            "about to lead, or to delete"),
    Allowed("-", "controller (dies|shuts down)", r"(LeaderAndIsr|UpdateMetadata) .*\bleader=-1 ",
            "nor is one that has not answered yet what it was told before: it hears who leads then", sometimes=True),
    Allowed("-", "controller (dies|shuts down)",
            r"N > F  UpdateMetadata .* controller_epoch=before .* leader_epoch=\+0 .* offline_replicas=C$",
            "nor of the state before", sometimes=True),
    Allowed("-", "broker is back after a shutdown",
            r"C > B  UpdateMetadata t\[.* leader_epoch=\+0 isr=(A,C|C,A) zk_version=\+0 .* offline_replicas=nobody$",
            "nor that it is not in sync, when it is by the time that it answers", sometimes=True),
    Allowed("-", "broker is back after its death", r"UpdateMetadata w\[.* leader=-2 ",
            "that a topic is deleted is told once, and not to a broker that has come and never knew of it"),
    Allowed("-", "controller .* and is back", r"> C  AlterPartition .* -> 41$",
            "leaders know who is controller when they have been told; Apache's keep the connection to a former one, and "
            "ask there first"),
    Allowed("+", "controller (dies|shuts down)", r"N > F  UpdateMetadata v\[C\] .* leader=C .* offline_replicas=C$",
            "a new controller tells all that is in ZooKeeper, also of partitions whose replicas are all dead"),
    Allowed("+", "controlled shutdown", r"C > B  UpdateMetadata .* offline_replicas=B$",
            "the broker that leaves is told as all others are; one of Apache's has mostly hung up", sometimes=True),
    Allowed("-", "bounce", r"lives: A,C$|UpdateMetadata .* offline_replicas=B$",
            "a broker of ours takes up its old session, and is not seen to be away"),
    Allowed("-", "directory fails", r"UpdateMetadata t\[B,.* leader=B leader_epoch=\+0 .* zk_version=\+0 .* offline_replicas=nobody$",
            "the broker whose directory has failed is asked for its roles again, and only it: nothing has changed yet"),
    Allowed("-", ".*", r"ApiVersions v4 ", "the version that every broker since Kafka 2.4 has, and our own name"),
    Allowed("+", ".*", r"ApiVersions v3 client=its id name=ottla ", "see above"),
]


@dataclass
class Comparison:
    """What is missing, what is there besides; and of both what is allowed."""

    scenario: str
    missing: set
    besides: set
    allowed: collections.Counter = field(default_factory=collections.Counter)

    def __bool__(self) -> bool:
        return bool(self.missing or self.besides)

    def report(self) -> str:
        """A readable diff: Apache's with "-", the others' with "+", by the pair of brokers."""
        out = [f"{self.scenario}: - only Apache Kafka {KAFKA_VERSION}, + only the brokers under test"]
        both = [("-", line) for line in self.missing] + [("+", line) for line in self.besides]
        pair = None
        for sign, line in sorted(both, key=lambda x: (x[1].sender, x[1].receiver, x[1].text, x[0])):
            if pair != (line.sender, line.receiver):
                pair = line.sender, line.receiver
                out.append(f"  {line.sender} > {line.receiver}")
            out.append(f"  {sign} {line.text}")
        return "\n".join(out)


def compare(scenario: str, found: set, unseen: set, golden: tuple) -> Comparison:
    """`unseen` are brokers most of whose requests to themselves go over no wire; golden is (always, sometimes)."""
    always, sometimes = golden
    optional = {line for line in always if line.sender == line.receiver and line.sender in unseen}
    result = Comparison(scenario, set(), set())
    for sign, differing, other_side, rest in (("-", always - optional - found, found, result.missing),
                                              ("+", found - always - sometimes, always | sometimes, result.besides)):
        for line in differing:
            rule = next((a for a in ALLOWED if a.fits(scenario, sign, line, other_side)), None)
            if rule:
                result.allowed[rule] += 1
            else:
                rest.add(line)
    return result


def _path(scenario: str, directory: pathlib.Path = GOLDEN) -> pathlib.Path:
    return directory / f"{scenario.replace(' ', '-').replace(',', '')}.txt"


def read_golden(scenario: str) -> tuple:
    """(lines of every recording, lines of some of them)"""
    always, sometimes, pair = set(), set(), None
    for text in _path(scenario).read_text().splitlines():
        if text.startswith("#") or not text:
            continue
        if not text.startswith(" "):
            pair = text.split(" > ")
        elif text.strip().startswith(SOMETIMES):
            sometimes.add(Line(*pair, text.strip().removeprefix(SOMETIMES)))
        else:
            always.add(Line(*pair, text.strip()))
    return always, sometimes


def write_golden(scenario: str, found: set, again: bool) -> None:
    """again: what is there is of another recording, and only what is in both is always said."""
    always, sometimes = found, set()
    if again and _path(scenario).exists():
        before, sometimes = read_golden(scenario)
        always, sometimes = before & found, sometimes | before ^ found
    write(scenario, f"# What three Apache Kafka {KAFKA_VERSION} brokers said to each other, {datetime.date.today()}; by "
          f"test_messages.py --record.\n# \"{SOMETIMES.strip()}\": not in every recording.\n", always, sometimes, GOLDEN)


def write_heard(scenario: str, found: set) -> None:
    """For a look at it."""
    write(scenario, "", found, set(), paths.MADE / "messages")


def write(scenario: str, head: str, always: set, sometimes: set, directory: pathlib.Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    out = []
    for pair in sorted({(line.sender, line.receiver) for line in always | sometimes}):
        out += ["", f"{pair[0]} > {pair[1]}"]
        out += [f"  {'  ' if line in always else SOMETIMES}{line.text}"
                for line in sorted(always | sometimes, key=lambda x: x.text) if (line.sender, line.receiver) == pair]
    _path(scenario, directory).write_text(head + "\n".join(out) + "\n")


def topic_id(text: str) -> bytes:
    """Of ZooKeeper's form: base 64 of a URL, without its end."""
    return base64.urlsafe_b64decode(text + "==")
