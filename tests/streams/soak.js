// Many finite streams at once, on three nodes of which one is killed every five seconds: each reader leaves and comes back at random
// bytes (characters of text), on random nodes and in every way to read, and must have exactly the producer's bytes and the right end.
//
//   node soak.js            30 streams of 60 chunks
//   node soak.js 1000 400   the long form

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Node, startRedis } from "../../clients/typescript/test/support/nodes.js";

const [STREAMS, CHUNKS] = [Number(process.argv[2] ?? 30), Number(process.argv[3] ?? 60)];
/** Streams at a time, which bounds the memory of Redis. */
const AT_ONCE = 50;
const READERS = 2;
const LEASE = 15;
const LARGEST = 64 * 1024;
const KILLED = 0.05;

const redis = await startRedis();
const settings = { FANFARE_REDIS__URL: redis.url, FANFARE_AUTH__MODE: "none", FANFARE_FINITE__LIVE_AGE: "5s", FANFARE_LOG__LEVEL: "error" };
const nodes = await Promise.all([1, 2, 3].map(() => new Node(settings).start()));
const url = (name) => `${nodes[Math.floor(Math.random() * nodes.length)].url}/v1/stream/${name}`;
const figures = { chunks: 0, repeated: 0, bytes: 0, reads: 0, left: 0, cut: 0, killedNodes: 0, killedProducers: 0, latestEnd: 0 };

/** Makes a call until a node answers it, and returns the answer. */
async function call(method, name, { headers, body, query = "" } = {}) {
  for (;;) {
    try {
      const response = await fetch(`${url(name)}${query}`, { method, headers, body, signal: AbortSignal.timeout(20_000) });
      if (response.status < 500) return response;
      await response.body?.cancel();
    } catch {
      figures.cut += 1;
    }
    await sleep(20 + Math.random() * 50);
  }
}

const size = () => Math.max(1, Math.floor(Math.exp(Math.random() * Math.log(LARGEST))));
const letters = ["a", "é", "€", "😀", "\n", " ", "data:"];
const text = (bytes) => {
  let text = "";
  while (text.length < bytes / 2) text += letters[Math.floor(Math.random() * letters.length)];
  return text || "x";
};

/** What a stream may consist of. `body` is a chunk, and `bytes` what a reader gets of it. */
const kinds = [
  { type: "application/octet-stream", chunk: () => Buffer.from(Array.from({ length: Math.min(size(), 4096) }, () => Math.floor(Math.random() * 256))) },
  { type: "text/plain", chunk: () => Buffer.from(text(size())) },
  { type: "application/json", chunk: (n) => Buffer.from(JSON.stringify({ n, text: text(size()) })) },
];

/** Appends all chunks, each until it is accepted once. Returns how the stream ends; a producer that is killed just stops. */
async function produce(stream) {
  const { name, kind } = stream;
  const dies = Math.random() < KILLED ? Math.floor(Math.random() * CHUNKS) : CHUNKS;
  for (let n = 0; n < CHUNKS; n += 1) {
    if (n === dies) {
      figures.killedProducers += 1;
      return "error";
    }
    const body = kind.chunk(n);
    const isLast = n === CHUNKS - 1;
    const headers = { "content-type": kind.type, "producer-id": "p", "producer-epoch": "0", "producer-seq": `${n}` };
    if (isLast) headers["stream-closed"] = "true";
    const response = await call("POST", name, { headers, body });
    assert.ok([200, 204].includes(response.status), `${name}: ${response.status} ${await response.text()}`);
    figures.repeated += response.status === 204;
    stream.accepted = Date.now();
    stream.hash.update(body);
    stream.bytes += body.length;
    figures.chunks += 1;
    figures.bytes += body.length;
  }
  return "complete";
}

/** One way to read from an offset on: gives bytes and the offset behind them to `take`, which may throw `left`. Returns the end. */
const left = Symbol("left");
const end = (headers) => (headers.get("stream-closed") ? { end: headers.get("stream-end"), reason: headers.get("stream-end-reason") } : undefined);

async function readPage({ name, kind }, offset, query, take) {
  const response = await call("GET", name, { query: `?offset=${offset}${query}` });
  assert.ok([200, 204].includes(response.status), `${name} at ${offset}: ${response.status}`);
  const next = response.headers.get("stream-next-offset");
  const bytes = Buffer.from(await response.arrayBuffer());
  if (kind.type !== "application/json") take(bytes, next);
  else if (bytes.length) take(Buffer.concat(JSON.parse(bytes).map((one) => Buffer.from(JSON.stringify(one)))), next);
  return end(response.headers);
}

