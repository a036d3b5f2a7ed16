#!/usr/bin/env python3
"""Is check-includes able to fail? It is run on made-up trees."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

CHECKER = pathlib.Path(__file__).parent / "check-includes"


class CheckIncludes(unittest.TestCase):
    def check(self, file: str, text: str) -> subprocess.CompletedProcess:
        with tempfile.TemporaryDirectory() as top:
            path = pathlib.Path(top, file)
            path.parent.mkdir(parents=True)
            path.write_text(text)
            return subprocess.run([sys.executable, CHECKER, top], capture_output=True, text=True)

    def allowed(self, file: str, included: str):
        run = self.check(file, f'#include "{included}"\n')
        self.assertEqual((run.returncode, run.stdout), (0, ""), f"{file} -> {included}")

    def refused(self, file: str, included: str):
        run = self.check(file, f'/* x */\n#include <stdio.h>\n# include "{included}" /* y */\n')
        self.assertEqual(run.returncode, 1, f"{file} -> {included}")
        self.assertIn(f'{file} includes "{included}"', run.stdout)

    def test_layers_below_are_known(self):
        for file, included in [
            ("base/map.c", "base/map.h"),
            ("protocol/codec.h", "base/arena.h"),
            ("storage/plog.c", "protocol/batch.h"),
            ("zk/coord.h", "base/err.h"),
            ("broker/broker.h", "zk/coord.h"),
            ("broker/cluster/topics.c", "broker/cluster/metadata.h"),
            ("storage/tests/test_plog.c", "util.h"),
        ]:
            self.allowed(file, included)

    def test_layers_above_are_not(self):
        for file, included in [
            ("base/map.c", "protocol/codec.h"),
            ("base/tests/test_map.c", "storage/plog.h"),
            ("protocol/codec.c", "storage/plog.h"),
            ("protocol/codec.c", "zk/coord.h"),
            ("storage/plog.c", "broker/broker.h"),
            ("storage/plog.c", "zk/znodes.h"),
            ("zk/znodes.c", "protocol/error.h"),
            ("zk/znodes.c", "broker/config.h"),
            ("command/main.c", "bench/load.h"),
        ]:
            self.refused(file, included)

    def test_net_knows_nothing_above(self):
        self.allowed("broker/net/stream.c", "storage/file_cache.h")
        self.allowed("broker/net/conn.c", "broker/net/stream.h")
        for included in ["broker/api/api.h", "broker/replica/partition.h", "broker/cluster/metadata.h",
                         "broker/coordinator/group.h", "broker/broker.h", "storage/plog.h", "zk/coord.h"]:
            self.refused("broker/net/conn.c", included)

    def test_rooms(self):
        for file, included in [
            ("broker/cluster/requests_in.c", "broker/replica/replicas.h"),
            ("broker/coordinator/shard.c", "broker/replica/partition.h"),
            ("broker/coordinator/coordinator.h", "broker/cluster/metadata.h"),
            ("broker/api/handlers/00_produce.c", "broker/broker.h"),
            ("broker/api/request.h", "broker/net/conn.h"),
            ("broker/broker.c", "broker/api/api.h"),
            ("broker/tests/test_server.c", "broker/broker.h"),
        ]:
            self.allowed(file, included)
        for file, included in [
            ("broker/replica/partition.c", "broker/api/request.h"),
            ("broker/replica/partition.c", "broker/net/conn.h"),
            ("broker/replica/replicas.c", "broker/cluster/metadata.h"),
            ("broker/coordinator/shard.c", "broker/api/request.h"),
            ("broker/coordinator/shard.h", "broker/net/server.h"),
            ("broker/cluster/topics.c", "broker/broker.h"),
            ("broker/cluster/topics.c", "broker/coordinator/coordinator.h"),
            ("broker/cluster/membership.c", "broker/net/server.h"),
            ("broker/config.c", "broker/tests/net_util.h"),
        ]:
            self.refused(file, included)

    def test_options_are_known_everywhere(self):
        for room in ["net", "replica", "cluster", "coordinator", "api"]:
            self.allowed(f"broker/{room}/x.c", "broker/config.h")

    def test_a_comment_is_no_include(self):
        self.assertEqual(self.check("base/map.c", '/* see #include "zk/coord.h" */\n').returncode, 0)


if __name__ == "__main__":
    unittest.main()
