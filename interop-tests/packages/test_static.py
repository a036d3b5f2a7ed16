"""The broker as one file: nothing of it is shared, it is small, it finds names, it serves in an empty root.

`OTTLA_BINARY=build/static/ottla interop-tests/run slice` runs all other tests on it."""

import json
import os
import pathlib
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

import pytest

from harness import broker as brokers
from harness import clients, paths
from harness.life import unique
from harness.process import Process, free_port
from harness.wait import wait_for
from packages import build, names

pytestmark = [pytest.mark.once, pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because it is about Ottla")]

SIZE_MAX = 12_000_000  # OpenSSL is half of it
IDLE_RSS_KIB_MAX = 3 * 1024
PT_DYNAMIC, PT_INTERP, DT_NEEDED = 2, 3, 1
X86_64, AARCH64 = 62, 183


@pytest.fixture(scope="module")
def static():
    return build.static_binary()


@pytest.fixture(scope="module")
def arm64():
    return build.arm64_binary()


def elf(binary: pathlib.Path) -> tuple[int, bool, list]:
    """Of a 64-bit ELF file: the machine, whether it names an interpreter, and the libraries that it needs."""
    data = binary.read_bytes()
    machine, = struct.unpack_from("<H", data, 18)
    at, = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    interpreter, needed = False, []
    for i in range(count):
        kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", data, at + i * size)
        interpreter |= kind == PT_INTERP
        if kind == PT_DYNAMIC:
            needed += [v for t, v in struct.iter_unpack("<qQ", data[offset:offset + length]) if t == DT_NEEDED]
    return machine, interpreter, needed


def test_one_file(static):
    assert elf(static) == (X86_64 if os.uname().machine == "x86_64" else AARCH64, False, [])
    assert static.stat().st_size < SIZE_MAX
    assert elf(pathlib.Path(sys.executable).resolve())[1]


def test_names_and_empty_roots(static, tmp_path):
    """In a root with nothing but the binary; by /etc/hosts; by DNS; whatever nsswitch.conf lists."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode != 0:
        pytest.skip("skipped, because network namespaces cannot be made")
    done = subprocess.run(["unshare", "--net", sys.executable, names.__file__, static, tmp_path], capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said.pop("zookeeper on localhost in an empty root") == "found"
    unknown = said.pop("a name that nobody knows")
    assert unknown == "ottla: cannot start: listener PLAINTEXT: cannot resolve nowhere.test: Name or service not known"
    assert said == {name: "served" for name in said} and len(said) == 6


class Broker:
    """The binary on free ports; `argv` runs it."""

    def __init__(self, directory: pathlib.Path, *argv, http: bool = True):
        self.port, self.http_port = free_port(), free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.started_at = time.monotonic()
        overrides = [f"listeners=PLAINTEXT://{self.bootstrap}", f"log.dirs={directory}/data", "offsets.topic.num.partitions=1"]
        overrides += [f"ottla.http.listener=127.0.0.1:{self.http_port}"] if http else []
        self.process = Process("ottla", [*argv, *(x for o in overrides for x in ("--override", o))], directory / "log")

    def wait(self, timeout_s: float) -> float:
        """Until it answers; how long that took, in ms."""
        def answers():
            assert self.process.running(), self.process.tail()
            return brokers._metadata_ready("127.0.0.1", self.port)
        wait_for(answers, timeout_s, "the broker to answer", interval_s=0.0005)
        return (time.monotonic() - self.started_at) * 1000

    def http(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=10) as answer:
            return answer.read().decode()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()


def forget_cached(binary: pathlib.Path) -> None:
    """Leaves the page cache, as long as nobody runs it. How much of a file the kernel maps at once depends on how its
    pages came there: what was just written is in pieces so large that nearly all of it counts."""
    with open(binary, "rb") as f:
        os.fsync(f.fileno())
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def test_start_and_memory(static, tmp_path, record_property):
    copy = pathlib.Path(shutil.copy(static, tmp_path / "ottla"))
    forget_cached(copy)
    took_ms = []
    for _ in range(5):
        with Broker(tmp_path, copy, http=False) as b:
            took_ms.append(b.wait(15))
            rss = int(next(line.split()[1] for line in open(f"/proc/{b.process.pid}/status") if line.startswith("VmRSS")))
            assert b.process.terminate() == 0
    print(f"answers after {statistics.median(took_ms):.1f} ms, RSS {rss} KiB")
    assert rss <= IDLE_RSS_KIB_MAX
    assert min(took_ms) < 100, took_ms


def kcat(*args, stdin="") -> str:
    return subprocess.run(["kcat", *args], input=stdin, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.mark.skipif(shutil.which("kcat") is None, reason="skipped, because kcat is not installed")
def test_serves(static, tmp_path):
    """Records of every codec, over a restart."""
    records = "".join(f"{i} {'x' * 200}\n" for i in range(300))
    with Broker(tmp_path, static) as b:
        b.wait(15)
        for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
            kcat("-b", b.bootstrap, "-P", "-t", "t", "-z", codec, "-X", "linger.ms=50", stdin=records)
        assert b.http("/readyz") == "ok\n" and "kafka_server_brokertopicmetrics_messagesin_total" in b.http("/metrics")
        assert b.process.terminate() == 0
    with Broker(tmp_path, static) as b:
        b.wait(15)
        assert kcat("-b", b.bootstrap, "-C", "-t", "t", "-e", "-q") == 5 * records


@pytest.mark.whole
@pytest.mark.skipif(shutil.which("kcat") is None, reason="skipped, because kcat is not installed")
def test_arm64(arm64, tmp_path):
    """Built by a cross compiler, run by qemu's user mode: a produce and a consume of each codec."""
    assert elf(arm64) == (AARCH64, False, []) and arm64.stat().st_size < SIZE_MAX
    records = "".join(f"{i} {'x' * 200}\n" for i in range(300))
    with Broker(tmp_path, build.qemu(), arm64) as b:
        b.wait(60)
        assert b.http("/readyz") == "ok\n"
        for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
            kcat("-b", b.bootstrap, "-P", "-t", "t", "-z", codec, stdin=records)
        assert kcat("-b", b.bootstrap, "-C", "-t", "t", "-e", "-q") == 5 * records
        assert b.process.terminate() == 0
