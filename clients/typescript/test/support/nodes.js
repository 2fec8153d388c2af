// Nodes of Fanfare and a Redis, for the tests.

import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { get } from "node:https";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort, Redis } from "./redis.js";

const target = process.env.CARGO_TARGET_DIR ?? resolve(import.meta.dirname, "../../../../target");
const binary = process.env.FANFARE_BIN ?? join(target, "debug/fanfare");
// A node takes each variable that begins so for a setting.
const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("FANFARE_")));

/** Starts a Redis without files; `stop` ends it. */
export const startRedis = () => new Redis().start();

/** One node, which can be stopped and started again on its port. Settings are environment variables. */
export class Node {
  port;
  #settings;
  #child;
  #exited;

  constructor(settings) {
    this.#settings = settings;
  }

  get url() {
    return `${this.#settings.FANFARE_TLS__CERTIFICATE ? "https" : "http"}://127.0.0.1:${this.port}`;
  }

  get running() {
    return this.#child !== undefined;
  }

  async start() {
    this.port ??= await freePort();
    const args = ["serve", "--listen", `127.0.0.1:${this.port}`];
    const child = spawn(binary, args, { env: { ...environment, ...this.#settings }, stdio: ["ignore", "ignore", "inherit"] });
    this.#exited = once(child, "exit");
    this.#child = child;
    while (!(await this.#ready())) {
      if (child.exitCode !== null || child.signalCode) throw new Error(`the node ended with ${child.exitCode ?? child.signalCode}`);
      await sleep(20);
    }
    return this;
  }

  async #ready() {
    if (this.url.startsWith("http:")) {
      const answer = fetch(`${this.url}/ready`, { signal: AbortSignal.timeout(1000) });
      return (await answer.catch(() => undefined))?.ok;
    }
    // Whatever certificate it has.
    const request = get(`${this.url}/ready`, { rejectUnauthorized: false, timeout: 1000 });
    const [response] = await once(request, "response").catch(() => []);
    response?.resume();
    return response?.statusCode === 204;
  }

  async stop(signal = "SIGTERM") {
    const child = this.#child;
    if (!child) return;
    this.#child = undefined;
    child.kill(signal);
    await this.#exited;
  }
}

/** Publishes an event, or several, at one of the nodes; repeats the call with its key until it has an answer. */
export async function publish(nodes, event, headers = {}) {
  for (let n = 0; ; n += 1) {
    try {
      const response = await fetch(`${nodes[n % nodes.length].url}/v1/publish`, {
        method: "POST",
        headers: { "content-type": "application/json", ...headers },
        body: JSON.stringify(event),
        signal: AbortSignal.timeout(3000),
      });
      if (response.ok) return response.json();
      if (response.status < 500) throw new Error(`not published: ${await response.text()}`, { cause: "refused" });
    } catch (error) {
      if (error.cause === "refused") throw error;
    }
    await sleep(20);
  }
}

export const secret = "0123456789abcdef-fedcba98765-43210-xyz";

/** Signs a token for a user. */
export function token(user, seconds, grants = { subscribe: ["room:*"], publish: ["*"] }) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const text = `${part({ alg: "HS256" })}.${part({ sub: user, exp: Math.floor(Date.now() / 1000) + seconds, fanfare: grants })}`;
  return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
}

/** Waits until the client is in a state, and returns it. */
export function reached(client, name) {
  if (client.state.name === name) return Promise.resolve(client.state);
  return new Promise((resolve) => {
    const off = client.onState((state) => {
      if (state.name !== name) return;
      off();
      resolve(state);
    });
  });
}

/** Waits for a promise, but not for longer than this. */
export async function within(seconds, what, promise) {
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error(`not in ${seconds} s: ${what}`)), seconds * 1000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Waits until a condition holds. */
export async function until(holds, seconds, what) {
  const end = Date.now() + seconds * 1000;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`not in ${seconds} s: ${typeof what === "function" ? await what() : what}`);
    await sleep(20);
  }
}
