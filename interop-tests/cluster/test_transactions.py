"""Transactions on three brokers.

Copiers of librdkafka copy exactly once while brokers are killed (-9) or paused one at a time, each for what it is to them:
the transaction coordinator of a copier, a leader of the copy, the coordinator of the group, the controller. Coordinators
move between brokers, of different kinds where there are both, when a transaction is open and when it waits for its
markers. And leaders ask coordinators what is in a transaction (KIP-890).

OTTLA_KILLS sets how often brokers are killed or paused: 40 times in the whole run, 6 in the slice. OTTLA_SEED repeats a run's choices.
"""

import collections
import contextlib
import math
import os
import random
import time

import pytest

from harness import coordinators, dump_log
from harness.life import unique
from harness.wait import wait_for

ck = pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")

from transactions import copiers, log, seen  # noqa: E402
from transactions.hand import CONCURRENT, ByHand  # noqa: E402

from . import checker  # noqa: E402
from .conftest import KINDS  # noqa: E402
from .work import everyone  # noqa: E402

OVERRIDES = coordinators.SOON
WHOLE = os.environ.get("OTTLA_INTEROP") == "all"
TIMES = int(os.environ.get("OTTLA_KILLS", 0)) or (40 if WHOLE else 6)
SEED = int(os.environ.get("OTTLA_SEED", 0)) or random.randrange(1, 1 << 31)
STATE = coordinators.TOPICS[1]
LONG_MS = 300000
OPEN = ("Ongoing", "PrepareCommit", "PrepareAbort")
INVALID, ABORTABLE = 48, 120
MIXTURE = ["ottla", "kafka", "ottla"]
PAUSE = "pause"


@pytest.fixture(scope="module", params=[
    pytest.param(KINDS, id="-".join(KINDS)),
    *([] if set(KINDS) != {"ottla"} else [pytest.param(MIXTURE, id="-".join(MIXTURE), marks=pytest.mark.whole)])])
def kinds(kinds, request):
    return request.param


@pytest.fixture
def cluster(shared_cluster):
    shared_cluster.heal()
    coordinators.coordinators_there(shared_cluster.brokers[0])
    shared_cluster.settle()
    return shared_cluster


# --- exactly once

ROLES = {
    "transaction coordinator": lambda cluster, copying, who: cluster.coordinates(who.name, 1),
    "leader of the copy": lambda cluster, copying, who: cluster.leads(copying.to, 0),
    "group's coordinator": lambda cluster, copying, who: cluster.coordinates(copying.group, 0),
    "controller": lambda cluster, copying, who: cluster.brokers[cluster.controller()],
}


def schedule(rng, times: int):
    """Each role once, and a pause of any, in some order; and so on."""
    plan = []
    while len(plan) < times:
        one_round = [(role, "kill") for role in ROLES] + [(rng.choice(list(ROLES)), PAUSE)]
        rng.shuffle(one_round)
        plan += one_round
    return plan[:times]


def open_in(b) -> list:
    """The states of what stands in its log and is not complete; it is a replica of all."""
    return [t.state for t in log.TransactionState(b)().values() if t and t.state in OPEN]


def led_by_others(cluster, n: int) -> bool:
    return n not in cluster.registered() and all(
        cluster.state(topic, p).leader not in (n, -1)
        for topic in cluster.look.get_children("/brokers/topics") for p in cluster.assignment(topic))


def goes_on(copying, transactions: int) -> None:
    enough = copying.ended() + transactions
    wait_for(lambda: copying.ended() >= enough, 60, f"{transactions} transactions")


def trouble(copying) -> collections.Counter:
    """What copiers were told that they have not asked for."""
    return collections.Counter(f"{word} {rest}".strip() for c in copying.copiers for word, rest in c.events
                               if word in ("fatal", "stuck") or word == "aborted" and rest != "on purpose")


def disturb(cluster, copying, n: int, how: str, at_once: bool, exposure) -> None:
    """Broker n, and back when all is whole."""
    b, copying.up_since = cluster.brokers[n], math.inf
    if how == PAUSE:
        cluster.pause(n)
    else:
        b.kill()
    states = open_in(b)
    exposure.update(f"transactions that were {state} in its log" for state in states)
    exposure["with a transaction open"] += bool(states)
    if how == PAUSE or not at_once:
        wait_for(lambda: led_by_others(cluster, n), 30, "others to lead")
        copying.up_since = time.monotonic()
        goes_on(copying, 5)
    if how == PAUSE:
        cluster.resume(n)
        wait_for(lambda: n in cluster.registered(), 30, "it to be registered again")
    else:
        b.launch()
    cluster.answers(n)
    cluster.settle()
    copying.up_since = time.monotonic()


