"""Some seeds of cluster/chaos. Without exposure a run has not passed: then seeds or times are to be chosen anew."""

import shutil

import pytest

from harness import network, paths, power_loss

from . import checker

pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")


def play(plan_of, seed: int):
    from .run_once import Plan, RunOnce
    one = RunOnce(Plan(**plan_of), seed, paths.MADE / "chaos" / str(seed), say=print)
    one.run()
    print(one.exposure)
    return one


def passes(plan_of, seed: int):
    one = play(plan_of, seed)
    assert not one.violations, f"{checker.report(one.violations)}\nkept in {one.directory}"
    assert one.exposure.enough(), "no exposure"
    shutil.rmtree(one.directory)
    return one


def test_one(kinds):
    passes({"kinds": kinds, "seconds": 25}, seed=1)


@pytest.mark.whole
@pytest.mark.parametrize("seed", range(100, 105))
def test_some(kinds, seed):
    passes({"kinds": kinds, "seconds": 120}, seed)


def test_moves(kinds):
    """Four brokers, so that partitions have somewhere to go."""
    one = passes({"kinds": kinds + kinds[:1], "seconds": 20}, seed=400)
    assert one.exposure.counts["moves"] and one.exposure.counts["preferred leaders"], one.exposure


def needs_power(kinds, all_of_them: bool = False) -> None:
    why = network.missing() or power_loss.missing() or (
        "power fails for Ottla only" if (set(kinds) != {"ottla"} if all_of_them else "ottla" not in kinds) else None)
    if why:
        pytest.skip(f"skipped, because {why}")


def test_power(kinds):
    """One broker at a time loses what it has not synced: others have it."""
    needs_power(kinds)
    one = passes({"kinds": kinds, "seconds": 9, "faults": ["power"]}, seed=1)
    assert one.exposure.counts["bytes lost"] > 0, one.exposure


@pytest.mark.whole
@pytest.mark.parametrize("seed", range(200, 203))
def test_power_among_others(kinds, seed):
    needs_power(kinds)
    one = passes({"kinds": kinds, "seconds": 100, "faults": ["power", "kill", "restart", "pause", "power", "pair", "zookeeper"]},
                 seed)
    assert one.exposure.counts["bytes lost"] > 0, one.exposure


@pytest.mark.whole
def test_what_is_flushed_survives_a_blackout(kinds):
    """All lose power at one moment, and nothing is acknowledged that is not on disks."""
    needs_power(kinds, all_of_them=True)
    passes({"kinds": kinds, "seconds": 30, "faults": ["blackout"], "properties": {"log.flush.interval.messages": 1}}, seed=30)


@pytest.mark.whole
def test_a_blackout_loses(kinds):
    """Without flushing it is seen that power was lost."""
    needs_power(kinds, all_of_them=True)
    one = play({"kinds": kinds, "seconds": 20, "faults": ["blackout"]}, seed=31)
    assert "P2 unseen" in {v.rule for v in one.violations}, one.exposure
    shutil.rmtree(one.directory)


@pytest.mark.whole
def test_losses_are_found(kinds):
    """What is judged too strictly, or promised by nobody, is seen to break."""
    one = play({"kinds": kinds, "seconds": 50, "faults": ["gone", "kill", "pause"], "acks_one_too": True,
                "properties": {"unclean.leader.election.enable": "true", "min.insync.replicas": 1}}, seed=20)
    assert {"P2 unseen", "P4 inconsistent-offsets"} <= {v.rule for v in one.violations}, one.exposure
    shutil.rmtree(one.directory)
