"""Kafka's own kafka-dump-log on every file of a log directory, without a complaint."""

import collections
import pathlib
import re

from . import toolhost
from .jvm import KAFKA_VERSION

# What DumpLogSegments says when something is wrong.
COMPLAINTS = re.compile(
    r"isvalid: false|mismatch|[Nn]on-monotonic|not monotonic|[Cc]orrupt|Exception|out of order|Found |Unable to|Missing|"
    r"Found invalid|trailing")
FINE = re.compile(r"passed sanity check|^Dumping |^Log starting offset|^$")
# An entry that names a batch of which compaction has left the header alone: it keeps its time, of no record.
OF_EMPTIED = re.compile(r"Found timestamp mismatch in :\S+\n(?:\s*Index timestamp: \d+, log timestamp: -1\n)+(?!\s*Index timestamp)")
BATCH = re.compile(r"^baseOffset: (\d+) lastOffset: (\d+) .* position: (\d+) .* size: (\d+) ", re.M)
WITH_VERSION = ("leader-epoch-checkpoint", "partition.metadata")


def dump(paths: list, *args) -> dict:
    """Of each file what the tool says."""
    if not paths:
        return {}
    result = toolhost.tools(KAFKA_VERSION).run("kafka-dump-log", "--files", ",".join(map(str, paths)), *args)
    text = OF_EMPTIED.sub("", result.out + result.err)
    bad = [line for line in text.splitlines() if COMPLAINTS.search(line) and not FINE.search(line)]
    assert not bad, f"kafka-dump-log {' '.join(args)}:\n" + "\n".join(bad[:10])
    parts = re.split(r"^Dumping (.+)$", result.out, flags=re.M)
    found = dict(zip(map(pathlib.Path, parts[1::2]), parts[2::2]))
    assert set(found) == set(paths), f"kafka-dump-log {' '.join(args)} says nothing of {set(paths) - set(found)}"
    return found


def check_batches(path: pathlib.Path, out: str, holes: str = "compacted") -> None:
    """What DumpLogSegments prints but does not judge: batches follow each other, without holes but where the path says so."""
    batches = [tuple(map(int, m)) for m in BATCH.findall(out)]
    assert batches or path.stat().st_size == 0, f"{path}: no batches in\n{out[:500]}"
    end, offset = 0, int(path.stem)
    for base, last, position, size in batches:
        assert position == end, f"{path}: a batch at {position}, expected at {end}"
        assert base >= offset if re.search(holes, str(path)) else base == offset, f"{path}: offset {base} after {offset}"
        assert last >= base
        end, offset = position + size, last + 1
    assert end == path.stat().st_size, f"{path}: batches end at {end}, the file at {path.stat().st_size}"


def is_of_an_empty_log(path: pathlib.Path) -> bool:
    """Kafka makes an empty checkpoint of epochs, and fills it with the first batch."""
    return path.stat().st_size == 0 and path.name == "leader-epoch-checkpoint" and not any(
        log.stat().st_size for log in path.parent.glob("*.log"))


def check_everything(data_dir: pathlib.Path, holes: str = "compacted") -> dict:
    """How many files of each kind were read. Offsets are missing where the path looks like `holes` alone."""
    files = collections.defaultdict(list)
    for path in sorted(data_dir.glob("*-*/*")):
        files[path.name if path.name in WITH_VERSION else path.suffix].append(path)
    for path, out in dump(files[".log"], "--deep-iteration", "--print-data-log").items():
        check_batches(path, out, holes)
    for topic, decoder in (("__consumer_offsets", "--offsets-decoder"), ("__transaction_state", "--transaction-log-decoder")):
        dump([path for path in files[".log"] if path.parent.name.startswith(topic)], decoder)
    for path, said in dump(files[".index"], "--index-sanity-check").items():
        assert "passed sanity check" in said or "is empty." in said, f"{path}: {said}"
    dump(files[".index"], "--verify-index-only")
    for kind in (".timeindex", ".snapshot", ".txnindex"):
        dump(files[kind])
    for path in (path for name in WITH_VERSION for path in files[name]):
        text = path.read_text().splitlines()
        assert text[:1] in (["0"], ["version: 0"]) or is_of_an_empty_log(path), f"{path}: {text}"
    return {kind: len(paths) for kind, paths in files.items()}
