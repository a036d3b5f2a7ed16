"""Kafka's tools on several brokers, and what they say, which is compared with what they said on Apache Kafka 3.9.1.

Masked are ids, addresses, directories and sizes. With BROKER_UNDER_TEST=kafka, OTTLA_RECORD=1 writes that anew.
"""

import difflib
import os
import pathlib
import re

from .work import tool

NOISE = re.compile(r"^\s+(at |\.\.\. )| WARN ")  # where exceptions come from; who cannot be reached
FILTERS = ("under-replicated-partitions", "at-min-isr-partitions", "under-min-isr-partitions", "unavailable-partitions")


class Session:
    """Tools that are run, and all that they say, masked."""

    def __init__(self, cluster):
        self._cluster, self.said = cluster, []

    def note(self, text: str) -> None:
        self.said.append(f"# {text}")

    def run(self, name: str, *args, ordered: bool = True, stdin: str = "", mask=lambda line: line) -> None:
        """What is not ordered is sorted by lines. A file is shown by its name."""
        result = tool(self._cluster, name, *args, check=False, stdin=stdin)
        lines = [self.mask(mask(line)) for line in (*result.out.splitlines(), *result.err.splitlines())
                 if not NOISE.search(line)]
        shown = [a.name if isinstance(a, pathlib.Path) else str(a) for a in args]
        self._add(f"{name} {' '.join(shown)}", result, lines if ordered else sorted(lines))

    def _add(self, command: str, result, lines: list) -> None:
        self.said.append(f"$ {command}" + (f"    ended with {result.code}" if result.code else ""))
        self.said += [line.rstrip() for line in lines if line.strip()]

    def log_dirs(self, *args, shown: str = "") -> None:
        """One line of JSON, in which topics have no order."""
        result = tool(self._cluster, "kafka-log-dirs", "--describe", *args, check=False)
        lines = []
        for line in (result.out + result.err).splitlines():
            if not line.startswith("{") and not NOISE.search(line):
                lines.append(self.mask(line))
            lines += sorted(self.mask(part) for part in re.findall(r'\{"partition":[^}]*\}|"error":[^,]*|"broker":\d', line))
        self._add(f"kafka-log-dirs {shown or ' '.join(map(str, args))}", result, lines)

    def mask(self, line: str) -> str:
        """ISRs in the order of ids: theirs is that in which brokers came."""
        line = re.sub(r"Isr: ([\d,]+)", lambda m: "Isr: " + ",".join(sorted(m[1].split(","))), line)
        for n, b in enumerate(self._cluster.brokers):
            line = line.replace(b.bootstrap, f"broker-{n}").replace(str(b.data_dir), "directory")
        line = re.sub(r"TopicId: \S+", "TopicId: id", line)
        line = re.sub(r'"size":[1-9]\d*', '"size":some', line)
        line = re.sub(r"broker-\d\s+\(\d\)", "coordinator (id)", line)
        line = re.sub(r"\[?\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+\]?", "time", line)
        line = re.sub(r"(console-consumer)-[-0-9a-f]+", r"\1-id", line)
        return re.sub(r"  +", "  ", line)

    def filters(self, *topics: str) -> None:
        for which in FILTERS:
            self.run("kafka-topics", "--describe", f"--{which}", "--topic", "|".join(topics), ordered=False)

    def compare(self, expected: pathlib.Path) -> None:
        if os.environ.get("OTTLA_RECORD") and {b.kind for b in self._cluster.brokers} == {"kafka"}:
            expected.write_text("\n".join(self.said) + "\n")
        differs = "\n".join(difflib.unified_diff(expected.read_text().splitlines(), self.said, "Kafkas", "here",
                                                 lineterm="", n=2))
        assert not differs, differs
