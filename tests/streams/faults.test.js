// Finite streams when something dies: a producer, a node, Redis with its last writes; and when close and append race.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { Node, startRedis, until, within } from "../../clients/typescript/test/support/nodes.js";
import { Redis } from "../../clients/typescript/test/support/redis.js";

const run = promisify(execFile);
const settings = (url) => ({ FANFARE_REDIS__URL: url, FANFARE_AUTH__MODE: "none", FANFARE_DRAIN__NOTICE: "0s", FANFARE_DRAIN__WINDOW: "200ms" });
const plain = { "content-type": "text/plain" };
const closing = { ...plain, "stream-closed": "true" };
let redis;
let nodes;

before(async () => {
  redis = await startRedis();
  nodes = await Promise.all([1, 2].map(() => new Node(settings(redis.url)).start()));
});

after(async () => {
  await Promise.all(nodes.map((node) => node.stop()));
  await redis.stop();
});

async function call(method, url, { headers = {}, body } = {}) {
  const response = await fetch(url, { method, headers, body });
  return { status: response.status, headers: response.headers, text: await response.text() };
}

/** Reads server-sent events to the end of the response. Returns the text of the data, and the last control event. */
async function readLive(url) {
  const { status, text } = await call("GET", url);
  assert.equal(status, 200, text);
  const parts = text.split("\n\n").map((part) => part.split("\n"));
  const lines = (part) => part.filter((line) => line.startsWith("data:")).map((line) => line.slice(5));
  const of = (kind) => parts.filter(([first]) => first === `event: ${kind}`).map(lines);
  return { text: of("data").map((part) => part.join("\n")).join(""), control: JSON.parse(of("control").at(-1)[0]) };
}

const redisCli = (url, ...words) => run("redis-cli", ["-u", url, ...words]);
const lapsed = ({ control }) => assert.deepEqual([control.streamClosed, control.streamEnd, control.streamEndReason], [true, "error", "producer-lost"]);

test("a producer that dies ends its stream as an error, for readers on every node", async () => {
  const [here, there] = nodes.map((node) => `${node.url}/v1/stream/dies`);
  const leased = { ...plain, "stream-lease": "2" };
  const created = await call("PUT", here, { headers: leased, body: "all that " });
  assert.deepEqual([created.status, created.headers.get("stream-lease")], [201, "2"]);
  assert.equal((await call("HEAD", there)).headers.get("stream-lease"), "2");
  assert.equal((await call("PUT", there, { headers: plain })).status, 409, "the lease is part of the settings");
  const readers = [readLive(`${here}?offset=-1&live=sse`), readLive(`${there}?offset=-1&live=sse`)];
  const poll = call("GET", `${there}?offset=now&live=long-poll`);
  const reading = async () => Number((await call("GET", `${nodes[1].url}/metrics`)).text.match(/^fanfare_finite_readers (\d+)$/m)[1]);
  await until(async () => (await reading()) === 2, 5, "the readers");
  await call("POST", there, { headers: plain, body: "it had" });
  const begun = Date.now();
  assert.equal((await poll).text, "it had");
  const last = await call("GET", `${here}?offset=now&live=long-poll`);
  assert.deepEqual([last.status, last.headers.get("stream-end"), last.headers.get("stream-end-reason")], [204, "error", "producer-lost"]);
  for (const read of await within(10, "the end", Promise.all(readers))) {
    lapsed(read);
    assert.equal(read.text, "all that it had");
  }
  const seconds = (Date.now() - begun) / 1000;
  assert.ok(seconds > 1.9, `ended after ${seconds} s`);
  const late = await call("POST", here, { headers: plain, body: "late" });
  assert.deepEqual([late.status, late.headers.get("stream-end")], [409, "error"]);
});

test("a producer that is silent keeps its stream with its PUT", async () => {
  const [here, there] = nodes.map((node) => `${node.url}/v1/stream/silent`);
  const leased = { ...plain, "stream-lease": "2" };
  await call("PUT", here, { headers: leased });
  const reader = readLive(`${there}?offset=-1&live=sse`);
  for (let n = 0; n < 5; n += 1) {
    await new Promise((resolve) => setTimeout(resolve, 700));
    assert.equal((await call("PUT", here, { headers: leased })).status, 200);
  }
  await call("POST", here, { headers: closing, body: "done" });
  const { text, control } = await reader;
  assert.deepEqual([text, control.streamEnd], ["done", "complete"]);
});

test("a lease is a number of seconds", async () => {
  const url = `${nodes[0].url}/v1/stream/wrong-lease`;
  for (const lease of ["", "0", "-1", "01", "1.5", "3601", "1e3", "ten", "9".repeat(30)]) {
    const refused = await call("PUT", url, { headers: { ...plain, "stream-lease": lease } });
    assert.deepEqual([refused.status, JSON.parse(refused.text).code], [400, "bad-request"], lease);
    assert.match(refused.text, /Stream-Lease must be a whole number of seconds from 1 to 3600/);
  }
  assert.equal((await call("HEAD", url)).status, 404);
});

