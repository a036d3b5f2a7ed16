"""A TCP connection that can be cut, refused, or slow: between a broker and its ZooKeeper."""

import contextlib
import socket
import threading
import time

from .process import free_port


class TcpProxy:
    """Passes what comes to `port` on to a port of this machine. delay_s and chunk_bytes take effect at once."""

    def __init__(self, target_port: int):
        self.port = free_port()
        self.delay_s = 0.0
        self.chunk_bytes = 1 << 16
        self.passed = 0  # connections so far
        self._target = target_port
        self._refusing = False
        self._open = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """All connections at once; new ones are possible."""
        with self._lock:
            for s in self._open:
                with contextlib.suppress(OSError):
                    s.shutdown(socket.SHUT_RDWR)

    def refuse(self) -> None:
        """All connections, and those to come: they are closed without a byte."""
        with self._lock:
            self._refusing = True
        self.cut()

    def allow(self) -> None:
        with self._lock:
            self._refusing = False

    def close(self) -> None:
        self.refuse()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                ours, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                refusing = self._refusing
            try:
                theirs = None if refusing else socket.create_connection(("127.0.0.1", self._target), timeout=10)
            except OSError:
                theirs = None
            if theirs is None:
                ours.close()
                continue
            theirs.settimeout(None)
            with self._lock:
                self._open |= {ours, theirs}
                self.passed += 1
            for source, sink in ((ours, theirs), (theirs, ours)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source, sink) -> None:
        try:
            while data := source.recv(self.chunk_bytes):
                if self.delay_s:
                    time.sleep(self.delay_s)
                sink.sendall(data)
        except OSError:
            pass
        for s in (source, sink):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._open -= {source, sink}
