"""Brokers say to each other what Apache's brokers would: every scenario's messages, field by field, beside what three
Apache Kafka brokers said in the same one (messages/). messages.py says what is compared, and what may differ.

    interop-tests/run all cluster/test_messages.py                                   # ours
    OTTLA_KINDS=kafka,ottla,ottla interop-tests/run all cluster/test_messages.py
    BROKER_UNDER_TEST=kafka interop-tests/run all cluster/test_messages.py --record        # writes messages/ anew
    BROKER_UNDER_TEST=kafka interop-tests/run all cluster/test_messages.py --record again  # what is not always so
"""

import signal

import pytest

from . import messages
from .scenario import Heard, Scenario

KAFKA_STORAGE_ERROR = 56


@pytest.fixture(scope="module")
def all_heard(kinds, request):
    recording = request.config.getoption("--record")
    if recording and set(kinds) != {"kafka"}:
        pytest.exit("only what Apache Kafka says is recorded: BROKER_UNDER_TEST=kafka", 2)
    heard = Heard(kinds, recording)
    try:
        yield heard
    finally:
        heard.destroy()


@pytest.fixture
def scenario(all_heard):
    all_heard.whole()
    s = Scenario(all_heard)
    yield s
    s.check()


def everything(scenario) -> None:
    """B leads, with others and alone, follows, and has no part."""
    scenario.topic("t", "BAC", "ABC", "CBA")
    scenario.topic("u", "BA", "CB", "AC")
    scenario.topic("v", "B", "A")


def test_empty_broker_joins(all_heard):
    """The first of all tests: the third broker has never been there."""
    s = Scenario(all_heard)
    with s.heard("empty broker joins"):
        s.ids = {letter: n for letter, n in zip("CAB", [s.controller, 1 - s.controller, 2])}
        s.start("B")
    s.check()


def test_topic(scenario):
    """Made, more of it, and deleted."""
    with scenario.heard("topic created"):
        scenario.topic("t", "CAB", "ABC")
        scenario.topic("u", "BA", "AC")
        scenario.topic("v", "A")
    with scenario.heard("partitions added"):
        scenario.add_partitions("t", "BCA")
        scenario.add_partitions("u", "CA", "AB")
    with scenario.heard("topic deleted"):
        for topic in "tuv":
            scenario.delete(topic)
        scenario.until(lambda: not scenario.all.topics(), "the topic to be gone")


def test_lost_answers(scenario):
    """A is told everything twice, since the first answer never comes."""
    scenario.proxy("A").lose_answers()
    with scenario.heard("topic created, answers are lost"):
        scenario.topic("t", "CA", "AB", "BC")
    with scenario.heard("topic deleted, answers are lost"):
        scenario.delete("t")
        scenario.until(lambda: not scenario.all.topics(), "the topic to be gone")


def test_death(scenario):
    """kill -9; a deletion that has to wait; and back."""
    everything(scenario)
    scenario.topic("w", "BA", "CA", "AB")
    with scenario.heard("broker dies"):
        scenario["B"].kill()
        scenario.without("B")
    with scenario.heard("topic deleted without a replica"):
        scenario.delete("w")
    with scenario.heard("broker is back after its death"):
        scenario.start("B")
        scenario.until(lambda: len(scenario.all.topics()) == 3, "the topic to be gone")
        scenario.settled()


def test_death_of_one_out_of_sync(scenario):
    """Of what it had in sync it leaves the ISR; of the rest nobody decides anything."""
    scenario.topic("t", "ABC", "CAB")
    scenario.out_of_sync("B", "A")
    scenario.until(lambda: scenario.isr("t", 1).count("B") == 1, "B to be in sync with C")
    with scenario.heard("broker out of sync dies"):
        scenario["B"].kill()
        scenario.without("B")


def test_controlled_shutdown(scenario):
    everything(scenario)
    with scenario.heard("controlled shutdown"):
        scenario["B"].stop()
        scenario.without("B")
    with scenario.heard("broker is back after a shutdown"):
        scenario.start("B")
        scenario.settled()
    with scenario.heard("preferred election"):
        scenario.elect(0, "t", 0)
        scenario.elect(0, "u", 0)
        scenario.settled()
    with scenario.heard("producer ids", messages.ASKED | {"ApiVersions"}):
        body = {"transactional_id": None, "transaction_timeout_ms": 60000}
        scenario.until(lambda: scenario.all.at(scenario.ids["B"], "InitProducerId", 1, body)["error_code"] == 0, "an id")


