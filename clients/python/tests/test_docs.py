"""Runs the programs of docs/publishing.md as they are printed there.

A node and a Redis of the test take the place of push.example.com and of 127.0.0.1:6379.
"""

import os
import re
import signal
import subprocess
import sys
import unittest

import redis
from support import ROOT, Node, Redis

MARKED = re.compile(r"<!-- block: tested by clients/python/tests/test_docs\.py -->\n```python\n(.*?)```", re.S)
PROGRAMS = MARKED.findall((ROOT / "docs/publishing.md").read_text())


class Programs(unittest.TestCase):
    def setUp(self):
        self.redis = Redis().start()
        self.addCleanup(self.redis.stop)
        self.node = Node(self.redis).start()
        self.addCleanup(self.node.stop, signal.SIGKILL)
        self.client = redis.Redis(port=self.redis.port, decode_responses=True)
        self.addCleanup(self.client.close)

    def run_program(self, n):
        program = PROGRAMS[n].replace("https://push.example.com", self.node.url).replace("port=6379", f"port={self.redis.port}")
        # The node lets everyone in, and ignores tokens.
        environment = os.environ | {"FANFARE_TOKEN": "none"}
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout.strip()

    def stored(self, channel):
        return [(id, fields["t"], fields["d"]) for id, fields in self.client.xrange(f"fanfare:{{{channel}}}:log")]

    def test_the_page_has_the_programs(self):
        self.assertEqual(len(PROGRAMS), 2)

    def test_over_http_the_event_is_stored_once_however_often_the_program_runs(self):
        first = self.run_program(0)
        [(id, kind, data)] = self.stored("user:42")
        self.assertEqual((kind, data, first), ("order.paid", '{"order":7}', f"stored {id}"))
        self.assertEqual(self.run_program(0), f"was stored before {id}")
        self.assertEqual(len(self.stored("user:42")), 1)

    def test_over_redis_the_events_are_stored_in_their_order_when_the_program_ends(self):
        self.assertEqual(self.run_program(1), "")
        self.assertEqual([event[1:] for event in self.stored("room:7")], [("word", "one"), ("word", "two"), ("word", "three")])


if __name__ == "__main__":
    unittest.main()
