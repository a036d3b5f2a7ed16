"""A transactional producer and a reader of each client, as a process that does what it is told, line by line:

    init TRANSACTIONAL-ID TIMEOUT-MS
    begin, commit, abort
    send TOPIC PARTITION VALUE                  until it is acknowledged; the answer is its offset
    offsets GROUP TOPIC PARTITION OFFSET        into the transaction
    read TOPIC PARTITIONS committed|uncommitted  from the beginning until "end" was read in every partition

It answers "< ok ...", "< fenced ..." where the producer was replaced or timed out, or "< error ...".
"""

import os
import pathlib
import sys
import tempfile

from harness import clients
from harness.process import Process
from harness.wait import wait_for

from . import programs

KINDS = {
    "confluent-kafka": lambda: [sys.executable, pathlib.Path(__file__).with_name("transactor.py")],
    "java39": lambda: programs.java("Transactor", "3.9.1"),
    "java43": lambda: programs.java("Transactor", "4.3.0"),
    "franz-go": lambda: [clients.go_client(), "franz", "3.9.0", "transact"],
    "sarama": lambda: [clients.go_client(), "sarama", "3.9.0", "transact"],
}


def missing(kind: str) -> str | None:
    return {"java39": lambda: programs.missing("3.9.1"), "java43": lambda: programs.missing("4.3.0"),
            "franz-go": clients.go_missing, "sarama": clients.go_missing}.get(kind, lambda: None)()


class Fenced(Exception):
    pass


class Transactor:
    def __init__(self, kind: str, broker):
        self._directory = tempfile.TemporaryDirectory(prefix="ottla-interop-transactor-")
        self._log = pathlib.Path(self._directory.name) / "log"
        out, self._commands = os.pipe()
        os.set_inheritable(self._commands, False)
        self._process = Process(kind, [*KINDS[kind](), broker.bootstrap], self._log, stdin=out)
        os.close(out)
        self._answered = 0

    def _answers(self) -> list:
        text = self._log.read_text(errors="replace")
        return [line[2:] for line in text[:text.rfind("\n") + 1].splitlines() if line.startswith("< ")]

    def __call__(self, *words, timeout_s: float = 60) -> str:
        os.write(self._commands, (" ".join(map(str, words)) + "\n").encode())

        def answer():
            if not self._process.running():
                raise RuntimeError(f"it has ended:\n{self._process.tail()}")
            return self._answers()[self._answered:]
        try:
            said = wait_for(answer, timeout_s, f"an answer to {words}")[0]
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self._process.tail()}") from None
        self._answered += 1
        verdict, _, rest = said.partition(" ")
        if verdict == "fenced":
            raise Fenced(rest)
        assert verdict == "ok", f"{words}: {said}\n{self._process.tail()}"
        return rest

    def close(self) -> None:
        os.close(self._commands)
        self._process.kill()
        self._directory.cleanup()
