"""A broker that is killed at work, again and again.

OTTLA_KILLS sets how often: 100 in the slice, 1000 in the whole run. OTTLA_SEED repeats a run's choices.
"""

import collections
import os
import random
import shutil
import time

import pytest

from harness import broker as brokers
from harness import paths

ck = pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")
from .killing import Run  # noqa: E402

WHOLE = os.environ.get("OTTLA_INTEROP") == "all"
KILLS = int(os.environ.get("OTTLA_KILLS", 0)) or (1000 if WHOLE else 100)
KILLS_OF_A_BROKER, KILLS_BETWEEN_JUDGEMENTS = 50, 25
SEED = int(os.environ.get("OTTLA_SEED", 0)) or random.randrange(1, 1 << 31)
pytestmark = pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because it reads Ottla's log")


def keep(run: Run) -> None:
    """The broker's directories, for whoever wants to know why."""
    run.broker.kill()
    kept = paths.MADE / f"kills-{paths.RUN}"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(run.broker.directory, kept)


@pytest.mark.once
@pytest.mark.client("kills")
def test_kills():
    exposure, began, left, seed = collections.Counter(), time.monotonic(), KILLS, SEED
    try:
        while left > 0:
            run = Run(seed)
            try:
                run.begin()
                while left > 0 and run.exposure["kills"] < KILLS_OF_A_BROKER:
                    before = run.exposure["kills"]
                    for _ in range(KILLS_BETWEEN_JUDGEMENTS):
                        run.kill()
                    run.judge()
                    left -= run.exposure["kills"] - before
                run.end()
            except AssertionError:
                print(run.broker.log_tail())
                keep(run)
                raise
            finally:
                exposure += run.exposure
                run.destroy()
            seed += 1
    finally:
        print(f"EXPOSURE, OTTLA_SEED={SEED}, {time.monotonic() - began:.0f} s: "
              + ", ".join(f"{n} {what}" for what, n in sorted(exposure.items())))
    for what in ("kills while cleaning", "kills while segments are deleted", "kills while topics are deleted",
                 "kills at the start", "starts moved", "records acknowledged", "transactions committed",
                 "transactions aborted", "topics named", "cleans"):
        assert exposure[what] > 0, f"no exposure: {what}"
    assert exposure["kills"] >= KILLS
    assert not exposure["moves asked for"] or exposure["kills while moving"], "no exposure: kills while moving"
