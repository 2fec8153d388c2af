// Somebody who follows a page of docs/ as it is printed: with a Redis of the test, and free ports in the place of the printed ones.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout } from "node:timers/promises";
import { promisify } from "node:util";
import { binary, freePort } from "./dev.js";

const docs = resolve(import.meta.dirname, "../../docs");

/** The blocks of a page that a test follows, in order. A line "`name`:" before a block names its file. */
export async function blocks(page) {
  const text = await readFile(join(docs, page), "utf8");
  const found = text.matchAll(/^(?:`([^`\n]+)`:\n\n)?<!-- block: tested by \S+ -->\n```(\w+)\n(.*?)^```$/gms);
  return [...found].map(([, file, language, text]) => ({ file, language, text }));
}

/** Somebody who follows pages, at first in an empty folder. */
export class Reader {
  #shells = [];

  /** `printed` are the ports of the pages: that of Redis, of the node, and of the site. */
  static async begin(...printed) {
    const reader = new Reader();
    reader.home = await mkdtemp(join(tmpdir(), "fanfare-reader-"));
    [reader.bin, reader.folder] = ["bin", "folder"].map((name) => join(reader.home, name));
    await Promise.all([mkdir(reader.bin), mkdir(reader.folder)]);
    await symlink(binary, join(reader.bin, "fanfare"));
    reader.ports = new Map();
    for (const port of printed) reader.ports.set(`${port}`, await freePort());
    [reader.redis, reader.node, reader.site] = reader.ports.values();
    const cli = `#!/bin/sh\nexec ${await reader.#which("redis-cli")} -p ${reader.redis} -e "$@"\n`;
    await writeFile(join(reader.bin, "redis-cli"), cli, { mode: 0o755 });
    const server = reader.shell(`exec redis-server --bind 127.0.0.1 --port ${reader.redis} --save '' --dir ${reader.home}`);
    await server.prints("Ready to accept connections");
    return reader;
  }

  async #which(name) {
    const { stdout } = await promisify(execFile)("sh", ["-c", `command -v ${name}`]);
    return stdout.trim();
  }

  /** A text of a page with the ports of this reader. */
  own(text) {
    return text.replace(/\b\d{4}\b/g, (number) => this.ports.get(number) ?? number);
  }

  /** Begins to run a block. */
  shell(block, { cwd = this.folder, env = {} } = {}) {
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith("FANFARE_"));
    const own = { PATH: `${this.bin}:${process.env.PATH}`, PYTHONUNBUFFERED: "1", NO_PROXY: "*", ...env };
    const child = spawn("bash", ["-euo", "pipefail", "-c", this.own(block)], {
      cwd,
      env: { ...Object.fromEntries(inherited), ...own },
      stdio: ["ignore", "pipe", "pipe"],
      // A group of its own, which is killed as a whole.
      detached: true,
    });
    const shell = new Shell(child);
    this.#shells.push(shell);
    return shell;
  }

  async end() {
    for (const shell of this.#shells.reverse()) await shell.kill();
    await rm(this.home, { recursive: true, force: true });
  }
}

/** A shell of the reader's, with what it started. */
export class Shell {
  #child;
  #ended;
  #printed = "";
  #more = [];

  constructor(child) {
    this.#child = child;
    // "close" and not "exit": all has been read then.
    this.#ended = once(child, "close");
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on("line", (line) => {
        this.#printed += `${line}\n`;
        for (const wake of this.#more.splice(0)) wake();
      });
    }
  }

  /** Waits until a text has been printed. */
  async prints(text) {
    while (!this.#printed.includes(text)) {
      const line = new Promise((wake) => this.#more.push(wake));
      const ended = this.#ended.then(() => "ended");
      if ((await Promise.race([line, ended])) === "ended") {
        assert.ok(this.#printed.includes(text), `no "${text}" in\n${this.#printed}`);
      }
    }
  }

  /** Waits until what it started answers requests for a URL, in whatever way. */
  async serves(url) {
    for (;;) {
      const { exitCode, signalCode } = this.#child;
      assert.equal(exitCode ?? signalCode, null, this.#printed);
      try {
        return await fetch(url, { redirect: "manual", headers: { connection: "close" } });
      } catch (error) {
        if (!(error instanceof TypeError)) throw error;
        await setTimeout(100);
      }
    }
  }

  /** Waits until it ends, which must be well. Returns what it printed. */
  async ends() {
    const [code] = await this.#ended;
    assert.equal(code, 0, this.#printed);
    return this.#printed;
  }

  /** Waits until it was killed by a signal. */
  async isKilled() {
    await this.#ended;
    const { exitCode, signalCode } = this.#child;
    assert.ok(signalCode === "SIGKILL" || exitCode === 137, `${exitCode} ${signalCode} ${this.#printed}`);
  }

  async kill() {
    try {
      process.kill(-this.#child.pid, "SIGKILL");
    } catch (error) {
      if (error.code !== "ESRCH") throw error;
    }
    await this.#ended;
  }
}
