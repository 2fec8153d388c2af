"""A Redis and a node, for the tests."""

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
FANFARE = Path(os.environ.get("FANFARE_BIN", TARGET / "debug/fanfare")).resolve()
# Seconds after which something hangs, also on a busy machine.
PATIENCE = 60


def until(holds, what, seconds=PATIENCE):
    """Waits until a condition holds, and returns its value."""
    end = time.monotonic() + seconds
    while not (value := holds()):
        if time.monotonic() > end:
            raise AssertionError(f"not in {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.02)
    return value


def free_port():
    """Returns a port that was free a moment ago, and is none of those that the system gives to connections."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


class Redis:
    """One Redis, which can be killed and started again on its port. It has all that it confirmed then."""

    def __init__(self):
        self.port = free_port()
        self._directory = tempfile.mkdtemp(prefix="fanfare-redis-")
        self._child = None

    def start(self, loading=None):
        """Returns when it has loaded its data; with `loading`, when it begins to, and takes these microseconds for each command.

        It answers after each 1024 of them.
        """
        durable = ["--save", "", "--appendonly", "yes", "--appendfsync", "always", "--dir", self._directory]
        slow = ["--key-load-delay", str(loading)] if loading else []
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", *durable, *slow]
        log = open(Path(self._directory, "log"), "wb")
        self._child = subprocess.Popen(command, stdout=log, stderr=log)
        log.close()
        awaited = b"Server initialized" if loading else b"Ready to accept"
        until(lambda: awaited in Path(self._directory, "log").read_bytes(), "Redis starts")
        return self

    def signal(self, number):
        self._child.send_signal(number)

    def kill(self):
        self._child.kill()
        self._child.wait()

    def stop(self):
        self.kill()
        shutil.rmtree(self._directory)


class Node:
    """One node, which can be stopped and started again on its port."""

    def __init__(self, redis):
        self.url = f"http://127.0.0.1:{free_port()}"
        # A node takes each variable that begins so for a setting.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FANFARE_")}
        self._environment = environment | {
            "FANFARE_REDIS__URL": f"redis://127.0.0.1:{redis.port}",
            "FANFARE_REDIS__TIMEOUT": "1s",
            "FANFARE_AUTH__MODE": "none",
            "FANFARE_LEASE__TTL": "1s",
            "FANFARE_DRAIN__NOTICE": "0s",
            "FANFARE_DRAIN__WINDOW": "0s",
            "FANFARE_LOG__LEVEL": "error",
            "FANFARE_RETENTION__EVENTS": "100000",
        }
        self._child = None

    def start(self):
        command = [FANFARE, "serve", "--listen", self.url.removeprefix("http://")]
        self._child = subprocess.Popen(command, env=self._environment)
        until(self._ready, "the node is ready")
        return self

    def _ready(self):
        if self._child.poll() is not None:
            raise AssertionError(f"the node ended with {self._child.returncode}")
        try:
            with urllib.request.urlopen(f"{self.url}/ready", timeout=1):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def stop(self, number=signal.SIGTERM):
        if self._child.poll() is None:
            self._child.send_signal(number)
        self._child.wait()
