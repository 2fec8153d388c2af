// A Redis of the test.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

/**
 * Returns a port that was free a moment ago. It is none of those that the system gives to connections and to listeners without a
 * port of their own (32768 and up): a server that is down would lose its port to one of them.
 */
export async function freePort() {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 22_000);
    const server = createServer().listen(port, "127.0.0.1");
    const free = await new Promise((resolve) => {
      server.once("listening", () => resolve(true));
      server.once("error", () => resolve(false));
    });
    if (!free) continue;
    server.close();
    await once(server, "close");
    return port;
  }
}

/** One Redis, which can be killed and started again on its port. Only a durable one has its data then: all that it confirmed. */
export class Redis {
  #durable;
  #port;
  #dir;
  #child;

  constructor({ durable = false } = {}) {
    this.#durable = durable;
  }

  get url() {
    return `redis://127.0.0.1:${this.#port}`;
  }

  /**
   * Resolves when it has loaded its data; with `loading`, when it begins to, and takes this many microseconds for each command. It
   * answers after each 1024 of them.
   */
  async start({ loading } = {}) {
    this.#port ??= await freePort();
    this.#dir ??= await mkdtemp(join(tmpdir(), "fanfare-redis-"));
    const args = ["--port", this.#port, "--bind", "127.0.0.1", "--save", "", "--dir", this.#dir];
    if (this.#durable) args.push("--appendonly", "yes", "--appendfsync", "always");
    if (loading) args.push("--key-load-delay", loading);
    const child = spawn("redis-server", args, { stdio: ["ignore", "pipe", "inherit"] });
    this.#child = child;
    const awaited = loading ? "Server initialized" : "Ready to accept";
    let ready = false;
    for await (const line of createInterface({ input: child.stdout })) if ((ready = line.includes(awaited))) break;
    if (!ready) throw new Error("redis-server does not start");
    child.stdout.resume();
    return this;
  }

  async kill() {
    const exited = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await exited;
  }

  /** Sends a signal. */
  signal(name) {
    this.#child.kill(name);
  }

  async stop() {
    await this.kill();
    await rm(this.#dir, { recursive: true, force: true });
  }
}
