// Nodes with one Redis that require tokens, each with an admin listener, and streams to them.

import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:http2";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort, start } from "./dev.js";

const SECRET = "the secret of the browser tests, which nodes and tokens share";
/** Streams of one HTTP/2 connection, of which a node allows 128. */
const SHARED = 100;

/** A token of a user with these grants, for an hour. */
export function token(user, grants) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const claims = { sub: user, exp: Math.floor(Date.now() / 1000) + 3600, fanfare: grants };
  const text = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${text}.${createHmac("sha256", SECRET).update(text).digest("base64url")}`;
}

/** Waits until a condition holds, and answers its value. */
export async function until(what, condition, limit = 60_000) {
  const end = Date.now() + limit;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function startRedis() {
  const dir = await mkdtemp(join(tmpdir(), "fanfare-redis-"));
  const port = await freePort();
  const child = spawn("redis-server", ["--bind", "127.0.0.1", "--port", `${port}`, "--save", "", "--dir", dir], { stdio: "ignore" });
  const exited = once(child, "exit");
  return {
    port,
    /** Sends a command of plain words, and answers the reply as text. */
    async send(...words) {
      const socket = createConnection(port, "127.0.0.1");
      await once(socket, "connect");
      socket.write(`*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join("")}`);
      const [reply] = await once(socket, "data");
      socket.destroy();
      return reply.toString();
    },
    async stop() {
      child.kill("SIGTERM");
      await exited;
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** Starts Redis and nodes with the ids a, b, …; each has `url`, `admin` and `metric(name)`. */
export async function startCluster(size, env = {}) {
  const redis = await startRedis();
  await until("Redis answers", () => redis.send("PING").catch(() => ""));
  const nodes = [];
  for (let index = 0; index < size; index += 1) {
    const id = String.fromCharCode(97 + index);
    const [listen, admin] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`];
    const args = ["--redis", `redis://127.0.0.1:${redis.port}`, "--node-id", id, "--auth", "jwt"];
    const node = await start(["serve", "--listen", listen, ...args], {
      FANFARE_ADMIN__LISTEN: admin,
      FANFARE_AUTH__JWT__SECRET: SECRET,
      FANFARE_DRAIN__NOTICE: "0s",
      FANFARE_DRAIN__WINDOW: "0s",
      FANFARE_LOG__LEVEL: "warn",
      FANFARE_LOG__AUDIT: "off",
      // Few files are open.
      FANFARE_LIMITS__CONNECTIONS: "5000",
      ...env,
    });
    nodes.push({
      ...node,
      id,
      url: `http://${listen}`,
      admin: `http://${admin}`,
      /** The sum of a metric over its labels. */
      async metric(name) {
        const text = await (await fetch(`http://${admin}/metrics`)).text();
        const values = text.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, "gm"));
        return [...values].reduce((sum, [, value]) => sum + Number(value), 0);
      },
    });
  }
  for (const node of nodes) await until(`${node.id} is ready`, async () => (await fetch(`${node.admin}/readyz`)).ok);
  return {
    redis,
    nodes,
    async stop() {
      await Promise.all(nodes.map((node) => node.stop()));
      await redis.stop();
    },
  };
}

/** Opens streams of as many users to a node, over few HTTP/2 connections. `close(n)` ends some of them. */
export async function openStreams(node, count, channel) {
  const grants = { subscribe: [channel] };
  const connections = [];
  const streams = [];
  for (let index = 0; index < count; index += 1) {
    if (index % SHARED === 0) connections.push(connect(node.url));
    const stream = connections.at(-1).request({
      ":path": `/v1/events?channel=${channel}`,
      authorization: `Bearer ${token(`${node.id}-${index}`, grants)}`,
    });
    streams.push(stream);
    stream.resume();
    stream.on("error", () => {});
    if (index % 50 === 49) {
      const [head] = await once(stream, "response");
      if (head[":status"] !== 200) throw new Error(`a stream was answered with ${head[":status"]}`);
    }
  }
  return {
    close(number) {
      for (const stream of streams.splice(0, number)) stream.close();
    },
    stop() {
      for (const connection of connections) connection.destroy();
    },
  };
}
