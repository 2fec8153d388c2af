#!/usr/bin/env python3
"""Checks every fenced code block of README.md and docs/.

    FANFARE_BIN=target/debug/fanfare tests/docs/blocks.py [PAGE...]

The language says how a block is checked: a node must take `toml` as its settings, `json` must parse. A block of any other
language has a comment on the line before it:

    <!-- block: quotes FILE -->        the lines stand in FILE, a program that another test runs; indentation may differ
    <!-- block: tested by FILE -->     the test FILE reads this page and follows the block
    <!-- block: written by FILE -->    the program FILE writes the block and checks it
    <!-- block: not run: REASON -->    nothing runs it; the syntax of `sh` and `js` is checked

Prints what is wrong, with page and line, and exits with 1.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FANFARE = Path(os.environ.get("FANFARE_BIN", ROOT / "target/debug/fanfare")).resolve()
COMMENT = re.compile(r"<!-- block: (?:(quotes|tested by|written by) (\S+)|not run: (\S.*)) -->")
SECRET = "0123456789abcdef0123456789abcdef"


class Wrong(Exception):
    """What is wrong with a block."""


@dataclass
class Block:
    page: str
    line: int
    language: str
    text: str
    comment: str


def blocks(page):
    """Yields the fenced blocks of a page, also those inside lists."""
    lines = (ROOT / page).read_text().splitlines()
    start = None
    for number, line in enumerate(lines):
        fence = re.match(r"( *)(```+|~~~+)\s*(.*)$", line)
        if fence and start is None:
            start, indent, mark, language = number, len(fence[1]), fence[2], fence[3].strip()
        elif fence and fence[2].startswith(mark) and not fence[3]:
            text = "".join(row[indent:] + "\n" for row in lines[start + 1 : number])
            before = lines[start - 1].strip() if start else ""
            yield Block(page, start + 1, language, text, before if before.startswith("<!-- block:") else "")
            start = None
    if start is not None:
        raise SystemExit(f"{page}:{start + 1}: the block has no end")


def run(command, text=None, **options):
    """Runs a command, which must succeed."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, **options)
    if done.returncode:
        raise Wrong(f"{command[0]} exits with {done.returncode}: {(done.stderr or done.stdout).strip()}")


def missing_settings(text):
    """Returns variables with the settings that a node needs beside a fragment of a file."""
    if re.search(r"^mode = ", text, re.M):
        return {}
    if "[auth.issuers" in text:
        return {"FANFARE_AUTH__MODE": "jwt"}
    if "[auth.jwt" in text:
        return {"FANFARE_AUTH__MODE": "jwt", "FANFARE_AUTH__JWT__SECRET": SECRET}
    return {"FANFARE_AUTH__MODE": "none"}


def check_toml(block, place):
    """Lets a node read a block as its settings, with the files that it names for secrets and keys."""
    (place / "jwt.secret").write_text(SECRET)
    if ".pem" in block.text:
        run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", place / "private.pem"])
    for name in re.findall(r'"(\S+\.pem)"', block.text):
        run(["openssl", "pkey", "-in", place / "private.pem", "-pubout", "-out", place / name])
    settings = place / "fanfare.toml"
    settings.write_text(block.text)
    env = {name: value for name, value in os.environ.items() if not name.startswith("FANFARE_")}
    run([FANFARE, "config", "--config", settings], cwd=place, env=env | missing_settings(block.text))


def check_json(block, _place):
    try:
        json.loads(block.text)
    except ValueError as error:
        raise Wrong(f"no JSON: {error}") from error


def check_js(block, place):
    file = place / "block.mjs"
    file.write_text(block.text)
    run(["node", "--check", file])


def check_sh(block, _place):
    run(["bash", "-n"], block.text)


LANGUAGES = {"toml": check_toml, "json": check_json, "js": check_js, "sh": check_sh}
# What these check is all that a block of the language says; the others need to be run.
WHOLE = ("toml", "json")


def words(text):
    """Returns the lines without indentation and empty lines."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def check_file(block, how, name):
    """Checks that the file that a comment names does what the comment says."""
    file = ROOT / name
    if not file.is_file():
        raise Wrong(f"there is no file {name}")
    text = file.read_text()
    if how == "quotes":
        if "\n".join(words(block.text)) not in "\n".join(words(text)):
            raise Wrong(f"{name} has other lines")
    elif Path(block.page).name not in text:
        raise Wrong(f"{name} does not name {block.page}")


def check(block):
    comment = COMMENT.fullmatch(block.comment)
    if block.comment and not comment:
        raise Wrong(f"unknown comment: {block.comment}")
    if not comment and block.language not in WHOLE:
        raise Wrong(f"a block of {block.language or 'no language'} needs a comment that says how it is checked")
    with tempfile.TemporaryDirectory() as place:
        if block.language in LANGUAGES:
            LANGUAGES[block.language](block, Path(place))
    if comment and comment[1]:
        check_file(block, comment[1], comment[2])


def main():
    if not FANFARE.is_file():
        sys.exit(f"there is no {FANFARE}: build it, or name another in FANFARE_BIN")
    pages = sys.argv[1:]
    if not pages:
        listed = ["git", "ls-files", "README.md", "docs/*.md"]
        pages = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    count, wrong = {}, 0
    for block in (block for page in pages for block in blocks(page)):
        try:
            check(block)
        except Wrong as error:
            print(f"{block.page}:{block.line}: {error}", file=sys.stderr)
            wrong += 1
        comment = COMMENT.fullmatch(block.comment)
        how = "checked by language" if not comment else comment[1] or "not run"
        count[how] = count.get(how, 0) + 1
    print(", ".join(f"{number} {how}" for how, number in sorted(count.items())))
    if not count:
        sys.exit("there are no blocks")
    if wrong:
        sys.exit(f"{wrong} blocks are wrong")


if __name__ == "__main__":
    main()
