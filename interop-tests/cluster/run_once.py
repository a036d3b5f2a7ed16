"""One run: brokers, load, the steps of a schedule, healing, a clean stop, and the verdict of the checker.

A run that exposed nothing has not passed: where no leader changed or no ISR, it says so.
"""

import collections
import contextlib
import pathlib
import re
import shutil
import time
from dataclasses import dataclass, field

from harness.cluster import REPLICAS, Cluster
from harness.wait import Timeout, wait_for

from . import checker
from .faults import FAULTS, possible, schedule
from .load import Load
from .mover import Mover, turns

TOPIC = "chaos"
PARTITIONS = 6
START_S = 40.0  # within this time of its launch a broker that ends has refused to start
TRUNCATIONS = re.compile(r"Truncating to offset \d+|truncating dir=\S+ offset=")


@dataclass
class Exposure:
    """What a run has seen; of several runs the sum."""

    counts: collections.Counter = field(default_factory=collections.Counter)
    seconds: collections.Counter = field(default_factory=collections.Counter)  # of each fault
    seeds: list = field(default_factory=list)

    def __add__(self, other: "Exposure") -> "Exposure":
        return Exposure(self.counts + other.counts, self.seconds + other.seconds, self.seeds + other.seeds)

    def enough(self) -> bool:
        return all(self.counts[x] for x in ("acknowledged", "records", "leader changes", "ISR changes"))

    def __str__(self):
        lines = [f"{name:20} {n}" for name, n in self.counts.items()]
        lines.append("seconds of faults    " + ", ".join(f"{name} {s:.0f}" for name, s in self.seconds.items()))
        return "\n".join(["EXPOSURE", *lines, f"seeds                {', '.join(map(str, self.seeds))}"])


@dataclass(frozen=True)
class Plan:
    """What runs have in common."""

    kinds: list
    seconds: float
    faults: list | None = None  # all that are possible
    properties: dict = field(default_factory=dict)  # of the brokers
    acks_one_too: bool = False  # judged as acks=all: it has to fail


