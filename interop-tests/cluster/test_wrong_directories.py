"""A broker that comes back, and its directory is not what it left: empty, another broker's, or its own of some time ago.

It is made whole from the others where it may start at all, and nothing that was acknowledged is lost, whatever it had
led. All of it with a producer with acks=all, a reader and a group, and with replicas compared in the end.
"""

import contextlib
import shutil

import pytest


pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")

from .work import everyone  # noqa: E402

REASONS = {"ottla": "ottla: cannot start: broker.id is {own}, but {directory}/meta.properties says {other}; ",
           "kafka": "Stored node id {other} doesn't match previous node id {own} in {directory}/meta.properties."}


@contextlib.contextmanager
def still(cluster, n: int):
    """Nothing is written meanwhile. Shorter than its session."""
    cluster.pause(n)
    try:
        yield
    finally:
        cluster.resume(n)


def empty(directory) -> None:
    """It stays what it is, the root of a file system."""
    for path in directory.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def fill_from(copy, directory) -> None:
    empty(directory)
    shutil.copytree(copy, directory, dirs_exist_ok=True)


def contents(directory) -> dict:
    return {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("end", [pytest.param("stopped", marks=pytest.mark.whole), "killed"])
def test_empty(cluster, work, end):
    """Those who were killed start at once, within their session where they can."""
    b = cluster.brokers[work.leader()]
    b.stop() if end == "stopped" else b.kill()
    empty(b.data_dir)
    b.launch()
    work.check()
    work.check_replicas()


@pytest.mark.parametrize("taken, commands", [
    ("stopped", False), ("running", True),
    *(pytest.param(*each, marks=pytest.mark.whole) for each in (("stopped", True), ("running", False)))])
def test_old_copy(cluster, work, tmp_path, taken, commands):
    """A backup that was put back: it ends in an epoch in which others have gone on; or it was taken of a broker that ran,
    which then was killed, so that who starts on it may find its session to be its own. The controller, or another."""
    n = next(n for n in everyone(cluster) if (n == cluster.controller()) == commands)  # each leads one partition
    b, old = cluster.brokers[n], tmp_path / "old"
    if taken == "stopped":
        b.stop()
        shutil.copytree(b.data_dir, old)
        b.start()
        cluster.settle()
        work.led_by_preferred()
    else:
        with still(cluster, n):
            shutil.copytree(b.data_dir, old)
    work.goes_on(400)
    b.stop() if taken == "stopped" else b.kill()
    fill_from(old, b.data_dir)
    b.launch()
    work.check()
    work.check_replicas()


def test_of_another_broker(cluster, work, tmp_path):
    """The start is refused, with the reason, and nothing has been touched."""
    own = work.leader()
    other = next(n for n in range(len(cluster.brokers)) if n != own)
    b, kept = cluster.brokers[own], tmp_path / "kept"
    b.stop()
    shutil.copytree(b.data_dir, kept)
    with still(cluster, other):
        fill_from(cluster.brokers[other].data_dir, b.data_dir)
    before = contents(b.data_dir)
    status, said = b.start_refused(b.start_timeout_s)
    assert status == 1, said
    reason = REASONS[b.kind].format(own=own, other=other, directory=b.data_dir)
    assert reason in said, said
    if b.kind == "ottla":
        assert len([line for line in said.splitlines() if not line.startswith("[")]) == 1, said
    assert contents(b.data_dir) == before
    assert cluster.registered() == {n for n in range(len(cluster.brokers)) if n != own}
    work.goes_on()
    fill_from(kept, b.data_dir)
    b.launch()
    work.check()
    work.check_replicas()
