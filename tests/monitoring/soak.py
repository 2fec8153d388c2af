#!/usr/bin/env python3
"""Real nodes, real Redis and real Prometheus, with faults: does the right alert fire in time, and no other?

    FANFARE_BIN=target/debug/fanfare tests/monitoring/soak.py [FAULT...]

Each fault has a cluster and a Prometheus of its own; all run side by side, for about eight minutes. Prometheus has the rules that are
shipped, with their own times. After a minute without a fault, every expression of the dashboard must return data. Prints a table,
writes it to target/monitoring/result.md, and exits with 1 if something is wrong.
"""

import asyncio
import json
import re
import shutil
import subprocess
import sys
import time

from clients import Arrivals, Publisher, Refused, Silent, Storm, Streams
from processes import ROOT, RULES, Node, Prometheus, Redis

# Seconds without a fault, and then with it.
CALM, FAULT = 70, 400
# An alert has its `for`, and this: the window of its rate, a scrape and two evaluations.
SLACK = 60
OUT = ROOT / "target/monitoring"


class Cluster:
    """Nodes on a Redis, with clients, a publisher and a Prometheus."""

    name, what, nodes, streams, settings, files = "", "", 2, 60, {}, None
    # The alert that must fire; no other may.
    alert = None

    def __init__(self):
        self.folder = OUT / self.name
        self.folder.mkdir(parents=True)
        self.redis, self.prometheus = Redis(self.folder), Prometheus(self.folder)
        names = "abc"[: self.nodes]
        self.node = [Node(self.folder, name, self.redis, self.settings, self.files) for name in names]
        self.crowds, self.fired, self.begun, self.wrong = [], {}, None, []

    async def run(self):
        await self.redis.run()
        await asyncio.gather(*(node.run() for node in self.node))
        await self.prometheus.run(self.node)
        self.crowds += [Streams(self.node, self.streams), Arrivals(self.node, 5, 2000), Publisher(self.node)]
        watch = asyncio.create_task(self.watch())
        await asyncio.sleep(CALM)
        await self.calm()
        self.begun = time.monotonic()
        fault = asyncio.create_task(self.fault())
        await asyncio.sleep(FAULT)
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        fault.cancel()
        await asyncio.gather(fault, return_exceptions=True)
        await self.after()

    async def watch(self):
        while True:
            for labels in await asyncio.to_thread(self.prometheus.firing):
                after = time.monotonic() - self.begun if self.begun else -1.0
                self.fired.setdefault(labels["alertname"], (after, labels))
            await asyncio.sleep(1)

    async def calm(self):
        """What is checked before the fault."""

    async def fault(self):
        """Makes the fault."""

    async def after(self):
        """What is checked after the fault."""

    async def end(self):
        await asyncio.gather(*(crowd.end() for crowd in self.crowds))
        await asyncio.gather(*(process.end(9) for process in [*self.node, self.redis, self.prometheus]))

    def verdict(self, pauses):
        for name in self.fired:
            if name != self.alert:
                self.wrong.append(f"{name} fires: {self.fired[name]}")
        if self.alert:
            after, _ = self.fired.get(self.alert, (None, None))
            if after is None:
                self.wrong.append(f"{self.alert} does not fire")
            elif not 0 < after < pauses[self.alert] + SLACK:
                self.wrong.append(f"{self.alert} fires after {after:.0f} s")

    def row(self, pauses):
        if not self.alert:
            return f"| {self.what} | none | | {', '.join(self.fired) or 'none'} |"
        after, _ = self.fired.get(self.alert, (float("nan"), None))
        others = ", ".join(name for name in self.fired if name != self.alert) or "none"
        return f"| {self.what} | `{self.alert}` | {after:.0f} s (`for`: {pauses[self.alert]} s) | {others} |"


class Killed(Cluster):
    name, what, nodes, alert = "killed", "one of three nodes is killed", 3, "FanfareNodeDown"

    async def fault(self):
        await self.node[0].end(9)


class RedisStopped(Cluster):
    name, what, alert = "redis", "Redis is stopped", "FanfareLeaseLost"

    async def fault(self):
        await self.redis.end()


