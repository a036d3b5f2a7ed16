"""The Debian package in a bare Debian 12: installed, run as its unit says, upgraded, removed, purged, installed again.

The tests go on from each other. systemd cannot run there: its unit is verified, ExecStart is run as the unit's user with a
NOTIFY_SOCKET of ours, and the system calls that the broker makes are compared with those that the unit permits."""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess

import pytest

from harness import broker as brokers
from harness import paths
from harness.process import Process, free_port
from packages import build
from packages.debian_root import Root

pytestmark = [pytest.mark.once, pytest.mark.whole,
              pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because it is about Ottla"),
              pytest.mark.skipif(os.geteuid() != 0, reason="skipped, because we are not root"),
              pytest.mark.skipif(shutil.which("kcat") is None, reason="skipped, because kcat is not installed")]

CONFIG, DATA, UNIT = "/etc/ottla/server.properties", "/var/lib/ottla", "/lib/systemd/system/ottla.service"
RECORDS = "".join(f"record {i}\n" for i in range(100))


class Machine(Root):
    """The root, the package, and the broker that is run there as systemd would."""

    def __init__(self, directory: pathlib.Path, deb: pathlib.Path):
        super().__init__(directory / "root")
        self.deb, self.directory = deb, directory
        self.port = free_port()
        self.process = None
        self.apt("update")

    def unit(self, key: str) -> str:
        return re.search(rf"^{key}=(.*)$", self.file(UNIT).read_text(), re.MULTILINE)[1]

    def start(self, *wrapper: str) -> None:
        """As the unit's user, in its directory, with its umask; until it says READY=1."""
        notify = self.file("/run/ottla-notify")
        notify.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.bind(str(notify))
            os.chmod(notify, 0o666)
            s.settimeout(20)
            user = ["setpriv", f"--reuid={self.unit('User')}", f"--regid={self.unit('Group')}", "--init-groups", "--no-new-privs"]
            run = f"umask {self.unit('UMask')}; cd {self.unit('WorkingDirectory')}; exec {' '.join(wrapper)} {self.unit('ExecStart')}"
            self.process = Process("ottla", self.argv(*user, "sh", "-c", run), self.directory / "log",
                                   env={"NOTIFY_SOCKET": "/run/ottla-notify", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
            try:
                while not s.recv(4096).startswith(b"READY=1"):
                    pass
            except TimeoutError:
                self.process.kill()
                raise AssertionError(self.process.tail()) from None

    def stop(self) -> None:
        assert self.process.terminate() == 0, self.process.tail()
        self.process = None

    def kcat(self, *args, stdin="") -> str:
        return subprocess.run(["kcat", "-b", f"localhost:{self.port}", *args], input=stdin, capture_output=True, text=True,
                              timeout=60, check=True).stdout


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    build.need("debhelper")
    deb = pathlib.Path(build.run("packaging/deb/build").split()[-1])
    m = Machine(tmp_path_factory.mktemp("debian"), deb)
    yield m
    if m.process:
        m.process.kill()


def test_lintian(machine):
    build.need("lintian")
    said = subprocess.run(["lintian", "--allow-root", "--fail-on", "error,warning", machine.deb], capture_output=True, text=True, timeout=120)
    assert (said.returncode, said.stdout) == (0, "")


def test_install(machine):
    """A user, a directory of its own, a configuration; nothing is started or enabled."""
    machine.apt("install", machine.add(machine.deb))
    assert machine.run("stat", "-c", "%U:%G %a", DATA) == "ottla:ottla 750\n"
    assert re.fullmatch(r"ottla:x:\d+:\d+:Ottla, a Kafka broker:/var/lib/ottla:/usr/sbin/nologin\n", machine.run("getent", "passwd", "ottla"))
    assert CONFIG in machine.file("/var/lib/dpkg/info/ottla.conffiles").read_text().split()
    assert not list(machine.file("/etc/systemd/system").rglob("ottla*"))
    assert machine.run("ottla", "--version").startswith("ottla ")


def test_unit(machine):
    """systemd finds nothing wrong with it, and its user can run it."""
    assert machine.run("systemd-analyze", "verify", "--man=no", UNIT) == ""
    assert int(machine.unit("LimitNOFILE")) >= 100_000 and machine.unit("Type") == "notify"
    config = machine.file(CONFIG)
    config.write_text(config.read_text().replace("localhost:9092", f"localhost:{machine.port}") + "num.partitions=2\n")
    machine.start()
    machine.kcat("-P", "-t", "kept", "-p", "1", stdin=RECORDS)
    assert machine.kcat("-C", "-t", "kept", "-e", "-q") == RECORDS
    assert machine.run("find", DATA, "!", "-user", "ottla") == "", "all is its user's"
    assert machine.run("find", DATA, "-perm", "/o=rwx", "-not", "-type", "l") == "", "and nobody else's to read"
    machine.stop()


def permitted(machine) -> set:
    """The system calls of @system-service, its sets expanded."""
    def of(name: str) -> set:
        lines = machine.run("systemd-analyze", "syscall-filter", name).splitlines()[1:]
        names = {line.strip() for line in lines if line.startswith("    ") and not line.strip().startswith("#")}
        return {n for n in names if n[0] != "@"}.union(*(of(n) for n in names if n[0] == "@"))
    return of(machine.unit("SystemCallFilter"))


def test_system_calls(machine):
    """What the broker calls from its start to its end is what the unit permits."""
    machine.apt("install", "strace")
    machine.start("strace", "-f", "-qq", "-o", "/tmp/calls")
    machine.kcat("-P", "-t", "traced", "-p", "0", "-z", "zstd", stdin=RECORDS)
    large = "x" * 500_000 + "\n"  # sent from the file
    machine.kcat("-P", "-t", "traced", "-p", "0", stdin=large)
    assert machine.kcat("-C", "-t", "traced", "-e", "-q") == RECORDS + large
    strace = machine.process.pid
    os.kill(int(pathlib.Path(f"/proc/{strace}/task/{strace}/children").read_text()), signal.SIGTERM)
    assert machine.process.wait(20) == 0
    machine.process = None
    calls = set(re.findall(r"^\d+ +([a-z_0-9]+)\(", machine.file("/tmp/calls").read_text(), re.MULTILINE))
    assert {"epoll_wait", "sendfile", "execve"} <= calls
    assert calls - permitted(machine) == set()


def newer(deb: pathlib.Path, work: pathlib.Path) -> pathlib.Path:
    """The same package as version 9, with another configuration."""
    build.run("dpkg-deb", "-R", deb, work)
    control = work / "DEBIAN" / "control"
    control.write_text(re.sub(r"(?m)^Version: .*$", "Version: 9", control.read_text()))
    config = work / CONFIG.lstrip("/")
    config.write_text(config.read_text() + "# new in version 9\n")
    (work / "DEBIAN" / "md5sums").unlink()
    build.run("dpkg-deb", "--root-owner-group", "-b", work, work.parent / "newer.deb")
    return work.parent / "newer.deb"


def test_upgrade(machine):
    """What was changed in the configuration stays; the running broker goes on."""
    changed = machine.file(CONFIG).read_text()
    machine.start()
    machine.apt("install", machine.add(newer(machine.deb, machine.directory / "newer")))
    assert machine.process.running() and machine.kcat("-C", "-t", "kept", "-e", "-q") == RECORDS
    machine.stop()
    assert "Version: 9\n" in machine.run("dpkg", "-s", "ottla")
    assert machine.file(CONFIG).read_text() == changed
    assert "new in version 9" in machine.file(CONFIG + ".dpkg-dist").read_text()
    machine.start()
    assert machine.kcat("-C", "-t", "kept", "-e", "-q") == RECORDS
    machine.stop()


def test_remove(machine):
    """The configuration and the records stay."""
    changed = machine.file(CONFIG).read_text()
    machine.apt("remove", "ottla")
    assert not machine.file("/usr/bin/ottla").exists() and not machine.file(UNIT).exists()
    assert machine.file(CONFIG).read_text() == changed and list(machine.file(DATA).glob("kept-1/*.log"))


def test_purge(machine):
    """The configuration goes; the records do not, and who purges is told. Installed again, they are served."""
    said = machine.apt("purge", "ottla")
    assert "ottla: records are kept in /var/lib/ottla; to remove them: rm -r /var/lib/ottla" in said
    assert not machine.file("/etc/ottla").exists() and list(machine.file(DATA).glob("kept-1/*.log"))
    machine.apt("install", machine.add(machine.deb))
    config = machine.file(CONFIG)
    config.write_text(config.read_text().replace("localhost:9092", f"localhost:{machine.port}"))
    machine.start()
    assert machine.kcat("-C", "-t", "kept", "-e", "-q") == RECORDS
    machine.stop()


def test_purge_without_records(machine):
    """Nothing is left of one that never ran."""
    shutil.rmtree(machine.file(DATA))
    machine.apt("purge", "ottla")
    machine.apt("install", machine.add(machine.deb))
    assert "records are kept" not in machine.apt("purge", "ottla")
    assert not machine.file(DATA).exists()
