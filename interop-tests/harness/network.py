"""A network in which faults can be made: every node has a network namespace of its own, and all packets between them go
through a switch of ours.

    our namespace                 the switch, a process            namespace of broker 0        of broker 1 …
    10.77.0.1 "clients"   ─ tun ─                         ─ tun ─  10.77.0.10
    10.77.0.2 "zookeeper" ─ tun ─  from, to → pass, drop, wait

The switch holds the other end of each node's tun device and knows from whom and to whom a packet is, so that a pair, a
direction, or one node can be cut, and packets be lost or late, without netem, nft or iptables, which a kernel may not
have. What is ours (the clients, the tools, ZooKeeper) stays in the namespace of this process, with an address for each
of the two, so that the way to ZooKeeper can be cut alone.

No privileges: enter() makes this process root of a user namespace of its own. It needs /dev/net/tun, `ip`, and a kernel
that lets users have namespaces; missing() says what is not there. Nothing can be reached from outside, and all of it
ends with this process: a namespace lives as long as somebody has it open, a device as long as the switch runs.
"""

import collections
import contextlib
import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import shutil
import struct
import subprocess
import sys
import time

_libc = ctypes.CDLL(None, use_errno=True)
_NEWNS, _NEWUSER, _NEWNET = 0x00020000, 0x10000000, 0x40000000
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_MTU = 16000  # few packets, since each costs the switch some microseconds

OURS = {"clients": "10.77.0.1", "zookeeper": "10.77.0.2"}
_entered = False


def missing() -> str | None:
    """Why there can be no such network here, or None."""
    if not (shutil.which("ip") and shutil.which("unshare")):
        return "iproute2 or util-linux is not installed"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "/dev/net/tun cannot be opened"
    if not _entered and subprocess.run(["unshare", "-rnm", "true"], capture_output=True).returncode:
        return "this kernel gives users no namespaces"
    return None


def enter() -> None:
    """Moves this process, which must have one thread only, into namespaces of its own: users, network and mounts."""
    global _entered
    if _entered:
        return
    uid, gid = os.getuid(), os.getgid()
    _call(_libc.unshare(_NEWUSER | _NEWNET | _NEWNS), "unshare")
    for name, line in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as f:
            f.write(line)
    _ip("link set lo up")
    _entered = True


class Network:
    """There can be one at a time."""

    def __init__(self, brokers: int, seed: int = 0):
        enter()
        self.addresses = OURS | {str(n): f"10.77.0.{10 + n}" for n in range(brokers)}
        self._namespaces = {}
        self._cuts, self._loss, self._delay_s = collections.Counter(), 0.0, 0.0  # (source, target) -> how often it is cut
        ours = _tun("ottla")
        for address in OURS.values():
            _ip(f"addr add {address}/24 dev ottla")
        _ip(f"link set ottla mtu {_MTU} up")
        ends = {name: ours for name in OURS}
        for n in range(brokers):
            self._namespaces[str(n)], ends[str(n)] = _namespace(f"ottla{n}", self.addresses[str(n)])
        nodes = [[name, address, ends[name]] for name, address in self.addresses.items()]
        self._switch = subprocess.Popen([sys.executable, __file__, str(seed), json.dumps(nodes)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, pass_fds=sorted(set(ends.values())), text=True)
        for end in set(ends.values()):
            os.close(end)
        self._tell()

    def enter_node(self, name: str):
        """What a child process calls before exec to be in that node."""
        namespace = self._namespaces[name]
        return lambda: _call(_libc.setns(namespace, _NEWNET), "setns")

    # Faults: nodes by their names. Each takes effect for the next packet. What was cut twice is to be joined twice.

    def cut_one_way(self, source: str, target: str) -> None:
        self._cuts[source, target] += 1
        self._tell()

    def join_one_way(self, source: str, target: str) -> None:
        self._cuts[source, target] -= 1
        self._tell()

    def cut(self, one: str, *others: str) -> None:
        """Both ways, between one and each of the others."""
        self._cuts.update(_both_ways(one, others))
        self._tell()

    def join(self, one: str, *others: str) -> None:
        self._cuts.subtract(_both_ways(one, others))
        self._tell()

    def lose(self, share: float) -> None:
        """This share of the packets between brokers, and between them and ZooKeeper; not those of clients."""
        self._loss = share
        self._tell()

    def delay(self, seconds: float) -> None:
        """Each of these packets is late by so much."""
        self._delay_s = seconds
        self._tell()

    def heal(self) -> None:
        self._cuts, self._loss, self._delay_s = collections.Counter(), 0.0, 0.0
        self._tell()

    def close(self) -> None:
        self._switch.stdin.close()
        self._switch.wait(10)
        self._switch.stdout.close()
        for namespace in self._namespaces.values():
            os.close(namespace)

    def _tell(self) -> None:
        cuts = [pair for pair, times in self._cuts.items() if times > 0]
        self._switch.stdin.write(json.dumps([cuts, self._loss, self._delay_s]) + "\n")
        self._switch.stdin.flush()
        if not self._switch.stdout.readline():
            raise RuntimeError("the switch has ended")


def _both_ways(one: str, others: tuple) -> list:
    return [pair for other in others for pair in ((one, other), (other, one))]


def _call(result: int, what: str) -> None:
    if result:
        raise OSError(ctypes.get_errno(), what)


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True)