test("a reader never gets other bytes in the place of those that Redis has lost", async () => {
  const lossy = await new Redis().start();
  const node = await new Node(settings(lossy.url)).start();
  try {
    const url = `${node.url}/v1/stream/lossy`;
    const at = (answer) => answer.headers.get("stream-next-offset");
    await call("PUT", url, { headers: plain });
    const kept = at(await call("POST", url, { headers: plain, body: "kept " }));
    await redisCli(lossy.url, "SAVE");
    const lost = at(await call("POST", url, { headers: plain, body: "and lost" }));
    const waits = readLive(`${url}?offset=${lost}&live=sse`).catch(() => "cut");
    const metrics = async () => (await call("GET", `${node.url}/metrics`)).text;
    await until(async () => /^fanfare_finite_readers 1$/m.test(await metrics()), 10, "the reader");
    await lossy.kill();
    await lossy.start();
    await until(async () => (await call("GET", url)).status === 200, 10, "Redis is back");
    assert.equal((await call("GET", url)).text, "kept ", "the fault happened");
    // The reader's response ends, and it learns that what it read is gone.
    await within(10, "the end of the response", waits);
    assert.equal((await call("GET", `${url}?offset=${lost}&live=sse`)).status, 410);
    assert.equal((await call("GET", `${url}?offset=${lost}`)).status, 410);
    await until(async () => (await call("POST", url, { headers: plain, body: "something else, and longer" })).status === 204, 10, "an append");
    for (const mode of ["", "&live=long-poll", "&live=sse"]) {
      const refused = await call("GET", `${url}?offset=${lost}${mode}`);
      assert.deepEqual([refused.status, JSON.parse(refused.text).code], [410, "gone"], mode);
    }
    assert.equal((await call("GET", `${url}?offset=${kept}`)).text, "something else, and longer");
    assert.equal((await call("GET", url)).text, "kept something else, and longer");
  } finally {
    await node.stop();
    await lossy.stop();
  }
});

test("a producer on plain Redis appends, and readers of every node see it", async () => {
  const [here, there] = nodes.map((node) => `${node.url}/v1/stream/plain-redis`);
  await call("PUT", here, { headers: plain });
  const reader = readLive(`${there}?offset=-1&live=sse`);
  const append = (...words) => redisCli(redis.url, "FCALL", "fanfare_append", "1", "fanfare:{stream:plain-redis}:meta", ...words);
  await append("Hello");
  await append(" world", "complete");
  const { text, control } = await within(10, "the end", reader);
  assert.deepEqual([text, control.streamEnd], ["Hello world", "complete"]);
});

test("live readers leave sockets for other calls", async () => {
  const node = await new Node({ ...settings(redis.url), FANFARE_LIMITS__SOCKETS: "8" }).start();
  const over = new AbortController();
  try {
    const url = `${node.url}/v1/stream/many-readers`;
    await call("PUT", url, { headers: plain });
    const open = () => fetch(`${url}?offset=-1&live=sse`, { signal: over.signal });
    for (let n = 0; n < 4; n += 1) assert.equal((await open()).status, 200, `reader ${n}`);
    const refused = await open();
    assert.deepEqual([refused.status, (await refused.json()).code], [503, "overloaded"]);
    assert.ok(Number(refused.headers.get("retry-after")) >= 1);
    assert.equal((await call("POST", url, { headers: plain, body: "x" })).status, 204);
    assert.equal((await call("GET", url)).text, "x");
  } finally {
    over.abort();
    await node.stop();
  }
});

test("no byte is accepted behind the end, and no reader misses one before it", { timeout: 300_000 }, async () => {
  // The long form is RACES=10000.
  const races = Number(process.env.RACES ?? 1000);
  const cancelled = { ...closing, "stream-end": "cancelled" };
  let counts = { before: 0, after: 0 };
  const race = async (n) => {
    const [here, there] = nodes.map((node) => `${node.url}/v1/stream/race-${n}`);
    await call("PUT", here, { headers: plain });
    const reader = n % 10 === 0 ? readLive(`${there}?offset=-1&live=sse`) : undefined;
    const append = (url, body) => call("POST", url, { headers: plain, body });
    const end = () => call("POST", there, { headers: n % 2 ? closing : cancelled, body: n % 3 ? "." : undefined });
    const [one, two, ended] = await Promise.all([append(here, "a"), append(there, "b"), end()]);
    assert.equal(ended.status, 204);
    const all = await call("GET", n % 2 ? here : there);
    const dot = n % 3 ? "." : "";
    for (const [letter, { status, headers }] of [["a", one], ["b", two]]) {
      assert.ok(status === 204 || (status === 409 && headers.get("stream-closed") === "true"), `${status}`);
      assert.equal(all.text.includes(letter), status === 204, `${n}: ${all.text}`);
      counts[status === 204 ? "before" : "after"] += 1;
    }
    assert.ok(all.text.endsWith(dot) && all.text.length === (one.status === 204) + (two.status === 204) + dot.length, all.text);
    assert.equal(all.headers.get("stream-next-offset"), ended.headers.get("stream-next-offset"), "the end is where the last byte is");
    assert.equal(all.headers.get("stream-end"), n % 2 ? "complete" : "cancelled");
    if (!reader) return;
    const { text, control } = await reader;
    assert.deepEqual([text, control.streamClosed, control.streamNextOffset], [all.text, true, all.headers.get("stream-next-offset")]);
  };
  for (let n = 0; n < races; n += 50) await Promise.all(Array.from({ length: 50 }, (_, k) => race(n + k)));
  assert.ok(counts.before > races / 20 && counts.after > races / 20, `both happened: ${JSON.stringify(counts)}`);
});
