"""Power that is really cut, under a broker that is at work.

OTTLA_CUTS sets how often, in all tests of a run together: 25 in the slice, 500 in the whole run. OTTLA_SEED repeats a run's
choices.
"""

import collections
import contextlib
import json
import os
import random
import shutil
import time

import pytest

from harness import paths

from . import disk
ck = pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")
from .cuts import Run  # noqa: E402

WHOLE = os.environ.get("OTTLA_INTEROP") == "all"
DISKS = {"ext4": ("ext4", "data=ordered"), "ext4-writeback": ("ext4", "data=writeback"), "xfs": ("xfs", "defaults")}
TESTS = 6 if WHOLE else 2
CUTS = -(-(int(os.environ.get("OTTLA_CUTS", 0)) or (500 if WHOLE else 25)) // TESTS)
CUTS_OF_A_DISK = 25
SEED = int(os.environ.get("OTTLA_SEED", 0)) or random.randrange(1, 1 << 31)


@pytest.fixture(params=["ext4", *(pytest.param(d, marks=pytest.mark.whole) for d in DISKS if d != "ext4")])
def disks(request):
    kind, options = DISKS[request.param]
    why = disk.missing(kind)
    if why:
        pytest.skip(f"skipped, because {why}")
    return kind, options


def keep(run: Run) -> None:
    """The broker's directories, for whoever wants to know why."""
    run.broker.kill()
    kept = paths.MADE / f"power-{paths.RUN}"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(run.broker.directory, kept)
    (kept / "transactions.json").write_text(json.dumps(run.ledgers))
    with contextlib.suppress(shutil.Error):  # between a cut and the mount nothing can be read
        shutil.copytree(run.broker.data_dir, kept / "data", dirs_exist_ok=True)


def cut_often(disks, flushed: bool) -> collections.Counter:
    exposure, began, left, seed = collections.Counter(), time.monotonic(), CUTS, SEED
    try:
        while left > 0:
            with disk.Disk(*disks, in_memory=not WHOLE) as d:
                run = Run(d, flushed, seed)
                try:
                    run.begin()
                    for _ in range(min(left, CUTS_OF_A_DISK)):
                        run.cut()
                    run.end()
                except AssertionError:
                    print(run.broker.log_tail())
                    keep(run)
                    raise
                finally:
                    exposure += run.exposure
                    run.destroy()
            left, seed = left - CUTS_OF_A_DISK, seed + 1
    finally:
        print(f"EXPOSURE of {' '.join(disks)}, {'flushed' if flushed else 'not flushed'}, OTTLA_SEED={SEED}, "
              f"{time.monotonic() - began:.0f} s: " + ", ".join(f"{n} {what}" for what, n in exposure.items()))
    for what in ("cuts", "acknowledgements before a cut", "cuts with something in flight", "bytes lost",
                 "commits of offsets acknowledged", "topics named"):
        assert exposure[what] > 0, f"no exposure: {what}"
    return exposure


@pytest.mark.once
@pytest.mark.client("power")
def test_flushed(disks):
    """flush.messages=1 everywhere: what was acknowledged is there, once and in order; transactions are whole."""
    exposure = cut_often(disks, True)
    for what in ("transactions committed", "transactions aborted"):
        assert exposure[what] > 0, f"no exposure: {what}"


@pytest.mark.once
@pytest.mark.client("power")
def test_not_flushed(disks):
    """What is missing is an end, as long as it is after the last flush; and a topic that is flushed has all."""
    exposure = cut_often(disks, False)
    assert exposure["records lost that were not promised"] > 0, "no exposure: nothing was lost, so no power was cut"