def _tun(device: str) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", device.encode(), _IFF_TUN | _IFF_NO_PI))
    return fd


def _namespace(device: str, address: str) -> tuple[int, int]:
    """A new network namespace and our end of the one device in it. A child opens it and ends."""
    made, go_on = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            _call(_libc.unshare(_NEWNET), "unshare")
            os.write(made[1], b".")
            os.read(go_on[0], 1)
            _ip("link set lo up")
            _ip(f"addr add {address}/24 dev {device}")
            _ip(f"link set {device} mtu {_MTU} up")
            status = 0
        os._exit(status)
    os.close(made[1])
    if not os.read(made[0], 1):
        raise RuntimeError("a network namespace could not be made")
    namespace = os.open(f"/proc/{child}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    end = _tun(device)
    _ip(f"link set {device} netns {child}")
    os.write(go_on[1], b".")
    _, status = os.waitpid(child, 0)
    for fd in (made[0], *go_on):
        os.close(fd)
    if status:
        raise RuntimeError(f"{address} could not be set up")
    return namespace, end


# --- the switch, which is this file run as a program


class Switch:
    def __init__(self, seed: int, nodes: list):
        self._names = {bytes(map(int, address.split("."))): name for name, address, _ in nodes}
        self._ends = {name: end for name, _, end in nodes}
        self._random = random.Random(seed)
        self._cuts, self._loss, self._delay_s = set(), 0.0, 0.0
        self._late = []  # (when due, serial number, end, packet)
        self._serial = 0

    def run(self) -> None:
        poll = select.poll()
        for end in set(self._ends.values()):
            poll.register(end, select.POLLIN)
        poll.register(0, select.POLLIN)
        while True:
            for fd, _ in poll.poll(self._wait_ms()):
                if fd:
                    self._receive(fd)
                elif line := sys.stdin.readline():
                    cuts, self._loss, self._delay_s = json.loads(line)
                    self._cuts = {tuple(pair) for pair in cuts}
                    print(flush=True)
                else:
                    return
            while self._late and self._late[0][0] <= time.monotonic():
                _, _, end, packet = heapq.heappop(self._late)
                self._send(end, packet)

    def _wait_ms(self) -> int | None:
        return max(0, int((self._late[0][0] - time.monotonic()) * 1000) + 1) if self._late else None

    def _receive(self, end: int) -> None:
        for _ in range(64):  # so that one node cannot keep the others waiting
            try:
                packet = os.read(end, 1 << 16)
            except BlockingIOError:
                return
            source, target = self._names.get(packet[12:16]), self._names.get(packet[16:20])
            if not source or not target or (source, target) in self._cuts:
                continue
            hurt = "clients" not in (source, target)
            if hurt and self._loss and self._random.random() < self._loss:
                continue
            if hurt and self._delay_s:
                self._serial += 1
                heapq.heappush(self._late, (time.monotonic() + self._delay_s, self._serial, self._ends[target], packet))
            else:
                self._send(self._ends[target], packet)

    def _send(self, end: int, packet: bytes) -> None:
        with contextlib.suppress(OSError):  # a full queue: the packet is lost, as on any network
            os.write(end, packet)


if __name__ == "__main__":
    Switch(int(sys.argv[1]), json.loads(sys.argv[2])).run()
