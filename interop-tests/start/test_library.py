"""libottla: brokers inside of another process. The programs of lib/examples, and what the library must not do to its host."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from harness import broker as brokers
from harness import paths

LIBRARY = paths.ottla_binary().parent / "libottla.so"
ARCHIVE = LIBRARY.with_suffix(".a")
EXAMPLES = paths.ROOT / "lib" / "examples"

pytestmark = [pytest.mark.once,
              pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because it is about Ottla"),
              pytest.mark.skipif(not LIBRARY.exists(), reason=f"skipped, because {LIBRARY} is not there (target libottla)"),
              pytest.mark.skipif(b"__asan_init" in paths.ottla_binary().read_bytes() or b"__tsan_init" in paths.ottla_binary().read_bytes(),
                                 reason="skipped, because the library is built with a sanitizer, and Python is not")]

LIBRARIES = "-lsqlite3 -ljansson -lzookeeper_mt -lcivetweb -lssl -lcrypto -lpcre2-8 -lisal -lz -llz4 -lzstd -lsnappy -lpthread -lm".split()


def python(source: str, cwd) -> subprocess.CompletedProcess:
    env = {**os.environ, "OTTLA_LIBRARY": str(LIBRARY), "PYTHONPATH": str(EXAMPLES)}
    return subprocess.run([sys.executable, "-c", source], env=env, cwd=cwd, capture_output=True, text=True, timeout=60)


def passes(source: str, cwd) -> str:
    """Its standard output; it says nothing on standard error."""
    done = python(source, cwd)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


@pytest.mark.parametrize("how", ["shared", "archive"])
def test_example_in_c(tmp_path, how):
    if not shutil.which("cc"):
        pytest.skip("skipped, because there is no C compiler")
    program = tmp_path / "example"
    link = ["-L", LIBRARY.parent, f"-Wl,-rpath,{LIBRARY.parent}", "-lottla"] if how == "shared" else [ARCHIVE, *LIBRARIES]
    if how == "archive" and not ARCHIVE.exists():
        pytest.skip(f"skipped, because {ARCHIVE} is not there (target libottla)")
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-std=c11", EXAMPLES / "example.c", "-I", paths.ROOT / "lib", "-o", program,
                    *link], check=True)
    running = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    addresses = [running.stdout.readline().strip() for _ in range(2)]
    assert len(set(addresses)) == 2
    for address in addresses:
        said = subprocess.run([paths.ottla_binary(), "topics", "--bootstrap-server", address, "--describe"], capture_output=True,
                              text=True, timeout=20).stdout
        assert re.match(r"Topic: orders\tTopicId: \S+\tPartitionCount: 3\t", said)
    out, err = running.communicate("\n", timeout=20)
    assert (running.returncode, out, err) == (0, "", "")


def test_a_client_in_the_same_process(tmp_path):
    pytest.importorskip("confluent_kafka")
    assert passes("""
import confluent_kafka, ottla
with ottla.Ottla() as broker:
    broker.create_topic("orders:3")
    producer = confluent_kafka.Producer({"bootstrap.servers": broker.address})
    for i in range(1000):
        producer.produce("orders", f"{i}")
    assert producer.flush(20) == 0
    consumer = confluent_kafka.Consumer({"bootstrap.servers": broker.address, "group.id": "g", "auto.offset.reset": "earliest"})
    consumer.subscribe(["orders"])
    seen = set()
    while len(seen) < 1000:
        seen |= {m.value() for m in consumer.consume(1000, 1) if not m.error()}
    consumer.close()
    del producer
print("all")
""", tmp_path) == "all\n"


HOST = """
import os, pathlib, resource, signal, ottla

