// docs/quickstart.md, followed as it is printed, in an empty folder.
//
// What is replaced: `redis-cli` and redis://127.0.0.1:6379 lead to a Redis of the test; free ports stand in the place of 8080 and 8000.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { binary, freePort, startBrowser } from "./dev.js";

const page = resolve(import.meta.dirname, "../../docs/quickstart.md");

/** The blocks of the page that are run, in order. */
async function blocks() {
  const text = await readFile(page, "utf8");
  return [...text.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block]) => block);
}

/** Somebody who follows the page, in an empty folder. */
class Reader {
  #shells = [];

  static async begin() {
    const reader = new Reader();
    reader.home = await mkdtemp(join(tmpdir(), "fanfare-quickstart-"));
    [reader.bin, reader.folder] = ["bin", "folder"].map((name) => join(reader.home, name));
    await Promise.all([mkdir(reader.bin), mkdir(reader.folder)]);
    await symlink(binary, join(reader.bin, "fanfare"));
    [reader.redis, reader.node, reader.site] = [await freePort(), await freePort(), await freePort()];
    const cli = `#!/bin/sh\nexec ${await reader.#which("redis-cli")} -p ${reader.redis} -e "$@"\n`;
    await writeFile(join(reader.bin, "redis-cli"), cli, { mode: 0o755 });
    const server = reader.shell(`exec redis-server --port ${reader.redis} --save '' --dir ${reader.home}`);
    await server.prints("Ready to accept connections");
    return reader;
  }

  async #which(name) {
    const { stdout } = await promisify(execFile)("sh", ["-c", `command -v ${name}`]);
    return stdout.trim();
  }

  /** Begins to run a block. */
  shell(block) {
    const text = block
      .replaceAll("127.0.0.1:6379", `127.0.0.1:${this.redis}`)
      .replaceAll("127.0.0.1:8080", `127.0.0.1:${this.node}`)
      .replaceAll("127.0.0.1:8000", `127.0.0.1:${this.site}`)
      .replace(/ 8000$/m, ` ${this.site}`);
    const env = Object.entries(process.env).filter(([name]) => !name.startsWith("FANFARE_"));
    const child = spawn("bash", ["-euo", "pipefail", "-c", text], {
      cwd: this.folder,
      env: { ...Object.fromEntries(env), PATH: `${this.bin}:${process.env.PATH}`, PYTHONUNBUFFERED: "1", NO_PROXY: "*" },
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
class Shell {
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

let reader;
let browser;

before(async () => {
  reader = await Reader.begin();
  browser = await startBrowser();
});

after(async () => {
  await browser?.stop();
  await reader?.end();
});

test("the quickstart works as it is printed", { timeout: 120_000 }, async () => {
  const all = await blocks();
  assert.equal(all.length, 8, "the steps below");
  const [start, token, file, serve, publish, kill, intake, again] = all;

  const node = reader.shell(start);
  await node.prints("listening on http://");
  assert.match(await reader.shell(token).ends(), /room:\*/);
  await reader.shell(file).ends();
  await reader.shell(serve).prints("Serving HTTP");

  const { page: tab, failures } = await browser.page();
  const notes = tab.locator("#notes li");
  const shows = async (...texts) => {
    await notes.nth(texts.length - 1).waitFor();
    assert.deepEqual(await notes.allTextContents(), texts);
  };
  await tab.goto(`http://127.0.0.1:${reader.site}`);
  await reader.shell(publish).ends();
  await shows("first");
  await tab.reload();
  await shows("first");
  const before = failures.filter((failure) => !failure.includes("favicon") && !failure.includes("404"));
  assert.deepEqual(before, []);

  await reader.shell(kill).ends();
  await node.isKilled();
  await reader.shell(intake).ends();
  await shows("first");
  await reader.shell(again).prints("listening on http://");
  await shows("first", "second");
});
