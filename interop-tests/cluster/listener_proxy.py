"""A proxy in front of one broker's inter-broker listener, which is where the broker says that it can be reached: it
keeps every request that other brokers (and, with Kafka, the broker itself) make of it, decoded, with the answer.

Who asks is what the client id says: "2" is the controller or a leader, "broker-2-fetcher-0" a follower.
"""

import contextlib
import re
import socket
import struct
import threading
import time
from dataclasses import dataclass, field

from wire import schema
from wire.player import APIS

CONTROL = {"LeaderAndIsr", "StopReplica", "UpdateMetadata"}
FETCH = 1


@dataclass
class Message:
    sender: int
    receiver: int
    client: str
    api: schema.Api
    version: int
    request: dict
    answer: dict | None = None
    ended: bool = False  # answered, or the connection is gone
    at: float = field(default_factory=time.monotonic)


class Record:
    """What all proxies saw, in the order in which requests came."""

    def __init__(self):
        self.messages = []
        self.broken = []  # what could not be decoded

    def since(self, start: int) -> list:
        return self.messages[start:]


class ListenerProxy:
    """Listens at (host, port); what comes is passed on to the broker `receiver` at `target`."""

    def __init__(self, host: str, port: int, receiver: int, target: tuple, record: Record):
        self._receiver, self._target, self._record = receiver, target, record
        self._refused = set()  # brokers that may not fetch
        self._lost = None  # requests whose answers were lost
        self._open = {}  # socket -> who asks on its connection, when that is known
        self._lock = threading.Lock()
        self._listener = socket.create_server((host, port))
        threading.Thread(target=self._accept, daemon=True).start()

    def refuse_fetches(self, follower: int) -> None:
        """That broker's connections are cut, and cut again as soon as it fetches."""
        with self._lock:
            self._refused.add(follower)
            for s in [s for s, client in self._open.items() if client.startswith(f"broker-{follower}-")]:
                _shut(s)

    def allow_fetches(self) -> None:
        with self._lock:
            self._refused.clear()

    def lose_answers(self, lose: bool = True) -> None:
        """Whatever a controller says, the answer to the first time is lost, and the connection with it."""
        self._lost = set() if lose else None

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for s in self._open:
                _shut(s)

    def _accept(self) -> None:
        while True:
            try:
                theirs, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(theirs,), daemon=True).start()

    def _serve(self, theirs: socket.socket) -> None:
        try:
            ours = socket.create_connection(self._target, timeout=5)
        except OSError:
            theirs.close()
            return
        ours.settimeout(None)
        for s in (ours, theirs):
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._open[theirs] = ""
        waiting = []
        answers = threading.Thread(target=self._answers, args=(ours, theirs, waiting), daemon=True)
        answers.start()
        with contextlib.suppress(OSError):
            for frame in _frames(theirs):
                if not self._request(frame, theirs, waiting):
                    break
                ours.sendall(struct.pack(">i", len(frame)) + frame)
        for s in (ours, theirs):
            _shut(s)
        answers.join()
        with self._lock:
            del self._open[theirs]
        for s in (ours, theirs):
            s.close()
        for message in waiting:
            message.ended = True

    def _request(self, frame: bytes, connection: socket.socket, waiting: list) -> bool:
        """False: not to be passed on."""
        try:
            key, version, _, client, body = schema.decode_request(APIS, frame)
        except (schema.Malformed, struct.error, KeyError) as e:
            self._record.broken.append(f"request to broker {self._receiver}: {e}: {frame[:60].hex()}")
            return True
        sender = int(re.search(r"\d+", client or "")[0])
        with self._lock:
            self._open[connection] = client
            if key == FETCH and sender in self._refused:
                return False
        waiting.append(Message(sender, self._receiver, client, APIS[key], version, body))
        self._record.messages.append(waiting[-1])
        return True

    def _answers(self, ours: socket.socket, theirs: socket.socket, waiting: list) -> None:
        with contextlib.suppress(OSError):
            for frame in _frames(ours):
                message = waiting.pop(0)  # answers come in the order of the requests
                if self._is_lost(message):
                    message.ended = True
                    break
                try:
                    _, message.answer = schema.decode_response(message.api, message.version, frame)
                except (schema.Malformed, struct.error) as e:
                    self._record.broken.append(f"answer of broker {self._receiver}: {message.api.name}: {e}")
                message.ended = True
                theirs.sendall(struct.pack(">i", len(frame)) + frame)
        _shut(theirs)


    def _is_lost(self, message: Message) -> bool:
        said = message.api.name, repr(message.request)
        if self._lost is None or message.api.name not in CONTROL or said in self._lost:
            return False
        self._lost.add(said)
        return True


def _shut(s: socket.socket) -> None:
    with contextlib.suppress(OSError):
        s.shutdown(socket.SHUT_RDWR)


def _frames(s: socket.socket):
    """Each frame without its length, until the connection ends."""
    f = s.makefile("rb")
    while len(head := f.read(4)) == 4:
        (length,) = struct.unpack(">i", head)
        frame = f.read(length)
        if len(frame) < length:
            return
        yield frame