def state():
    status = pathlib.Path("/proc/self/status").read_text()
    fds = sorted(os.readlink(f"/proc/self/fd/{f}").split(":")[0] for f in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{f}"))
    masks = dict(line.split(":\\t") for line in status.splitlines() if line.startswith("Sig"))
    # 32 and above glibc takes for itself, with the first thread of a process.
    return ([int(masks[name], 16) & 0x7fffffff for name in ("SigBlk", "SigIgn", "SigCgt")], resource.getrlimit(resource.RLIMIT_NOFILE),
            os.getcwd(), len(os.listdir("/proc/self/task")), fds)

def memory():
    return {d for where in ("/dev/shm", "/tmp") for d in pathlib.Path(where).glob("ottla-memory-*")}
"""


def test_it_leaves_its_host_as_it_was(tmp_path):
    assert passes(HOST + """
signal.signal(signal.SIGTERM, lambda *_: print("mine"))
resource.setrlimit(resource.RLIMIT_NOFILE, (1000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
before = state()
brokers = [ottla.Ottla() for _ in range(5)]
assert len({b.address for b in brokers}) == 5
during = state()
held = {d for d in during[4] if d.rpartition("/")[2].startswith("ottla-memory-")}
assert during[:3] == before[:3] and during[3] > before[3]
for task in pathlib.Path("/proc/self/task").iterdir():  # no thread of a broker takes a signal
    if int(task.name) != os.getpid():
        blocked = int(dict(l.split(":\\t") for l in (task / "status").read_text().splitlines() if ":\\t" in l)["SigBlk"], 16)
        assert blocked >> (signal.SIGTERM - 1) & 1 and blocked >> (signal.SIGPIPE - 1) & 1
os.kill(os.getpid(), signal.SIGTERM)
for b in brokers:
    b.stop()
assert state() == before, (state(), before)
assert len(held) == 5 and not any(os.path.exists(d) for d in held)
""", tmp_path) == "mine\n"
    assert list(tmp_path.iterdir()) == []


def test_a_directory_is_found_again(tmp_path):
    passes("""
import ottla
options = ["log.dirs=data", "broker.id=3", "num.partitions=2"]
with ottla.Ottla(*options) as b:
    b.create_topic("t")
    try:
        ottla.Ottla(*options)
    except ottla.Error as e:
        assert "data is in use" in str(e), e
    else:
        raise AssertionError("two brokers in one directory")
with ottla.Ottla(*options) as b:
    b.create_topic("t:5:1")  # is there: nothing happens
""", tmp_path)
    assert (tmp_path / "data" / "t-1").is_dir() and not (tmp_path / "data" / "t-2").exists()


@pytest.mark.parametrize("options, said", [
    (["nonsense"], 'an option is name=value, not "nonsense"'),
    (["num.partitions=0"], 'option num.partitions: "0" is not allowed; it must be a whole number of 32 bits in 1..'),
    (["listeners=SSL://:1"], "listener SSL: option ssl.keystore.location: it is not set; a listener with TLS needs a key and its certificate"),
    (["zookeeper.connect=127.0.0.1:1"], "with zookeeper.connect the option log.dirs must be set: topics would outlive their records"),
])
def test_refusals(tmp_path, options, said):
    assert passes(HOST + f"""
before = state()
try:
    ottla.Ottla(*{options!r})
except ottla.Error as e:
    print(e)
assert state() == before
""", tmp_path) == said + "\n"


def test_topics_that_are_refused_and_levels(tmp_path):
    done = python("""
import ottla
with ottla.Ottla() as b:
    for topic in ("a b", "t:1:3"):
        try:
            b.create_topic(topic)
        except ottla.Error as e:
            print(e)
try:
    ottla.log_level("LOUD")
except ValueError as e:
    print(e)
ottla.log_level("INFO")
with ottla.Ottla():
    pass
""", tmp_path)
    assert done.returncode == 0 and done.stdout == (
        'topic to create "a b": the name is not allowed; it is name[:partitions[:replication[:compact]]]\n'
        "topic t cannot be made: Replication factor: 3 larger than available brokers: 1.\n"
        "there is no level LOUD\n")
    assert "INFO elected broker=0" in done.stderr and done.stderr.count("INFO elected") == 1


def test_left_over_memory_is_removed(tmp_path):
    left = passes(HOST + """
before = memory()
b = ottla.Ottla()
print((memory() - before).pop(), flush=True)
os._exit(0)
""", tmp_path).strip()
    assert pathlib.Path(left).is_dir()
    passes("import ottla; ottla.Ottla().stop()", tmp_path)
    assert not pathlib.Path(left).exists()


def test_only_the_api_is_exported():
    names = {"ottla_start", "ottla_address", "ottla_create_topic", "ottla_stop", "ottla_log_level", "ottla_version"}
    for args in (["-D", LIBRARY], *([["-g", ARCHIVE]] if ARCHIVE.exists() else [])):
        said = subprocess.run(["nm", "--defined-only", *args], check=True, capture_output=True, text=True).stdout
        assert {line.split()[2] for line in said.splitlines() if len(line.split()) == 3} == names
