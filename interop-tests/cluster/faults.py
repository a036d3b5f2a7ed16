"""What is done to brokers, and when: a schedule that a seed makes.

A fault begins, lasts, and ends; most choose a broker, some a second one. Brokers are chosen by their ids and not by their
roles, so that a seed means the same again; with partitions led by all of them each is a leader and a follower, and one
of them the controller. Now and then a fault begins while another is on, at another broker.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from harness.cluster import SESSION_S, Cluster


@dataclass(frozen=True)
class Step:
    fault: str
    broker: int
    other: int
    begin_s: float
    end_s: float

    def __str__(self):
        return f"{self.fault} {self.broker}" + (f" {self.other}" if FAULTS[self.fault].of_two else "") + \
               f" from {self.begin_s:.1f} to {self.end_s:.1f} s"


@dataclass(frozen=True)
class Fault:
    begin: Callable[[Cluster, Step], None]
    end: Callable[[Cluster, Step], None]
    seconds: tuple  # at least, at most
    in_network: bool = False  # needs namespaces
    of_two: bool = False
    alone: bool = False  # comes when all is whole, nothing else is on meanwhile, and only where it is named


def _kill(c: Cluster, s: Step) -> None:
    c.brokers[s.broker].kill()


def _start(c: Cluster, s: Step) -> None:
    """Not waited for: the next fault may come while it starts."""
    if not c.brokers[s.broker].alive():
        c.brokers[s.broker].kill()
        c.brokers[s.broker].launch()


def _stop(c: Cluster, s: Step) -> None:
    c.brokers[s.broker].stop()


def _all_but(c: Cluster, n: int) -> list:
    return ["zookeeper", *(str(other) for other in range(len(c.brokers)) if other != n)]


def _of_network(begin, end, seconds=(2, 12), of_two=False) -> Fault:
    return Fault(lambda c, s: begin(c.network, c, s), lambda c, s: end(c.network, c, s), seconds, True, of_two)


def _fill(c: Cluster, s: Step) -> None:
    c.fill_disk(s.broker)


def _empty(c: Cluster, s: Step) -> None:
    """There is room again, and the broker is started anew: Kafka has ended, Ottla's logs are offline until then."""
    c.empty_disk(s.broker)
    _kill(c, s)
    _start(c, s)


def _pause(c: Cluster, s: Step) -> None:
    if c.brokers[s.broker].alive():
        c.pause(s.broker)


def _resume(c: Cluster, s: Step) -> None:
    if c.brokers[s.broker].alive():
        c.resume(s.broker)


def _lose_power(c: Cluster, s: Step) -> None:
    """Of the broker, or of an Ottla in its place."""
    may = c.power_may_fail()
    c.lose_power(s.broker if s.broker in may else may[s.broker % len(may)])


def _black_out(c: Cluster, s: Step) -> None:
    """All of them at one moment."""
    for n in c.power_may_fail():
        c.brokers[n].kill()
    for n in c.power_may_fail():
        c.lose_power(n, all_of_it=True)


def _start_all(c: Cluster, s: Step) -> None:
    for n, b in enumerate(c.brokers):
        if not b.alive():
            b.kill()
            b.launch()


FAULTS = {
    "kill": Fault(_kill, _start, (0, 0)),  # kill -9, and a start at once
    "gone": Fault(_kill, _start, (1, 10)),  # kill -9, and a start after a while
    "restart": Fault(_stop, _start, (0, 3)),
    "pause": Fault(_pause, _resume, (SESSION_S + 1, SESSION_S + 7)),  # longer than its session
    "zookeeper": Fault(lambda c, s: c.cut_zookeeper(s.broker), lambda c, s: c.join_zookeeper(s.broker), (2, 12)),
    "pair": _of_network(lambda n, c, s: n.cut(str(s.broker), str(s.other)),
                        lambda n, c, s: n.join(str(s.broker), str(s.other)), of_two=True),
    "one-way": _of_network(lambda n, c, s: n.cut_one_way(str(s.broker), str(s.other)),
                           lambda n, c, s: n.join_one_way(str(s.broker), str(s.other)), of_two=True),
    "isolated": _of_network(lambda n, c, s: n.cut(str(s.broker), *_all_but(c, s.broker)),  # clients still reach it
                            lambda n, c, s: n.join(str(s.broker), *_all_but(c, s.broker))),
    "away": _of_network(lambda n, c, s: n.cut(str(s.broker), "clients", *_all_but(c, s.broker)),
                        lambda n, c, s: n.join(str(s.broker), "clients", *_all_but(c, s.broker))),
    "loss": _of_network(lambda n, c, s: n.lose(0.05), lambda n, c, s: n.lose(0), (5, 15)),
    "delay": _of_network(lambda n, c, s: n.delay(0.05), lambda n, c, s: n.delay(0), (5, 15)),
    "disk": Fault(_fill, _empty, (3, 8), True),
    "power": Fault(_lose_power, _start_all, (0, 6), True, alone=True),  # of an Ottla
    "blackout": Fault(_black_out, _start_all, (0, 2), True, alone=True),  # of all of them
}


def possible(cluster: Cluster) -> list:
    return [name for name, fault in FAULTS.items() if not fault.alone and (cluster.can_cut or not fault.in_network)]


def schedule(seed: int, names: list, brokers: int, seconds: float) -> list:
    """Steps by their beginning; every fault comes before one comes again, at most two are on, and not at one broker. The
    same arguments give the same steps."""
    chance, steps, bag, at = random.Random(seed), [], [], 2.0
    while True:
        bag = bag or chance.sample(names, len(names))
        name = bag.pop()
        on = [s for s in steps if s.end_s > at]
        if len(on) == 2:
            at = min(s.end_s for s in on)
            on = [s for s in on if s.end_s > at]
        if on and (FAULTS[name].alone or any(FAULTS[s.fault].alone for s in on)):
            at, on = max(s.end_s for s in on) + 1, []
        broker, other = chance.sample([n for n in range(brokers) if n not in [s.broker for s in on]], 2)
        length = chance.uniform(*FAULTS[name].seconds)
        if at + length > seconds:
            return steps
        steps.append(Step(name, broker, other, at, at + length))
        at += length * chance.uniform(0.2, 0.8) if chance.random() < 0.25 else length + chance.uniform(2, 7)