def test_bounce(scenario):
    """kill -9, and a start at once."""
    everything(scenario)
    with scenario.heard("bounce"):
        life = scenario.all.epochs()[scenario.ids["B"]]
        scenario["B"].kill()
        scenario.start("B")
        scenario.until(lambda: scenario.all.epochs().get(scenario.ids["B"]) not in (None, life), "the next life")
        scenario.settled()


@pytest.mark.whole  # much as a death and a return
def test_session_expires(scenario):
    everything(scenario)
    with scenario.heard("session expires"):
        scenario["B"].process.signal(signal.SIGSTOP)
        scenario.without("B")
        scenario.all.quiet()
        scenario["B"].process.signal(signal.SIGCONT)
        scenario.until(lambda: scenario.ids["B"] in scenario.cluster.registered(), "the next session")
        scenario.settled()


def test_isr(scenario):
    """A follower that cannot fetch, and can again."""
    scenario.topic("t", "ABC", "CAB")
    scenario.proxy("A").refuse_fetches(scenario.ids["B"])
    with scenario.heard("ISR shrinks"):
        scenario.produce("A", "t")
        scenario.until(lambda: scenario.isr("t") == "AC", "an ISR without B")
    with scenario.heard("ISR grows"):
        scenario.proxy("A").allow_fetches()
        scenario.settled()


@pytest.mark.whole  # many starts
def test_last_in_sync(scenario):
    """The only one in sync leaves, one leads that is not in sync, and the first comes back."""
    scenario.topic("t", "BA", min_insync_replicas=1)
    scenario.out_of_sync("A", "B")
    scenario.produce("B", "t")
    with scenario.heard("shutdown of the last in sync"):
        scenario["B"].stop()
        scenario.gone("B")
        scenario.until(lambda: scenario.leader("t") is None, "nobody to lead")
    with scenario.heard("unclean election"):
        scenario.elect(1, "t", 0)
    with scenario.heard("back after an unclean election"):
        scenario.start("B")
        scenario.settled()
    scenario.out_of_sync("B", "A")
    scenario["A"].kill()
    scenario.gone("A")
    scenario.until(lambda: scenario.leader("t") is None, "nobody to lead")
    with scenario.heard("unclean election by an option"):
        scenario.allow_unclean("t")
        scenario.until(lambda: scenario.leader("t") == "B", "B to lead")


def controller_goes(scenario, name: str, how) -> None:
    """N is who becomes controller, F the third: what is assigned to A and B is symmetrical."""
    scenario.topic("t", "CAB", "CBA", "ACB", "BCA", "ABC", "BAC")
    scenario.topic("u", "AB", "BA", "CA", "CB")
    scenario.topic("v", "C")
    with scenario.heard(name):
        how()
        scenario.without("C")
        scenario.until(lambda: scenario.cluster.controller() not in (None, scenario.controller), "a controller")
    with scenario.heard(f"{name}, and is back"):
        scenario.start("C")
        scenario.settled()


def test_controller_dies(scenario):
    controller_goes(scenario, "controller dies", scenario["C"].kill)


def test_controller_shuts_down(scenario):
    controller_goes(scenario, "controller shuts down", scenario["C"].stop)


def test_directory_fails(scenario):
    """One of B's, with one of the partitions that it leads."""
    if not scenario.cluster.can_cut:
        pytest.skip("no file systems of our own without namespaces")
    scenario.topic("t", "BAC", "BCA")
    failing = scenario.directory_of("B", "t", 0)
    with scenario.heard("directory fails"):
        with scenario.full(failing):
            scenario.produce("B", "t", 0, error=KAFKA_STORAGE_ERROR)
            scenario.until(lambda: scenario.leader("t", 0) == "A", "another leader")
            scenario.until(lambda: scenario.isr("t", 0) == "AC", "an ISR without B")
    scenario["B"].kill()


def test_following(scenario):
    """The shape of what followers ask, of a topic from its beginning and after a restart."""
    with scenario.heard("following", messages.FOLLOWING):
        scenario.topic("t", "ABC", "BCA", "CAB")
        for partition, leader in enumerate("ABC"):
            scenario.produce(leader, "t", partition, acks=-1)
        scenario["B"].stop()
        scenario.produce("A", "t")
        scenario.start("B")
        scenario.settled()
        scenario.elect(0, "t", 1)
        scenario.settled()


def test_every_allowed_difference_is_one(all_heard, kinds):
    """With three of ours, after all other tests: what never differs needs no permission."""
    if set(kinds) != {"ottla"} or len(all_heard.judged) < len(list(messages.GOLDEN.glob("*.txt"))):
        pytest.skip("only after all scenarios of three Ottla brokers")
    assert not [a for a in messages.ALLOWED if a not in all_heard.allowed and not a.sometimes]
