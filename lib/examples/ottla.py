"""A Kafka broker inside of a Python process, for tests:

    from ottla import Ottla

    with Ottla("num.partitions=3") as broker:
        broker.create_topic("orders:3")
        producer = confluent_kafka.Producer({"bootstrap.servers": broker.address})

OTTLA_LIBRARY is where libottla.so is; without it the system looks for it.
"""

import ctypes
import os

_ERROR_BYTES = 640


def _load():
    library = ctypes.CDLL(os.environ.get("OTTLA_LIBRARY", "libottla.so"))
    library.ottla_start.restype = ctypes.c_void_p
    library.ottla_start.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.c_char_p, ctypes.c_size_t]
    library.ottla_address.restype = ctypes.c_char_p
    library.ottla_address.argtypes = [ctypes.c_void_p]
    library.ottla_create_topic.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t]
    library.ottla_stop.restype = None
    library.ottla_stop.argtypes = [ctypes.c_void_p]
    library.ottla_log_level.argtypes = [ctypes.c_char_p]
    return library


_library = _load()


class Error(Exception):
    """What a broker has to say; one sentence."""


def log_level(level: str) -> None:
    """What brokers write on stderr: OFF, as it begins, ERROR, WARN, INFO or DEBUG."""
    if _library.ottla_log_level(level.encode()) != 0:
        raise ValueError(f"there is no level {level}")


class Ottla:
    """One broker, from its making to stop()."""

    def __init__(self, *options: str):
        """Options of server.properties, each "name=value"."""
        self._broker = None
        error = ctypes.create_string_buffer(_ERROR_BYTES)
        texts = (ctypes.c_char_p * (len(options) + 1))(*(o.encode() for o in options), None)
        self._broker = _library.ottla_start(texts, error, _ERROR_BYTES)
        if not self._broker:
            raise Error(error.value.decode())

    @property
    def address(self) -> str:
        """host:port, for bootstrap.servers."""
        return _library.ottla_address(self._broker).decode()

    def create_topic(self, topic: str) -> None:
        """name, name:partitions or name:partitions:replication:compact; nothing happens if it is there."""
        error = ctypes.create_string_buffer(_ERROR_BYTES)
        if _library.ottla_create_topic(self._broker, topic.encode(), error, _ERROR_BYTES) != 0:
            raise Error(error.value.decode())

    def stop(self) -> None:
        broker, self._broker = self._broker, None
        _library.ottla_stop(broker)

    def __enter__(self) -> "Ottla":
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def __del__(self):
        if self._broker:
            self.stop()
