#!/usr/bin/env python3
"""Prints the summary of a run from results-<coordination>.json of each of its passes; after a whole run also writes
the table in README.md."""

import collections
import datetime
import json
import os
import pathlib
import re
import sys

README = pathlib.Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
LIVES = ("fresh", "restarted", "killed")


STORES = {"embedded": "its own store", "zookeeper": "ZooKeeper", "cluster": "several brokers", "messages": "several brokers",
          "storage": "its own store"}


def rows(results: list) -> dict:
    """(client, scenario) -> {life: outcome}; wire cases are one row for each file."""
    table = {}
    for r in results:
        name, _, arguments = r["test"].partition("[")
        arguments = arguments.rstrip("]")
        if r["client"] == "wire cases":
            table.setdefault((r["client"], arguments.split(":")[0]), {}).setdefault("cases", []).append(r["outcome"])
            continue
        life = next((x for x in LIVES if re.search(rf"(^|-){x}$", arguments)), None)
        rest = re.sub(r"-?(fresh|restarted|killed)$", "", arguments)
        scenario = name.removeprefix("test_").replace("_", " ") + (f" ({rest})" if rest else "")
        table.setdefault((r["client"], scenario), {})[life or "fresh"] = r["outcome"]
    for outcomes in table.values():
        if "cases" in outcomes:
            counted = collections.Counter(outcomes.pop("cases"))
            outcomes["fresh"] = ", ".join(f"{n} {o}" for o, n in sorted(counted.items()))
    return table


def both(passes: dict) -> list:
    """The lines of the table. A cell tells the passes apart where they differ."""
    tables = {name: rows(results) for name, results in passes.items()}
    lines = []
    for client, scenario in dict.fromkeys(key for table in tables.values() for key in table):
        having = {name: table[client, scenario] for name, table in tables.items() if (client, scenario) in table}
        cells = []
        for life in LIVES:
            outcomes = {name: by_life.get(life) for name, by_life in having.items()}
            if len(set(outcomes.values())) == 1:
                cells.append(next(iter(outcomes.values())) or "")
            else:
                cells.append("; ".join(f"{STORES[name]}: {o}" for name, o in outcomes.items() if o))
        lines.append(f"| {client} | {scenario} | {' | '.join(cells)} |")
    return lines


def total(results: list) -> str:
    n = collections.Counter(r["outcome"] for r in results)
    return f"{n['passed']} passed, {n['failed']} failed, {n['skipped']} skipped"


def show(results: list) -> None:
    by_client = {}
    for r in results:
        by_client.setdefault(r["client"], []).append(r)
    width = max((len(c) for c in by_client), default=0)
    for client, its in by_client.items():
        print(f"{client:{width}}  {total(its)}")


def write_table(passes: dict, everything: list) -> None:
    lines = [BEGIN, f"Whole run of {datetime.date.today()}: {total(everything)}. "
             + ". ".join(f"With {STORES[name]}: {total(results)}" for name, results in passes.items()) + ".", "",
             "| client | scenario | fresh | after a restart | after kill -9 |", "|---|---|---|---|---|"]
    text = README.read_text()
    before, rest = text.split(BEGIN)
    README.write_text(before + "\n".join([*lines, *both(passes), END]) + rest.split(END)[1])


def main() -> int:
    passes = {}
    for path in map(pathlib.Path, sys.argv[1:]):
        passes[path.stem.removeprefix("results-")] = list(json.loads(path.read_text()).values())
    everything = [r for results in passes.values() for r in results]
    for name, results in passes.items():
        if len(passes) > 1:
            print(f"{name}: {total(results)}")
        show(results)
    if os.environ.get("OTTLA_INTEROP") == "all" and os.environ.get("BROKER_UNDER_TEST", "ottla") == "ottla":
        write_table(passes, everything)
    print(total(everything))
    return 1 if any(r["outcome"] == "failed" for r in everything) else 0


if __name__ == "__main__":
    sys.exit(main())
