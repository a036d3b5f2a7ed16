#!/usr/bin/env python3
"""A TCP proxy that records the frames between Kafka clients and a broker.

By hand:  capture/proxy.py LISTEN_PORT BROKER_HOST:PORT > frames.txt
The broker has to advertise the proxy's port (advertised.listeners), or clients will walk around it.

A line for each request and answer: <key> <version> request|response <hex of the frame without its length>, with
"# client id" before it. Requests without an answer (acks=0) appear alone.
"""

import socket
import struct
import sys
import threading


class Proxy:
    """Listens on a port, connects each client to the broker, keeps what passes.

    `pairs` is a list of [label, key, version, request bytes, response bytes or None] in the order of the requests.
    `label` is whatever the attribute of that name holds when a request passes: the name of the client being run.
    """

    def __init__(self, listen_port: int, broker: tuple, on_pair=None):
        self.label = ""
        self.pairs = []
        self._broker = broker
        self._on_pair = on_pair or (lambda pair: None)
        self._server = socket.create_server(("127.0.0.1", listen_port))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            try:
                broker = socket.create_connection(self._broker)
            except OSError:
                client.close()
                continue
            waiting = {}
            for name, source, target in (("request", client, broker), ("response", broker, client)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._pump, args=(name, source, target, waiting), daemon=True).start()

    def _pump(self, name: str, source: socket.socket, target: socket.socket, waiting: dict) -> None:
        buffer = bytearray()
        try:
            while True:
                data = source.recv(1 << 16)
                if not data:
                    break
                buffer += data
                while len(buffer) >= 4:
                    (length,) = struct.unpack_from(">i", buffer)
                    if length < 0 or len(buffer) < 4 + length:
                        break
                    getattr(self, "_on_" + name)(bytes(buffer[4:4 + length]), waiting)
                    del buffer[:4 + length]
                target.sendall(data)
        except OSError:
            pass
        for s in (source, target):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _on_request(self, frame: bytes, waiting: dict) -> None:
        if len(frame) < 8:
            return
        key, version, correlation = struct.unpack_from(">hhi", frame)
        pair = [self.label, key, version, frame, None]
        self.pairs.append(pair)
        waiting[correlation] = pair

    def _on_response(self, frame: bytes, waiting: dict) -> None:
        pair = waiting.pop(struct.unpack_from(">i", frame)[0], None) if len(frame) >= 4 else None
        if pair is not None:
            pair[4] = frame
            self._on_pair(pair)


def lines(pair: list) -> list:
    _, key, version, request, response = pair
    out = [f"{key} {version} request {request.hex()}"]
    if response is not None:
        out.append(f"{key} {version} response {response.hex()}")
    return out


def client_id(request: bytes) -> str:
    (length,) = struct.unpack_from(">h", request, 8)
    return request[10:10 + max(0, length)].decode(errors="replace")


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    host, port = sys.argv[2].rsplit(":", 1)
    Proxy(int(sys.argv[1]), (host, int(port)),
          lambda pair: print(f"# {client_id(pair[3])}", *lines(pair), sep="\n", flush=True))
    threading.Event().wait()


if __name__ == "__main__":
    main()