def standing(copying):
    """Where everything is when it does not go on."""
    cluster = copying.broker
    yield f"fed {copying.feeder.sent}, copied {[copying.stood(p) for p in range(copying.PARTITIONS)]}"
    with contextlib.suppress(AssertionError, OSError):
        for c in copying.copiers:
            yield f"{c.name}, inside {c.inside()}: {seen.describe(cluster, c.name)}"
        for topic, partitions in ((copying.source, copying.PARTITIONS), (copying.to, copying.OUT),
                                  (coordinators.TOPICS[0], int(cluster.properties[coordinators.PARTITIONS[0]]))):
            yield f"{topic}: stable up to {seen.ends(cluster, topic, partitions, 1)}, ends {seen.ends(cluster, topic, partitions, 0)}"
        yield f"offsets {seen.offsets(cluster, copying.group, copying.source, copying.PARTITIONS)}"


def check_replicas(cluster, copying, directory) -> None:
    """The brokers stop; all of them have the same."""
    cluster.stop()
    for topic in (copying.to, *coordinators.TOPICS):
        cluster.keep_logs(topic, directory / topic)
        differ = list(checker.differing(checker.read_replicas(directory / topic, topic)))
        assert not differ, (topic, differ)
    if WHOLE:
        for b in cluster.brokers:
            dump_log.check_everything(b.data_dir)


def test_exactly_once(cluster, tmp_path):
    rng, began = random.Random(SEED), time.monotonic()
    print(f"OTTLA_SEED={SEED}")
    exposure, times = collections.Counter(), []
    copying = copiers.Copying(cluster, ["librdkafka"] * 3, unique("copy"), SEED)
    try:
        wait_for(lambda: copying.look() or all(c.counted("committed") for c in copying.copiers), 60, "every copier to copy")
        for role, how in schedule(rng, TIMES):
            goes_on(copying, rng.randrange(1, 30))
            who, phase, at_once = rng.choice(copying.copiers), rng.choice(copiers.PHASES), rng.random() < 0.3
            of = len(who.look())
            wait_for(lambda: copying.look() or phase in (word for word, _ in who.look()[of:]), 60,
                     f"{who.name} to say {phase!r}", interval_s=0.001)
            b = ROLES[role](cluster, copying, who)
            of_it, before = collections.Counter(), trouble(copying)
            since, n, what = time.monotonic(), cluster.brokers.index(b), f"{how} of the {role}"
            disturb(cluster, copying, n, how, at_once, of_it)
            times.append(time.monotonic() - since)
            print(f"{since - began:5.1f} s, for {times[-1]:4.1f} s: {what}, broker {n} ({b.kind}), while {who.name} says {phase}"
                  f"{', at once' * at_once}: {dict(trouble(copying) - before)}")
            exposure[what] += 1
            exposure[f"{what} with a transaction open"] += of_it["with a transaction open"]
            exposure[f"{how} of {b.kind}"] += 1
            exposure += of_it
        goes_on(copying, 10)
        copying.finish()
        exposure.update({"committed": copying.counted("committed"), "aborted on purpose": copying.counted("aborted", "on purpose"),
                         "records": sum(copying.feeder.sent)})
        exposure += trouble(copying)
        wait_for(lambda: copiers.nothing_open(copying) is None, 30, "the last markers")
        copiers.judge(copying, copying.feeder.sent)
        uncommitted = seen.uncommitted(cluster, copying.to, copiers.Copying.OUT)
        exposure["aborted records in the log"] = sum(v.startswith("no ") for part in uncommitted for v in part)
    except AssertionError:
        print(copying.tails(), *standing(copying), sep="\n")
        raise
    finally:
        copying.destroy()
        print(f"EXPOSURE, seed {SEED}, {time.monotonic() - began:.0f} s, of which disturbed {sum(times):.0f}, at most "
              f"{max(times, default=0):.0f}: " + ", ".join(f"{n} {what}" for what, n in sorted(exposure.items())))
    check_replicas(cluster, copying, tmp_path)
    for what in ("with a transaction open", "aborted on purpose", "aborted records in the log",
                 *(f"kill of the {role}" for role in ROLES if TIMES > len(ROLES))):
        assert exposure[what] > 0, f"no exposure: {what}"
    assert not exposure["aborted INVALID_PRODUCER_ID_MAPPING"], "somebody was asked by another one's id"


