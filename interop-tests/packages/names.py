"""Runs the static broker in roots of its own, in a network of its own (unshare --net), with a DNS server of ours on its
port 53:  names.py BINARY DIRECTORY.  Prints a JSON object: for each case what became of it. test_static.py reads it."""

import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time

PORT = 9092
KNOWN = {"broker.in-dns.test": "127.0.0.9"}
# Modules that do not exist: a broker that looked at this file would find no name, or load a library.
NSSWITCH = "hosts: nosuch\npasswd: nosuch\nservices: nosuch\n"
CASES = {
    # name: (files of the root, host of the listener, where it then answers)
    "localhost in an empty root": ({}, "localhost", "127.0.0.1"),
    "an address in an empty root": ({}, "127.0.0.1", "127.0.0.1"),
    "all addresses in an empty root": ({}, "", "127.0.0.3"),
    "localhost by /etc/hosts": ({"hosts": "127.0.0.4 localhost\n", "nsswitch.conf": NSSWITCH}, "localhost", "127.0.0.4"),
    "a name in /etc/hosts": ({"hosts": "127.0.0.5 broker.in-hosts.test\n", "nsswitch.conf": NSSWITCH},
                             "broker.in-hosts.test", "127.0.0.5"),
    "a name in DNS": ({"hosts": "127.0.0.1 localhost\n", "resolv.conf": "nameserver 127.0.0.1\n", "nsswitch.conf": NSSWITCH},
                      "broker.in-dns.test", "127.0.0.9"),
    "a name that nobody knows": ({"resolv.conf": "nameserver 127.0.0.1\n"}, "nowhere.test", None),
}


def serve_dns(server: socket.socket) -> None:
    """Answers A of what is KNOWN; of that name it has nothing else, and another name is not there."""
    while True:
        query, peer = server.recvfrom(512)
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        question = query[12:at + 5]
        address = KNOWN.get(".".join(labels).lower())
        is_a = struct.unpack(">H", question[-4:-2])[0] == 1
        answer = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton(address) if address and is_a else b""
        flags = 0x8580 if address else 0x8583
        server.sendto(query[:2] + struct.pack(">HHHHH", flags, 1, 1 if answer else 0, 0, 0) + question + answer, peer)


def root_with(directory: pathlib.Path, binary: str, files: dict) -> pathlib.Path:
    directory.mkdir()
    shutil.copy(binary, directory / "ottla")
    if files:
        (directory / "etc").mkdir()
    for name, text in files.items():
        (directory / "etc" / name).write_text(text)
    return directory


def start(root: pathlib.Path, host: str, *more: str) -> subprocess.Popen:
    overrides = [f"listeners=PLAINTEXT://{host}:{PORT}", "advertised.listeners=PLAINTEXT://x:1", "log.dirs=/data", *more]
    return subprocess.Popen(["/ottla", *(x for o in overrides for x in ("--override", o))], stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=open(root / "log", "wb"), preexec_fn=lambda: os.chroot(root), env={})


def api_versions(host: str) -> bool:
    """Does a broker answer ApiVersions v0 there?"""
    with socket.create_connection((host, PORT), timeout=2) as s:
        s.sendall(struct.pack(">ihhih", 10, 18, 0, 7, -1))
        return s.recv(8)[4:] == struct.pack(">i", 7)


def outcome(root: pathlib.Path, host: str, answers_at: str | None) -> str:
    """"served", or what it said last."""
    broker = start(root, host)
    try:
        deadline = time.monotonic() + 15
        while broker.poll() is None and time.monotonic() < deadline:
            try:
                if answers_at and api_versions(answers_at):
                    broker.terminate()
                    status = broker.wait(15)
                    return "served" if status == 0 else f"ended with {status}"
            except OSError:
                time.sleep(0.01)
        return (root / "log").read_text().rstrip().split("\n")[-1]
    finally:
        if broker.poll() is None:
            broker.kill()
        broker.wait()


def zookeeper_is_found(root: pathlib.Path) -> str:
    """libzookeeper resolves by itself: does it reach localhost out of an empty root?"""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 2181))
        s.listen()
        s.settimeout(15)
        broker = start(root, "127.0.0.1", "zookeeper.connect=localhost:2181", "broker.id=1")
        try:
            s.accept()[0].close()
            return "found"
        except TimeoutError:
            return (root / "log").read_text()
        finally:
            broker.kill()
            broker.wait()


def main(binary: str, directory: str) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    threading.Thread(target=serve_dns, args=(server,), daemon=True).start()
    top = pathlib.Path(directory)
    said = {}
    for number, (name, (files, host, answers_at)) in enumerate(CASES.items()):
        said[name] = outcome(root_with(top / f"root{number}", binary, files), host, answers_at)
    said["zookeeper on localhost in an empty root"] = zookeeper_is_found(root_with(top / "zookeeper", binary, {}))
    print(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
