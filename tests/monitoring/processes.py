"""What a soak consists of: Redis, nodes and Prometheus, each a process of its own that is ended with the soak."""

import asyncio
import json
import os
import resource
import signal
import socket
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FANFARE = os.environ.get("FANFARE_BIN", str(ROOT / "target/debug/fanfare"))
RULES = ROOT / "deploy/prometheus/fanfare.rules.yml"
# So that an alert is seen a few seconds after its condition. The conditions and their `for` are those that are shipped.
INTERVAL = "5s"


# Without FANFARE_BIN, which a node would take for a setting.
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("FANFARE_")}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(url):
    """Returns the body of a response, or None if there is none."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.read()
    except (OSError, urllib.error.URLError):
        return None


async def until(what, condition, seconds=30):
    """Waits for a condition, which is checked ten times a second."""
    for _ in range(seconds * 10):
        if await asyncio.to_thread(condition):
            return
        await asyncio.sleep(0.1)
    raise RuntimeError(f"not within {seconds} s: {what}")


class Process:
    """A program whose output goes to a file."""

    def __init__(self, folder, name):
        self.log, self.process = folder / f"{name}.log", None

    async def start(self, *command, env=None, files=None):
        limit = None
        if files:

            def limit():
                resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                env={**CLEAN, **(env or {})}, preexec_fn=limit,
            )  # fmt: skip

    async def end(self, signum=signal.SIGTERM):
        if self.process and self.process.returncode is None:
            self.process.send_signal(signum)
            await self.process.wait()


class Redis(Process):
    def __init__(self, folder):
        super().__init__(folder, "redis")
        self.port = free_port()

    async def run(self):
        await self.start("redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")

        def answers():
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return True
            except OSError:
                return False

        await until("Redis answers", answers)


class Node(Process):
    def __init__(self, folder, name, redis, settings, files=None):
        super().__init__(folder, name)
        self.name, self.port, self.admin, self.files = name, free_port(), free_port(), files
        self.env = {f"FANFARE_{key}": str(value) for key, value in settings.items()}
        self.env["FANFARE_ADMIN__LISTEN"] = f"127.0.0.1:{self.admin}"
        self.redis = redis

    async def run(self):
        await self.start(
            FANFARE, "serve", "--listen", f"127.0.0.1:{self.port}", "--redis", f"redis://127.0.0.1:{self.redis.port}",
            "--node-id", self.name, "--auth", "none", env=self.env, files=self.files,
        )  # fmt: skip
        await until(f"{self.name} is ready", lambda: get(f"http://127.0.0.1:{self.admin}/readyz"))

    def metrics(self):
        return get(f"http://127.0.0.1:{self.admin}/metrics") or b""


class Prometheus(Process):
    """Scrapes the nodes as the job `fanfare`, with the rules that are shipped."""

    def __init__(self, folder):
        super().__init__(folder, "prometheus")
        self.folder, self.port = folder, free_port()

    async def run(self, nodes):
        config = {
            "global": {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL},
            "rule_files": [str(RULES)],
            "scrape_configs": [
                {"job_name": "fanfare", "static_configs": [{"targets": [f"127.0.0.1:{node.admin}" for node in nodes]}]}
            ],
        }
        file = self.folder / "prometheus.yml"
        file.write_text(json.dumps(config))  # JSON is YAML.
        await self.start(
            "prometheus", f"--config.file={file}", f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        )  # fmt: skip
        await until("Prometheus is ready", lambda: get(f"http://127.0.0.1:{self.port}/-/ready"))

    def ask(self, path):
        body = get(f"http://127.0.0.1:{self.port}/api/v1/{path}")
        return json.loads(body)["data"] if body else None

    def query(self, expression):
        answer = self.ask("query?" + urllib.parse.urlencode({"query": expression}))
        return answer["result"] if answer else []

    def firing(self):
        answer = self.ask("alerts") or {"alerts": []}
        return [alert["labels"] for alert in answer["alerts"] if alert["state"] == "firing"]