class RunOnce:
    """`directory` is for the histories, logs and replicas of this run; what is there is replaced."""

    def __init__(self, plan: Plan, seed: int, directory: pathlib.Path, say=lambda text: None):
        self.plan, self.seed, self.directory, self._say = plan, seed, directory, say
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        self._disk_full = set()
        self.exposure = Exposure(seeds=[seed])
        self.violations = []

    def run(self) -> None:
        """Violations and exposure are there afterwards; what could not be done to its end is a violation, too."""
        plan = self.plan
        power_fails = any(FAULTS[name].alone for name in plan.faults or [])
        cluster = Cluster(plan.kinds, {"log.segment.bytes": 1 << 18} | plan.properties, self.seed, power_fails)
        load = mover = None
        names = plan.faults or possible(cluster)
        self._say(f"seed {self.seed}; brokers {', '.join(plan.kinds)}; faults " + (
            "in namespaces" if cluster.can_cut else "of processes only, since there can be no namespaces"))
        try:
            cluster.start()
            cluster.create_topic(TOPIC, PARTITIONS)
            load = Load(cluster, self.directory, TOPIC)
            load.goes_on()
            if len(plan.kinds) > REPLICAS:  # there is somewhere to move to
                mover = Mover(cluster, TOPIC, turns(self.seed, PARTITIONS, len(plan.kinds), plan.seconds))
            self._play(cluster, schedule(self.seed, names, len(plan.kinds), plan.seconds))
            if mover:
                mover.stop()
                self.exposure.counts["preferred leaders"] += mover.elected
            self._heal(cluster, load)
            load.stop()
            cluster.stop()
        except (AssertionError, RuntimeError) as e:
            self.violations.append(checker.Violation("run", str(e)))
        finally:
            if load:
                load.kill()
            if power_fails:
                self.exposure.counts.update({"power losses": cluster.lost.times, "bytes lost": cluster.lost.bytes,
                                             "names lost": cluster.lost.names, "names back": cluster.lost.back})
            self._keep(cluster)
            cluster.destroy()
        self._judge()

    def _play(self, cluster: Cluster, steps: list) -> None:
        began = time.monotonic()
        moments = sorted([(s.begin_s, 1, s) for s in steps] + [(s.end_s, 2, s) for s in steps], key=lambda m: m[:2])
        on, after_alone = {}, False
        for at, which, step in moments:
            while (left := began + at - time.monotonic()) > 0:
                self._ended_by_itself(cluster)
                time.sleep(min(left, 0.2))
            if which == 1:
                if FAULTS[step.fault].alone or after_alone:
                    began += self._wait_until_whole(cluster)
                after_alone = FAULTS[step.fault].alone
                self._say(f"{time.monotonic() - began:6.1f} {step}")
                on[step] = time.monotonic()
                if step.fault == "disk":
                    self._disk_full.add(step.broker)
                FAULTS[step.fault].begin(cluster, step)
            else:
                FAULTS[step.fault].end(cluster, step)
                self.exposure.seconds[step.fault] += time.monotonic() - on.pop(step)
        self._say(f"{time.monotonic() - began:6.1f} healing")

    @staticmethod
    def _wait_until_whole(cluster: Cluster) -> float:
        """How long that was: the rest of the schedule is later by so much."""
        before = time.monotonic()
        cluster.answers(*range(len(cluster.brokers)))
        cluster.settle()
        return time.monotonic() - before

    def _ended_by_itself(self, cluster: Cluster) -> None:
        """A broker may end when its disk is full, and refuse to start while something is wrong; it is started again.
        Anything else, and whatever ends by a signal, is a violation."""
        for n, b in enumerate(cluster.brokers):
            if b.process is None or b.alive():
                continue
            if n in self._disk_full:
                if not cluster.disk_is_full(n):
                    b.kill()
                    b.launch()
            elif b.process.wait(1) < 0 or time.monotonic() - b.launched_at > START_S:
                raise RuntimeError(f"broker {n} ended by itself with status {b.process.wait(1)}\n{b.log_tail()}")
            else:
                self.exposure.counts["starts refused"] += 1
                b.kill()
                b.launch()

    def _heal(self, cluster: Cluster, load: Load) -> None:
        """Nothing is wrong any more; all are there; nothing moves; all replicas are in sync; work goes on."""
        cluster.heal()
        load.note("healed")
        load.note("hurt", brokers=sorted(self._disk_full.union(cluster.power_may_fail())))
        wait_for(lambda: not cluster.is_moving(TOPIC), 60, "all moves to have ended")
        cluster.settle()
        with contextlib.suppress(Timeout):  # what may be left over for ever is for the checker to say
            wait_for(lambda: cluster.replica_dirs(TOPIC) <= cluster.assigned(TOPIC), 10, "replicas to be deleted")
        load.goes_on()
        load.group_goes_on()

    def _keep(self, cluster: Cluster) -> None:
        for n, b in enumerate(cluster.brokers):
            b.kill()
            shutil.copy(b.directory / "broker.log", self.directory / f"broker{n}.log")
        cluster.keep_logs(TOPIC, self.directory / "replicas")

    def _judge(self) -> None:
        complete = not self.violations  # replicas are equal after a clean stop only
        run = checker.Run(self.directory, self.directory / "replicas" if complete else None,
                          self.plan.acks_one_too)
        if complete:
            found = checker.check(run)
            self.violations += [v for v in found if v.rule != "absorbed"]
            self.exposure.counts["not absorbed"] += len(found) - len(self.violations)
            for v in found:
                if v.rule == "absorbed":
                    self._say(str(v))
        logs = [path.read_text(errors="replace") for path in self.directory.glob("broker*.log")]
        leaders, isrs = 0, 0
        for states in run.states.values():
            for a, b in zip(states, states[1:]):
                leaders += a["leader"] != b["leader"]
                isrs += set(a["isr"]) != set(b["isr"])
        controllers = [e["id"] for e in run.zookeeper if e["e"] == "controller" and e["id"] is not None]
        self.exposure.counts.update({
            "acknowledged": len(run.promised()), "records": len(run.seen), "commits": len(run.commits),
            "leader changes": leaders, "controller changes": max(0, len(controllers) - 1), "ISR changes": isrs,
            "truncations": sum(len(TRUNCATIONS.findall(log)) for log in logs),
            "renumbered": checker.renumbered(run),
            **checker.moves(run),
            "losses of acks=1": sum(1 for v, s in run.sends.items()
                                    if not s.promised and s.acked is not None and v not in run.seen)})
