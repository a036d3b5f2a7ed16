"""Exactly once: copiers, and a broker, that are killed again and again.

Records of a topic are copied to another in transactions that hold the offsets too, by two copiers of a group; one
transaction in ten is aborted on purpose. Now the broker is killed (-9) and started again, now a copier, mostly while
some transaction is in a chosen phase. In the end who reads committed records sees each record once, in order, and
nothing of what was aborted; the group's offsets are at the ends, and nothing is left open.

OTTLA_KILLS sets how often: 200 in the whole run with librdkafka and 50 with others, 8 in the slice. OTTLA_SEED repeats a run's choices.
"""

import collections
import os
import random
import shutil
import time

import pytest

from harness import clients, dump_log, paths, toolhost
from harness.life import unique
from harness.wait import wait_for

ck = pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")
from . import log, programs, seen  # noqa: E402
from .copiers import PHASES, Copying, judge  # noqa: E402

KILLS = int(os.environ.get("OTTLA_KILLS", 0))
SEED = int(os.environ.get("OTTLA_SEED", 0)) or random.randrange(1, 1 << 31)
MORE_KILLS = 4  # times as many at most, until one has met an open transaction

KINDS = {
    "librdkafka": ["librdkafka", "librdkafka"],
    "java": ["java", "java"],
    "franz-go": ["franz-go", "franz-go"],
    "mixed": ["librdkafka", "java", "franz-go"],
}
MISSING = {"java": programs.missing("3.9.1"), "franz-go": clients.go_missing()}


def keep(copying: Copying) -> None:
    """What the copiers said, and the broker's directory, for whoever wants to know why."""
    kept = paths.MADE / f"copiers-{paths.RUN}"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(copying.directory, kept / "said")
    shutil.copytree(copying.broker.directory, kept / "broker")


@pytest.mark.client("copiers")
@pytest.mark.parametrize("clients_of", ["librdkafka", pytest.param("java", marks=pytest.mark.once),
                                        pytest.param("franz-go", marks=pytest.mark.once),
                                        pytest.param("mixed", marks=pytest.mark.whole)])
def test_exactly_once(broker, clients_of):
    why = next((MISSING[k] for k in KINDS[clients_of] if MISSING.get(k)), None)
    if why:
        pytest.skip(f"skipped, because {why}")
    kills = KILLS or (8 if os.environ.get("OTTLA_INTEROP") != "all" else 200 if clients_of == "librdkafka" else 50)
    rng, began = random.Random(SEED), time.monotonic()
    print(f"OTTLA_SEED={SEED}")
    exposure, on_disk = collections.Counter(), log.TransactionState(broker)
    copying = Copying(broker, KINDS[clients_of], unique("copy"), SEED)
    try:
        wait_for(lambda: copying.look() or all(c.counted("committed") for c in copying.copiers), 60, "every copier to copy")
        for kill in range(kills * MORE_KILLS):
            if kill >= kills and exposure["brokers killed with a transaction open"]:
                break
            enough = copying.ended() + rng.randrange(1, 30)
            wait_for(lambda: copying.ended() >= enough, 60, f"transactions after {kill} kills")
            who = rng.choice(copying.copiers)
            phase, of = rng.choice([p for p in PHASES if p != "offsets" or who.kind != "franz-go"]), len(who.look())
            wait_for(lambda: copying.look() or phase in (word for word, _ in who.look()[of:]), 60,
                     f"{who.name} to say {phase!r}", interval_s=0.001)
            if kill % 2 and kill < kills:
                who.kill()
                exposure["copiers killed"] += 1
                exposure[f"copiers killed in a transaction ({who.inside() or 'none'})"] += 1
                who.start()
            else:
                broker.kill()
                exposure["brokers killed"] += 1
                open_ones = [t.state for t in on_disk().values() if t and t.state in ("Ongoing", "PrepareCommit", "PrepareAbort")]
                exposure.update(f"transactions that were {state} in the log of a killed broker" for state in open_ones)
                exposure["brokers killed with a transaction open"] += bool(open_ones)
                copying.start_broker()
        copying.finish()
        exposure.update({"committed": copying.counted("committed"), "aborted on purpose": copying.counted("aborted", "on purpose"),
                         "records": sum(copying.feeder.sent), "stuck": copying.counted("stuck")})
        exposure["aborted otherwise"] = copying.counted("aborted") - exposure["aborted on purpose"]
        for c in copying.copiers:
            exposure.update(f"{word} {rest}".strip() for word, rest in c.events
                            if word == "fatal" or word == "aborted" and rest != "on purpose")
        judge(copying, copying.feeder.sent)
        broker.restart()
        judge(copying, copying.feeder.sent)
        uncommitted = seen.uncommitted(broker, copying.to, Copying.OUT)
        exposure["aborted records in the log"] = sum(v.startswith("no ") for part in uncommitted for v in part)
    except AssertionError:
        print(copying.tails())
        keep(copying)
        raise
    finally:
        copying.destroy()
        print(f"EXPOSURE of {clients_of}, seed {SEED}, {time.monotonic() - began:.0f} s: "
              + ", ".join(f"{n} {what}" for what, n in sorted(exposure.items())))
    inside = sum(n for what, n in exposure.items() if what.startswith("copiers killed in a") and "none" not in what)
    for what, n in {"a copier killed in a transaction": inside, **{what: exposure[what] for what in (
            "brokers killed with a transaction open", "aborted on purpose", "aborted records in the log")}}.items():
        assert n > 0, f"no exposure: {what}"
    if not toolhost.missing("3.9.1"):
        broker.stop()
        dump_log.check_everything(broker.data_dir)
