#!/usr/bin/env python3
"""Follows pages of docs/ as a reader does: runs their blocks one after another in one shell, with a Redis, and compares output.

    FANFARE_BIN=target/debug/fanfare tests/docs/follow.py [--long | PAGE...]

Without arguments it follows PAGES; with --long, LONG: pages that install packages from npm and PyPI, need nginx with nchan, or build
Centrifugo from its Go module, unless it is in the PATH. The blocks that are followed have the comment
`<!-- block: tested by tests/docs/follow.py -->`:

    sh      is run. Its last command must succeed, unless the next block is its output
    text    is what the `sh` block before it prints. `…` stands for any text, and alone in a line for any lines
    others  are saved in the file that the first line names in a comment

Ports of 127.0.0.1 are replaced by free ones. Prints what is wrong, with page and line, and exits with 1.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from blocks import FANFARE, ROOT, blocks

PAGES = ["docs/troubleshooting.md", "docs/use-cases.md"]
LONG = [
    "docs/migration/better-sse.md",
    "docs/migration/centrifugo.md",
    "docs/migration/flask-sse.md",
    "docs/migration/nchan.md",
]
COMMENT = "<!-- block: tested by tests/docs/follow.py -->"
# What no block may take longer than.
LIMIT = 300


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def pattern(text):
    """Returns the pattern of an output."""
    lines = [re.escape(line.rstrip()).replace("…", ".*") for line in text.rstrip("\n").split("\n")]
    return re.compile("".join(r"(?:.*\n)*" if line == ".*" else line + "\n" for line in lines) + r"\n*")


class Shell:
    """A shell in an empty folder, with `fanfare` and with a `redis-cli` that finds the Redis of the test."""

    def __init__(self, folder, redis_port):
        tools = folder / ".bin"
        tools.mkdir()
        (tools / "fanfare").symlink_to(FANFARE)
        (tools / "redis-cli").write_text(f'#!/bin/sh\nexec /usr/bin/env -i PATH="$OLD_PATH" redis-cli -e -p {redis_port} "$@"\n')
        (tools / "redis-cli").chmod(0o755)
        env = {name: value for name, value in os.environ.items() if not name.startswith("FANFARE_")}
        path = env["PATH"] + ":/usr/sbin:/sbin"
        env |= {"PATH": f"{tools}:{path}", "OLD_PATH": path, "TESTS": str(ROOT / "tests"), "NODE_NO_WARNINGS": "1"}
        self.bash = subprocess.Popen(
            ["bash", "--norc"], cwd=folder, env=env, text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )

    def run(self, text):
        """Runs a block. Returns the status of its last command and what it printed."""
        end = f"the-end-{time.monotonic_ns()}"
        watch = threading.Timer(LIMIT, self.kill)
        watch.start()
        self.bash.stdin.write(f"{text}\necho {end} $?\n")
        self.bash.stdin.flush()
        output = ""
        for line in self.bash.stdout:
            if end in line:
                before, status = line.split(end)
                watch.cancel()
                return int(status), output + (before + "\n" if before else "")
            output += line
        watch.cancel()
        return -1, output + f"(it took longer than {LIMIT} s, or ended the shell)\n"

    def kill(self):
        os.killpg(self.bash.pid, signal.SIGKILL)

    def close(self):
        self.kill()
        self.bash.wait()


class Follower:
    """Follows one page."""

    def __init__(self, page, folder):
        self.folder = folder
        self.blocks = [block for block in blocks(page) if block.comment == COMMENT]
        if not self.blocks:
            raise SystemExit(f"{page} has no blocks to follow")
        self.ports = {}
        for block in self.blocks:
            for port in re.findall(r"127\.0\.0\.1:(\d+)", block.text):
                self.ports.setdefault(port, str(free_port()))
        self.wrong = 0

    def local(self, text):
        """Returns a text with the ports that are free here."""
        return re.sub(r"\b(\d{4,5})\b", lambda port: self.ports.get(port[1], port[1]), text)

    def complain(self, block, message):
        print(f"{block.page}:{block.line}: {message}", file=sys.stderr)
        self.wrong += 1

    def save(self, block):
        name = re.match(r"(?:#|//|--|<!--)\s*(\S+)", block.text)
        if not name:
            return self.complain(block, "the first line names no file")
        file = self.folder / name[1]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self.local(block.text))

    def follow(self, shell):
        for index, block in enumerate(self.blocks):
            if block.language == "text":
                continue
            if block.language != "sh":
                self.save(block)
                continue
            after = self.blocks[index + 1] if index + 1 < len(self.blocks) else None
            expected = after and after.language == "text"
            status, output = shell.run(self.local(block.text))
            if expected and not pattern(self.local(after.text)).fullmatch(output):
                self.complain(after, f"the block before it prints\n{output}")
            elif status and not expected or status < 0:
                self.complain(block, f"exits with {status}\n{output}")


def follow(page):
    """Follows a page. Returns how many blocks are wrong."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        follower = Follower(page, folder)
        port = follower.ports.setdefault("6379", str(free_port()))
        redis = subprocess.Popen(
            ["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", place], stdout=subprocess.DEVNULL
        )
        shell = Shell(folder, port)
        try:
            while shell.run("redis-cli ping")[1] != "PONG\n":
                time.sleep(0.05)
            follower.follow(shell)
        finally:
            shell.close()
            redis.kill()
            redis.wait()
        print(f"{page}: {len(follower.blocks)} blocks followed")
        return follower.wrong


def main():
    if not FANFARE.is_file():
        sys.exit(f"there is no {FANFARE}: build it, or name another in FANFARE_BIN")
    pages = LONG if sys.argv[1:] == ["--long"] else sys.argv[1:] or PAGES
    # They mostly wait.
    with ThreadPoolExecutor() as pool:
        wrong = sum(pool.map(follow, pages))
    if wrong:
        sys.exit("the pages are wrong")


if __name__ == "__main__":
    main()
