#!/usr/bin/env python3
"""Is check-references able to fail? It is run on made-up trees."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

CHECKER = pathlib.Path(__file__).parent / "check-references"

PAGES = {
    "docs/reference/requests.md": "# Requests\n## 4. Data\n### 4.3 ListOffsets (2)\n§4.3, coordinators.md §1\n",
    "docs/reference/coordinators.md": "# Coordinators\n## 1. Groups\n### 1.10 Expiry\nsee section 1\n",
    "docs/reference/storage-format.md": "# Storage\n## 13. Offsets\n",
    "docs/reference/hardening.md": "# Hardening\n## 5. Safety\n### 5.3 Rules\nS7 recovery\n",
}


class CheckReferences(unittest.TestCase):
    def check(self, files: dict) -> subprocess.CompletedProcess:
        with tempfile.TemporaryDirectory() as top:
            for name, text in {**PAGES, **files}.items():
                path = pathlib.Path(top, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return subprocess.run([sys.executable, CHECKER, top], capture_output=True, text=True)

    def good(self, name: str, text: str):
        run = self.check({name: text})
        self.assertEqual((run.returncode, run.stdout), (0, ""), text)

    def bad(self, name: str, text: str, *said: str):
        run = self.check({name: text})
        self.assertEqual((run.returncode, run.stdout), (1, "".join(f"{line}\n" for line in said)), text)

    def test_citations(self):
        for body in [
            "(reference: requests §4.3)",
            "(reference: requests §4, §4.3; KIP-320)",
            "(reference: coordinators §1 and §1.10, requests §4)",
            "(reference: storage format §13)",
            "(reference: storage-format)",
            "(reference: hardening §5.3 S7)",
            "(reference: coordinators §1; KIP-345 static members)",
        ]:
            self.good("storage/plog.h", f"/* A log. {body} */\n")
        self.good("broker/api/x.c", "/* Long, and broken in the middle. (reference: requests\n * §4.3, coordinators §1\n * and §1.10) */\n")
        self.good("protocol/schema/x.msg", "# (reference: storage\n# format §13)\nx key 1\n")

    def test_what_leads_nowhere(self):
        self.bad("base/x.c", "\n/* (reference: requests §4.4) */\n", "base/x.c:2: requests has no section 4.4")
        self.bad("base/x.h", "/* (reference: requests §4, §5) */\n", "base/x.h:1: requests has no section 5")
        self.bad("zk/x.def", "/* (reference: no page §4) */\n", 'zk/x.def:1: there is no page no-page for "no page §4"')
        self.bad("storage/x.c", "/* (reference: hardening §5.3 S9) */\n", "storage/x.c:1: hardening has no rule S9")
        self.bad("interop-tests/wire/x.case", "# (reference: §4)\n",
                 'interop-tests/wire/x.case:1: there is no page named for "§4"')
        self.bad("broker/x.c", "/* (reference: requests section 4) */\n",
                 'broker/x.c:1: "requests section 4" is no citation')

    def test_another_form_is_refused(self):
        for text in ["/* as requests §4.3 says */\n", "/* (Source: requests §4.3) */\n", "x = 1  # §4\n"]:
            self.bad("tests/x.py", text, 'tests/x.py:1: a § outside of "(reference: …)"')

    def test_pages_refer_to_each_other(self):
        name = "docs/reference/other.md"
        self.good(name, "# O\n## 2. A\nrequests.md §4, §4.3; coordinators §1; `coordinators.md` §1 and §1.10; §2; section 2\n")
        self.bad(name, "nopage.md §1\n", f"{name}:1: there is no page nopage")
        self.bad(name, "# O\n\nrequests.md §4, §9; coordinators §2; §1; section 3\n",
                 f"{name}:3: requests has no section 9", f"{name}:3: coordinators has no section 2",
                 f"{name}:3: other has no section 1", f"{name}:3: other has no section 3")

    def test_links(self):
        self.good("README.md", "[a](docs/reference/requests.md#43-listoffsets-2) [b](https://x.y/z) [c](#to-do-it)\n\n## To do it\n")
        self.good("README.md", "```\n[a](nowhere.md)\n```\nand `[b](nowhere)`\n")
        self.bad("README.md", "\n[a](nowhere.md)\n", "README.md:2: nowhere.md is not there")
        self.bad("broker/README.md", "[a](../docs/reference/requests.md#5-else)\n",
                 "broker/README.md:1: ../docs/reference/requests.md#5-else: no such heading")
        self.bad("README.md", "[c](#to-do)\n\n## To do it\n", "README.md:1: #to-do: no such heading")

    def test_missing_apis(self):
        files = {
            "docs/reference/api-versions.md": "# APIs\n| key | name | type | 3.9 | 4.3 |\n|---|---|---|---|---|\n"
                                              "| 0 | Produce | C | 0-11 | 0-13 |\n| 26 | EndTxn | C | 0-4 | 0-5 |\n"
                                              "| 24 | AddPartitionsToTxn | C; v4+ IB | 0-5 | 0-5 |\n| 52 | Vote | K | - | 0 |\n",
            "broker/api/api.def": "API(0, produce, 0)\n",
        }
        heading = "### APIs that are missing\n\n| for | APIs |\n|---|---|\n"
        for rows, said in [
            ("| x | EndTxn, AddPartitionsToTxn |", ""),
            ("| x | EndTxn |", "README.md:1: AddPartitionsToTxn is missing, and not listed\n"),
            ("| x | EndTxn, AddPartitionsToTxn |\n| y | Produce |", "README.md:1: Produce is listed as missing, and is not\n"),
        ]:
            self.assertEqual(self.check({**files, "README.md": f"{heading}{rows}\n"}).stdout, said)
        self.assertIn("there is no section", self.check({**files, "README.md": "# X\n"}).stdout)


if __name__ == "__main__":
    unittest.main()
