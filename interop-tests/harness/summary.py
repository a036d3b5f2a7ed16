#!/usr/bin/env python3
"""Prints the summary of a run from its results.json; after a whole run also writes the table in README.md."""

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


def rows(results: list) -> list:
    """(client, scenario, {life: outcome}); wire cases are one row for each file."""
    table = collections.OrderedDict()
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
    out = []
    for (client, scenario), outcomes in table.items():
        if "cases" in outcomes:
            counted = collections.Counter(outcomes["cases"])
            outcomes = {"fresh": ", ".join(f"{n} {o}" for o, n in sorted(counted.items()))}
        out.append((client, scenario, outcomes))
    return out


def main() -> int:
    results = list(json.loads(pathlib.Path(sys.argv[1]).read_text()).values())
    counted = collections.Counter(r["outcome"] for r in results)
    by_client = collections.OrderedDict()
    for r in results:
        by_client.setdefault(r["client"], collections.Counter())[r["outcome"]] += 1
    width = max((len(c) for c in by_client), default=0)
    for client, n in by_client.items():
        print(f"{client:{width}}  {n['passed']} passed, {n['failed']} failed, {n['skipped']} skipped")
    if os.environ.get("OTTLA_INTEROP") == "all" and os.environ.get("BROKER_UNDER_TEST", "ottla") == "ottla":
        lines = [BEGIN, f"Whole run of {datetime.date.today()}: {counted['passed']} passed, {counted['failed']} failed, "
                 f"{counted['skipped']} skipped.", "",
                 "| client | scenario | fresh | after a restart | after kill -9 |", "|---|---|---|---|---|"]
        lines += [f"| {c} | {s} | {o.get('fresh', '')} | {o.get('restarted', '')} | {o.get('killed', '')} |"
                  for c, s, o in rows(results)]
        text = README.read_text()
        before, rest = text.split(BEGIN)
        README.write_text(before + "\n".join(lines + [END]) + rest.split(END)[1])
    print(f"{counted['passed']} passed, {counted['failed']} failed, {counted['skipped']} skipped")
    return 1 if counted["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