# --- one coordinator after another

@pytest.fixture(params=["there", "back"])
def places(cluster, request) -> tuple:
    """Two brokers, of different kinds where there are both; and a third one."""
    kinds = [b.kind for b in cluster.brokers]
    one, other = (kinds.index(k) for k in ("ottla", "kafka")) if len(set(kinds)) > 1 else (0, 1)
    if request.param == "back":
        if kinds[one] == kinds[other]:
            pytest.skip("skipped, because all brokers are of one kind")
        one, other = other, one
    return one, other, next(n for n in everyone(cluster) if n not in (one, other))


def coordinated_by(cluster, n: int, name: str) -> ByHand:
    """A new producer, and who coordinates it."""
    p = ByHand(cluster, unique(name), LONG_MS)
    cluster.lead(STATE, state_partition(cluster, p), n)
    p.init()
    assert cluster.coordinates(p.name, 1) is cluster.brokers[n]
    return p


def state_partition(cluster, p: ByHand) -> int:
    return coordinators.partition_of(p.name, len(cluster.assignment(STATE)))


def led_by_each(cluster, name: str) -> str:
    """A topic with a partition led by each broker, of its number."""
    topic = cluster.create_topic(unique(name), len(cluster.brokers))
    for n in everyone(cluster):
        cluster.lead(topic, n, n)
    return topic


def move_coordinator(cluster, p: ByHand, one: int, other: int, how: str) -> None:
    """The other one is preferred, and there."""
    if how == "elected":
        cluster.elect_preferred(STATE, state_partition(cluster, p))
    else:
        cluster.brokers[one].kill()
        wait_for(lambda: led_by_others_where_replicated(cluster, one), 30, "others to lead")
    assert cluster.coordinates(p.name, 1) is cluster.brokers[other]


def led_by_others_where_replicated(cluster, n: int) -> bool:
    return n not in cluster.registered() and all(
        cluster.state(topic, p).leader not in (n, -1) for topic in cluster.look.get_children("/brokers/topics")
        for p, replicas in cluster.assignment(topic).items() if len(replicas) > 1)


def how_and_end(*of_the_slice):
    both = [("elected", True), ("killed", False), ("elected", False), ("killed", True)]
    return pytest.mark.parametrize("how, commits", [
        pytest.param(how, commits, id=f"{how}-{'commit' if commits else 'abort'}",
                     marks=() if (how, commits) in of_the_slice else pytest.mark.whole) for how, commits in both])


@how_and_end(("elected", True), ("killed", False))
def test_open_transaction_moves(cluster, places, how, commits):
    """Who has come has it as it was, goes on with it, and ends it; on partitions that each of the brokers leads."""
    one, other, _ = places
    topic, group = led_by_each(cluster, "open"), unique("group")
    p = coordinated_by(cluster, one, "moves")
    state = state_partition(cluster, p)
    cluster.reassign(STATE, state, [other, *(n for n in cluster.assignment(STATE)[state] if n != other)])
    p.add((topic, 0), (topic, 1))
    p.produce(topic, 0, "a", "b")
    p.produce(topic, 1, "c")
    p.offsets(group, topic, 0, 7)
    before = seen.described(cluster, p.name)
    assert before["transaction_state"] == "Ongoing"
    move_coordinator(cluster, p, one, other, how)
    assert seen.described(cluster, p.name) == before
    assert seen.committed(cluster, topic, 3) == [[], [], []] and seen.offsets(cluster, group, topic, 1) == [(88, -1)]
    p.add((topic, 2))
    p.produce(topic, 2, "d")
    p.produce(topic, 0, "e")
    p.end(commits)
    assert seen.settled(cluster, p.name) == ("CompleteCommit" if commits else "CompleteAbort")
    assert seen.committed(cluster, topic, 3) == ([["a", "b", "e"], ["c"], ["d"]] if commits else [[], [], []])
    assert seen.offsets(cluster, group, topic, 1) == [(0, 7 if commits else -1)]
    seen.nothing_open(cluster, topic, 3)
    was = p.producer_id, p.epoch
    p.init()
    assert (p.producer_id, p.epoch) == (was[0], was[1] + 1)


