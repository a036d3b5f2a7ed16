"""Some seeds of cluster/chaos. Without exposure a run has not passed: then seeds or times are to be chosen anew."""

import shutil

import pytest

from harness import paths

from . import checker

pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")


def play(plan_of, seed: int):
    from .run_once import Plan, RunOnce
    one = RunOnce(Plan(**plan_of), seed, paths.MADE / "chaos" / str(seed), say=print)
    one.run()
    print(one.exposure)
    return one


def passes(plan_of, seed: int) -> None:
    one = play(plan_of, seed)
    assert not one.violations, f"{checker.report(one.violations)}\nkept in {one.directory}"
    assert one.exposure.enough(), "no exposure"
    shutil.rmtree(one.directory)


def test_one(kinds):
    passes({"kinds": kinds, "seconds": 60}, seed=1)


@pytest.mark.whole
@pytest.mark.parametrize("seed", range(100, 105))
def test_some(kinds, seed):
    passes({"kinds": kinds, "seconds": 120}, seed)


@pytest.mark.whole
def test_losses_are_found(kinds):
    """What is judged too strictly, or promised by nobody, is seen to break."""
    one = play({"kinds": kinds, "seconds": 50, "faults": ["gone", "kill", "pause"], "acks_one_too": True,
                "properties": {"unclean.leader.election.enable": "true", "min.insync.replicas": 1}}, seed=20)
    assert {"P2 unseen", "P4 inconsistent-offsets"} <= {v.rule for v in one.violations}, one.exposure
    shutil.rmtree(one.directory)
