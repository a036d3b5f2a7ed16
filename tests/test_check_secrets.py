#!/usr/bin/env python3
"""Is check-secrets able to fail? It is run on made-up trees."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

CHECKER = pathlib.Path(__file__).parent / "check-secrets"


class CheckSecrets(unittest.TestCase):
    def check(self, text: str) -> str:
        with tempfile.TemporaryDirectory() as top:
            path = pathlib.Path(top, "broker/security/x.c")
            path.parent.mkdir(parents=True)
            path.write_text(text)
            return subprocess.run([sys.executable, CHECKER, top], capture_output=True, text=True).stdout

    def test_good(self):
        for text in ("CRYPTO_memcmp(hmac, told, 64)", 'strcmp(name, "password")', 'log_info("x", "wrong password user=%s", name)',
                     "memcmp(text.data, end, len)", 'str_is(mechanism, "SCRAM")'):
            self.assertEqual(self.check(text), "", text)

    def test_bad(self):
        for text in ("memcmp(hmac, told, 64)", "strcmp(user->password, text)", "str_equal(in,\n          proof)",
                     'log_debug("x", "y %s", password)', "bytes_equal(a, kept->digest)"):
            self.assertIn("broker/security/x.c:1: ", self.check(text), text)


if __name__ == "__main__":
    unittest.main()