async function readLive({ name, kind }, offset, query, take) {
  const response = await call("GET", name, { query: `?offset=${offset}&live=sse` });
  assert.equal(response.status, 200, `${name} at ${offset}`);
  let [rest, pending] = ["", []];
  for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
    rest += part;
    for (let at; (at = rest.indexOf("\n\n")) >= 0; rest = rest.slice(at + 2)) {
      const lines = rest.slice(0, at).split("\n");
      const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5)).join("\n");
      if (lines[0] === "event: data") pending.push(data);
      if (lines[0] !== "event: control") continue;
      const control = JSON.parse(data);
      const bytes = pending.map((data) => {
        if (kind.type === "text/plain") return Buffer.from(data);
        if (kind.type !== "application/json") return Buffer.from(data, "base64");
        return Buffer.concat(JSON.parse(data).map((one) => Buffer.from(JSON.stringify(one))));
      });
      pending = [];
      take(Buffer.concat(bytes), control.streamNextOffset);
      if (control.streamClosed) return { end: control.streamEnd, reason: control.streamEndReason };
    }
  }
}

const moved = (offset, bytes) => `${offset.slice(0, 17)}${String(Number(offset.slice(17)) + bytes).padStart(16, "0")}`;

/** Reads to the end. Leaves again and again: at any byte, or behind any message of JSON. */
async function read(stream) {
  const { name, kind } = stream;
  const hash = createHash("sha256");
  let [offset, bytes] = ["-1", 0];
  for (;;) {
    const patience = Math.random() < 0.7 ? Math.floor(Math.random() * 200_000) : Infinity;
    let had = 0;
    const take = (chunk, next) => {
      let some = had + chunk.length > patience && kind.type !== "application/json" ? Math.floor(Math.random() * chunk.length) : chunk.length;
      // Server-sent events are text, which begins with a character.
      while (kind.type === "text/plain" && (chunk[some] & 0xc0) === 0x80) some -= 1;
      hash.update(chunk.subarray(0, some));
      bytes += some;
      had += some;
      offset = moved(next, some - chunk.length);
      if (had < patience && some === chunk.length) return;
      figures.left += 1;
      throw left;
    };
    const [way, query] = [
      [readPage, ""],
      [readPage, "&live=long-poll"],
      [readLive, ""],
    ][Math.floor(Math.random() * 3)];
    figures.reads += 1;
    try {
      const ended = await way(stream, offset, query, take);
      if (ended) {
        figures.latestEnd = Math.max(figures.latestEnd, Date.now() - stream.accepted);
        return { ...ended, bytes, digest: hash.digest("hex"), at: Date.now() };
      }
    } catch (error) {
      if (error instanceof assert.AssertionError) throw error;
      if (error !== left) figures.cut += 1;
    }
    await sleep(Math.random() * 100);
  }
}

async function one(n) {
  const stream = { name: `soak/${n}`, kind: kinds[n % kinds.length], hash: createHash("sha256"), bytes: 0, accepted: Date.now() };
  const headers = { "content-type": stream.kind.type, "stream-lease": `${LEASE}` };
  const created = await call("PUT", stream.name, { headers });
  assert.ok([200, 201].includes(created.status), `${created.status}`);
  const [ended, ...readers] = await Promise.all([produce(stream), ...Array.from({ length: READERS }, () => read(stream))]);
  const [digest, reason] = [stream.hash.digest("hex"), ended === "error" ? "producer-lost" : null];
  for (const reader of readers) {
    assert.equal(reader.bytes, stream.bytes, `${stream.name} (${stream.kind.type}): bytes`);
    assert.equal(reader.digest, digest, `${stream.name} (${stream.kind.type}): digest`);
    assert.deepEqual([reader.end, reader.reason ?? null], [ended, reason], stream.name);
  }
  assert.equal((await call("DELETE", stream.name)).status, 204);
}

let isOver = false;
const killing = (async () => {
  for (let n = 0; !isOver; n += 1) {
    await sleep(5000);
    if (isOver) break;
    const node = nodes[n % nodes.length];
    await node.stop("SIGKILL");
    figures.killedNodes += 1;
    await node.start();
  }
})();
const begun = Date.now();
let next = 0;
try {
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (next < STREAMS) await one(next++);
    }),
  );
} finally {
  isOver = true;
  await killing;
  await Promise.all(nodes.map((node) => node.stop("SIGKILL")));
  await redis.stop();
}
console.log(`${STREAMS} streams in ${Math.round((Date.now() - begun) / 1000)} s: ${JSON.stringify(figures)}`);
assert.ok(figures.left > 0 && figures.killedNodes > 0, "readers left and nodes were killed");