class Reconnections(Cluster):
    name, what, alert = "storm", "40 of 100 clients reconnect twice a second", "FanfareHighReconnectionRate"
    settings = {"LIMITS__CONNECTS_PER_SECOND": 1000}

    async def fault(self):
        self.crowds.append(Storm(self.node, 40, 3000))

    async def after(self):
        check_dashboard(self, faults=True)


class MemoryShort(Cluster):
    name, what, alert, nodes = "memory", "idle sockets take their share of a small `limits.memory`", "FanfareMemoryShort", 1
    settings = {"LIMITS__MEMORY": "64MiB", "LIMITS__BATCH_BYTES": "1MiB"}

    async def fault(self):
        self.crowds.append(Silent(self.node, 450, 4000))


class FilesShort(Cluster):
    name, what, alert, nodes, files = "files", "streams take 9 of 10 file descriptors", "FanfareFileDescriptorsShort", 1, 300

    async def fault(self):
        missing = 270 - int(float(self.prometheus.query("process_open_fds")[0]["value"][1]))
        self.crowds.append(Streams(self.node, missing, 5000))


class Roll(Cluster):
    name, what, nodes, streams = "roll", "three nodes are restarted one after another, twice", 3, 150

    async def run(self):
        self.crowds.append(Refused(self.node))
        await super().run()

    async def calm(self):
        check_metrics(self)
        check_dashboard(self, faults=False)

    async def fault(self):
        for _ in range(2):
            for node in self.node:
                await node.end()
                await node.run()
                await asyncio.sleep(10)
                check_annotations(self)


def check_metrics(cluster):
    for node in cluster.node:
        checked = subprocess.run(["promtool", "check", "metrics"], input=node.metrics(), capture_output=True, check=False)
        if checked.returncode or checked.stdout or checked.stderr:
            cluster.wrong.append(f"promtool check metrics: {checked.stdout + checked.stderr!r}")


def dashboard():
    return json.loads((ROOT / "deploy/grafana/fanfare.json").read_text())


def filled_in(expression):
    return expression.replace("$job", "fanfare").replace("$instance", ".+").replace("$__rate_interval", "30s")


def check_dashboard(cluster, faults):
    """Checks that each expression returns data: those that need a fault, or the others."""
    asked = 0
    for panel in dashboard()["panels"]:
        if panel.get("description", "").startswith("Needs a fault") != faults:
            continue
        for target in panel.get("targets", []):
            asked += 1
            if not cluster.prometheus.query(filled_in(target["expr"])):
                cluster.wrong.append(f"no data: {panel['title']}: {target['expr']}")
    print(f"{cluster.name}: {asked} expressions of the dashboard asked", flush=True)


def check_annotations(cluster):
    for annotation in dashboard()["annotations"]["list"]:
        if not cluster.prometheus.query(filled_in(annotation["expr"])):
            cluster.wrong.append(f"no annotation: {annotation['expr']}")


def pauses():
    """Returns the `for` of each alert in seconds."""
    found = {}
    for rule in re.split(r"- alert: ", RULES.read_text())[1:]:
        duration = re.search(r"^ +for: (\d+)([smh])$", rule, re.MULTILINE)
        seconds = {"s": 1, "m": 60, "h": 3600}
        found[rule.split("\n")[0]] = int(duration[1]) * seconds[duration[2]] if duration else 0
    return found


async def main():
    kinds = [Killed, RedisStopped, Reconnections, MemoryShort, FilesShort, Roll]
    kinds = [kind for kind in kinds if not sys.argv[1:] or kind.name in sys.argv[1:]]
    shutil.rmtree(OUT, ignore_errors=True)
    clusters = [kind() for kind in kinds]
    try:
        await asyncio.gather(*(cluster.run() for cluster in clusters))
    finally:
        await asyncio.gather(*(cluster.end() for cluster in clusters))
    times = pauses()
    for cluster in clusters:
        cluster.verdict(times)
    rows = ["| fault | alert | fires after | other alerts |", "|---|---|---|---|"]
    table = "\n".join(rows + [cluster.row(times) for cluster in clusters])
    (OUT / "result.md").write_text(table + "\n")
    print(table)
    wrong = [f"{cluster.name}: {text}" for cluster in clusters for text in cluster.wrong]
    print("\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
