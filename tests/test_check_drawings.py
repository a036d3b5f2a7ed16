#!/usr/bin/env python3
"""Is check-drawings able to fail? It is run on a made-up tree, with one thing changed each time."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

CHECKER = pathlib.Path(__file__).parent / "check-drawings"

FILES = {
    "base/loop.h": "void loop_run(void);\n",
    "base/loop.c": '#include "loop.h"\nvoid loop_run(void)\n{\n    task->run(task);\n}\n',
    "broker/config.h": "",
    "broker/net/conn.h": '#include "broker/config.h"\nvoid conn_send(void);\n',
    "broker/net/conn.c": '#include "broker/net/conn.h"\n#include "base/loop.h"\n'
                         "static void on_ready(struct x *x)\n{\n}\nvoid conn_send(void)\n{\n    loop_run();\n}\n",
    "broker/api/api.h": '#include "broker/net/conn.h"\n',
    "broker/api/api.c": '#include "broker/api/api.h"\nstatic void quiet(void)\n{\n    conn_send();\n}\n',
    "broker/tests/test_x.c": '#include "zk/coord.h"\n',
}

INCLUDES = """```mermaid
flowchart TD
    %% includes
    subgraph broker["broker"]
        api["api<br/>handlers"]
        net["net"]
    end
    base["base"]
    api -->|conn.h| net
    broker --> base
```
"""

WAY = """```mermaid
flowchart TD
    %% way
    api["broker/api/api.c"]
    conn["broker/net/conn.c<br/>sends"]
    loop["base/loop.c"]
    api -->|1 conn_send| conn
    conn -->|2 loop_run| loop
    loop -.->|3 on_ready| conn
```
"""


class CheckDrawings(unittest.TestCase):
    def check(self, includes: str, way: str, files: dict | None = None) -> subprocess.CompletedProcess:
        readmes = {"README.md": f"{way}\n{includes}", "broker/README.md": INCLUDES}
        with tempfile.TemporaryDirectory() as top:
            for name, text in {**FILES, **readmes, **(files or {})}.items():
                path = pathlib.Path(top, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return subprocess.run([sys.executable, CHECKER, top], capture_output=True, text=True)

    def good(self, includes: str = INCLUDES, way: str = WAY):
        run = self.check(includes, way)
        self.assertEqual((run.returncode, run.stdout), (0, ""))

    def bad(self, said: str, includes: str = INCLUDES, way: str = WAY):
        run = self.check(includes, way)
        self.assertEqual(run.returncode, 1, said)
        self.assertIn(said, run.stdout)

    def changed(self, text: str, old: str, new: str) -> str:
        self.assertIn(old, text)
        return text.replace(old, new)

    def test_good(self):
        self.good()

    def test_arrows_between_rooms(self):
        for old, new, said in [
            ("api -->|conn.h| net", "api --> net\n    net --> api", "net --> api is drawn, and net must not know api"),
            ("api -->|conn.h| net", "api --> net\n    api --> cluster\n    cluster[\"cluster\"]",
             "api --> cluster is drawn, and nothing in api includes it"),
            ("api -->|conn.h| net", "api -->|server.h| net", "api --> net is said to go by server.h"),
            ("broker --> base", "broker --> base\n    base --> broker", "base --> broker is drawn, and base must not"),
            ("broker --> base", "broker --> zk\n    zk[\"zk\"]", "broker --> base is missing: broker includes base/loop.h"),
            ("broker --> base", "broker --> base\n    api --> base", "api --> base is drawn, from a folder to a room"),
            ("base[\"base\"]", "base[\"base\"]\n    basement[\"x\"]", "basement is neither a folder nor a room"),
        ]:
            self.bad(said, includes=self.changed(INCLUDES, old, new))

    def test_an_arrow_that_is_missing(self):
        includes = self.changed(INCLUDES, "api -->|conn.h| net", "api --> replica\n    replica[\"replica\"]")
        self.bad("api --> net is missing: api includes broker/net/conn.h", includes=includes)

    def test_ways(self):
        for old, new, said in [
            ("broker/net/conn.c", "broker/net/none.c", "broker/net/none.c does not exist"),
            ("1 conn_send", "1 loop_run", "broker/api/api.c does not call loop_run"),
            ("2 loop_run| loop", "2 loop_run| api", "broker/api/api.c does not define loop_run for others"),
            ("1 conn_send", "1", "broker/api/api.c --> broker/net/conn.c: no function is named"),
            ("3 on_ready| conn", "3 on_ready| api", "broker/api/api.c does not define on_ready"),
            ("loop -.->|3 on_ready| conn", "api -.->|3 on_ready| conn",
             "broker/net/conn.c cannot have given on_ready to broker/api/api.c"),
            ("1 conn_send| conn", "1 conn_send| con", "no box con"),
            ("api -->|1", "api ==>|1", "not understood: api ==>|1 conn_send| conn"),
        ]:
            self.bad(said, way=self.changed(WAY, old, new))

    def test_a_call_follows_an_include(self):
        run = self.check(INCLUDES, WAY, {"broker/api/api.c": "static void quiet(void)\n{\n    conn_send();\n}\n"})
        self.assertIn("broker/api/api.c includes nothing that declares conn_send", run.stdout)

    def test_every_drawing_is_checked(self):
        self.bad("nothing checks it", way=self.changed(WAY, "%% way", ""))
        self.bad('no drawing of the kind "way"', way="")


if __name__ == "__main__":
    unittest.main()