@how_and_end(("elected", False), ("killed", True))
def test_prepared_transaction_moves(cluster, places, how, commits):
    """It was ended when the only replica of one of its partitions was away. Who has come has to write the markers."""
    one, other, third = places
    topic, group = led_by_each(cluster, "open"), unique("group")
    away = cluster.create_topic(unique("away"), 1, replicas=1, min_insync_replicas=1)
    cluster.reassign(away, 0, [third])
    p = coordinated_by(cluster, one, "prepared")
    cluster.reassign(STATE, state_partition(cluster, p), [other, one, third])
    p.add(*((topic, n) for n in everyone(cluster)), (away, 0))
    for n in everyone(cluster):
        p.produce(topic, n, f"{n} a", f"{n} b")
    p.produce(away, 0, "away")
    p.offsets(group, topic, 0, 7)
    cluster.brokers[third].kill()
    wait_for(lambda: led_by_others_where_replicated(cluster, third) and cluster.state(away).leader == -1, 30,
             "others to lead, and nobody")
    p.end(commits)
    prepared, complete = ("PrepareCommit", "CompleteCommit") if commits else ("PrepareAbort", "CompleteAbort")
    wait_for(lambda: seen.nothing_open(cluster, topic, 3) is None, 30, "the markers")
    assert seen.describe(cluster, p.name)["transaction_state"] == prepared
    move_coordinator(cluster, p, one, other, how)
    assert seen.describe(cluster, p.name)["transaction_state"] == prepared
    answer = wait_for(lambda: p.ask("EndTxn", 3, {"transactional_id": p.name, "producer_id": p.producer_id,
                                                  "producer_epoch": p.epoch, "committed": commits}), 30, "an answer")
    assert answer["error_code"] == CONCURRENT
    cluster.brokers[third].launch()
    cluster.answers(third)
    wait_for(lambda: seen.describe(cluster, p.name)["transaction_state"] == complete, 30, complete)
    assert seen.committed(cluster, topic, 3) == [[f"{n} a", f"{n} b"] if commits else [] for n in everyone(cluster)]
    assert seen.committed(cluster, away, 1) == [["away"] if commits else []]
    assert seen.offsets(cluster, group, topic, 1) == [(0, 7 if commits else -1)]
    p.end(commits)  # once more, as one that has not heard
    p.end(not commits, expect=INVALID)
    p.add((topic, 0))
    p.produce(topic, 0, "next")
    p.end(True)
    assert seen.settled(cluster, p.name) == "CompleteCommit"
    assert seen.committed(cluster, topic, 1)[0][-1] == "next"
    seen.nothing_open(cluster, topic, 3)


def test_leader_asks_coordinator(cluster, places):
    """What is not in the transaction is not written, and its producer is told so as it can understand it."""
    leads, coordinates, _ = places
    topic = led_by_each(cluster, "asked")
    p = coordinated_by(cluster, coordinates, "asks")

    def refused(partition: int) -> None:
        end = seen.ends(cluster, topic, 3, 0)
        for version, code in ((9, INVALID), (10, INVALID), (11, ABORTABLE)):
            p.produce(topic, partition, "not in it", version=version, expect=code)
        assert seen.ends(cluster, topic, 3, 0) == end
    refused(leads)  # nothing has begun
    p.add((topic, coordinates))
    refused(leads)
    p.produce(topic, coordinates, "a", version=10)
    p.add((topic, leads))
    p.produce(topic, leads, "b", version=10)
    p.produce(topic, leads, "c", version=11)
    p.end(True)
    assert seen.settled(cluster, p.name) == "CompleteCommit"
    refused(leads)  # it has ended
    p.add((topic, leads))
    p.produce(topic, leads, "d", version=11)
    p.end(False)
    assert seen.settled(cluster, p.name) == "CompleteAbort"
    refused(leads)
    values = seen.committed(cluster, topic, 3)
    assert (values[leads], values[coordinates]) == (["b", "c"], ["a"])
    seen.nothing_open(cluster, topic, 3)
