// Finite streams on several nodes: what the conformance suite does not look at.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { Node, secret, startRedis, token, until, within } from "../../clients/typescript/test/support/nodes.js";
import { Redis } from "../../clients/typescript/test/support/redis.js";

const run = promisify(execFile);
let redis;
let nodes;
let number = 0;

const open = (url) => ({ FANFARE_REDIS__URL: url, FANFARE_AUTH__MODE: "none", FANFARE_DRAIN__NOTICE: "0s", FANFARE_DRAIN__WINDOW: "200ms" });

before(async () => {
  redis = await startRedis();
  nodes = await Promise.all([1, 2].map(() => new Node(open(redis.url)).start()));
});

after(async () => {
  await Promise.all(nodes.map((node) => node.stop()));
  await redis.stop();
});

/** A stream of its own for a test, on each of the nodes. */
function stream() {
  number += 1;
  return nodes.map((node) => `${node.url}/v1/stream/test-${number}`);
}

async function call(method, url, { headers = {}, body } = {}) {
  const response = await fetch(url, { method, headers, body });
  return { status: response.status, headers: response.headers, text: await response.text() };
}

const plain = { "content-type": "text/plain" };
const json = { "content-type": "application/json" };
const closing = (more) => ({ ...plain, "stream-closed": "true", ...more });

/** Reads server-sent events; `take` returns the next one. */
async function live(url) {
  const response = await fetch(url);
  assert.equal(response.status, 200, url);
  const parts = response.body.pipeThrough(new TextDecoderStream())[Symbol.asyncIterator]();
  let text = "";
  const take = async () => {
    for (;;) {
      const end = text.indexOf("\n\n");
      if (end >= 0) {
        const lines = text.slice(0, end).split("\n");
        text = text.slice(end + 2);
        if (lines[0].startsWith(":")) continue;
        const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice("data:".length));
        return { event: lines[0].slice("event: ".length), data: data.join("\n") };
      }
      const { value, done } = await parts.next();
      if (done) return undefined;
      text += value;
    }
  };
  return { take: () => within(10, "an event of a stream", take()), cancel: () => parts.return() };
}

const control = async (reader) => {
  const { event, data } = await reader.take();
  assert.equal(event, "control");
  return JSON.parse(data);
};

test("the quick start prints what its page says", async () => {
  const page = await readFile(join(import.meta.dirname, "../../docs/finite-streams.md"), "utf8");
  const [, commands] = page.match(/```sh\n(.*?)```/s);
  const [, events] = page.match(/```text\n(.*?)```/s);
  const { stdout } = await run("bash", ["-euc", commands.replaceAll("http://127.0.0.1:8080", nodes[0].url).replaceAll("curl ", "curl -s ")]);
  const wanted = `Hello, world${events}\n`.replaceAll(/\d{16}_/g, "<generation>_");
  assert.equal(stdout.replaceAll(/\d{16}_/g, "<generation>_"), wanted);
});

test("a reader on one node gets what is appended on another, and the end", async () => {
  const [here, there] = stream();
  await call("PUT", here, { headers: plain });
  const reader = await live(`${there}?offset=-1&live=sse`);
  assert.deepEqual(Object.keys(await control(reader)), ["streamNextOffset", "streamCursor", "upToDate"]);
  for (const body of ["one", " two\n", "three\r\nfour"]) {
    await call("POST", here, { headers: plain, body });
    assert.deepEqual(await reader.take(), { event: "data", data: body.replaceAll("\r\n", "\n") });
    assert.equal((await control(reader)).upToDate, true);
  }
  await call("POST", here, { headers: closing({ "stream-end": "error", "stream-end-reason": "out of tokens" }), body: "last" });
  assert.deepEqual(await reader.take(), { event: "data", data: "last" });
  const end = await control(reader);
  assert.deepEqual([end.streamClosed, end.streamEnd, end.streamEndReason, end.streamCursor], [true, "error", "out of tokens", undefined]);
  assert.equal(await reader.take(), undefined, "the response ends");
});

test("a long poll on one node ends with what is appended on another", async () => {
  const [here, there] = stream();
  await call("PUT", here, { headers: plain });
  const waiting = call("GET", `${there}?offset=-1&live=long-poll`);
  await until(async () => (await metric(nodes[1], "fanfare_finite_readers")) > 0, 5, "a reader");
  await call("POST", here, { headers: plain, body: "x" });
  const answer = await within(10, "the answer", waiting);
  assert.deepEqual([answer.status, answer.text, answer.headers.get("stream-up-to-date")], [200, "x", "true"]);
  const next = answer.headers.get("stream-next-offset");
  const end = call("GET", `${there}?offset=${next}&live=long-poll`);
  await until(async () => (await metric(nodes[1], "fanfare_finite_readers")) > 0, 5, "a reader");
  await call("POST", here, { headers: closing() });
  const ended = await within(10, "the end", end);
  assert.deepEqual([ended.status, ended.headers.get("stream-closed"), ended.headers.get("stream-end")], [204, "true", "complete"]);
});

async function metric(node, name) {
  const text = await (await fetch(`${node.url}/metrics`)).text();
  return Number(text.match(new RegExp(`^${name} (\\d+)$`, "m"))?.[1]);
}

test("whoever cancels a stream on one node stops its producer on another", async () => {
  const [here, there] = stream();
  await call("PUT", here, { headers: plain });
  const watch = await live(`${here}?offset=now&live=sse`);
  await control(watch);
  const cancelled = closing({ "stream-end": "cancelled", "stream-end-reason": "Stop was pressed" });
  assert.equal((await call("POST", there, { headers: cancelled, body: "bye" })).status, 204);
  assert.equal((await watch.take()).data, "bye");
  assert.equal((await control(watch)).streamEnd, "cancelled");
  const late = await call("POST", here, { headers: plain, body: "more" });
  assert.deepEqual([late.status, JSON.parse(late.text).code], [409, "stream-closed"]);
  assert.deepEqual([late.headers.get("stream-end"), late.headers.get("stream-end-reason")], ["cancelled", "Stop was pressed"]);
  assert.equal((await call("GET", there)).text, "bye");
});

test("a text's characters and a number's digits arrive whole", async () => {
  const [here, there] = stream();
  await call("PUT", here, { headers: plain });
  const reader = await live(`${there}?offset=-1&live=sse`);
  await control(reader);
  const bytes = Buffer.from("a😀b");
  await call("POST", here, { headers: plain, body: bytes.subarray(0, 3) });
  assert.equal((await reader.take()).data, "a");
  await control(reader);
  await call("POST", here, { headers: plain, body: bytes.subarray(3) });
  assert.equal((await reader.take()).data, "😀b");
  await reader.cancel();

  const [numbers] = stream();
  await call("PUT", numbers, { headers: json });
  await call("POST", numbers, { headers: json, body: '[12345678901234567890, 1.0, {"a" : 1e5}]' });
  assert.equal((await call("GET", numbers)).text, '[12345678901234567890,1.0,{"a":1e5}]');
});

test("a page of text is cut between characters, and what is stored is given whole", async () => {
  const [here, there] = stream();
  const bytes = Buffer.from(`a${"😀".repeat(20_000)}`);
  await call("PUT", here, { headers: plain, body: bytes.subarray(0, -1) });
  const first = await call("GET", there);
  assert.ok(!first.headers.get("stream-up-to-date") && !first.text.includes("\ufffd"), "cut between characters");
  const rest = await fetch(`${there}?offset=${first.headers.get("stream-next-offset")}`);
  const given = Buffer.concat([Buffer.from(first.text), Buffer.from(await rest.arrayBuffer())]);
  assert.ok(given.equals(bytes.subarray(0, -1)), "to the last byte, within a character");
});

test("a page is cut between messages, and a message that is larger than a page is whole", async () => {
  const [here, there] = stream();
  await call("PUT", here, { headers: json });
  const large = JSON.stringify("x".repeat(200_000));
  await call("POST", here, { headers: json, body: `[1,${large},2]` });
  let [offset, all] = ["-1", []];
  for (;;) {
    const page = await call("GET", `${there}?offset=${offset}`);
    all = all.concat(JSON.parse(page.text));
    offset = page.headers.get("stream-next-offset");
    if (page.headers.get("stream-up-to-date")) break;
  }
  assert.deepEqual(all, [1, JSON.parse(large), 2]);
  const within = offset.replace(/\d$/, (digit) => `${(Number(digit) + 5) % 10}`);
  assert.equal((await call("GET", `${there}?offset=${within}`)).status, Number(within.slice(-16)) > Number(offset.slice(-16)) ? 410 : 400);
});

test("an offset of a stream that was deleted gets no bytes of the next one", async () => {
  const [here, there] = stream();
  const first = await call("PUT", here, { headers: plain, body: "secret" });
  const reader = await live(`${there}?offset=-1&live=sse`);
  await reader.take();
  await control(reader);
  assert.equal((await call("DELETE", here)).status, 204);
  assert.equal(await reader.take(), undefined, "the reader's response ends");
  assert.equal((await call("GET", there)).status, 404);
  await call("PUT", here, { headers: plain, body: "other bytes" });
  const old = first.headers.get("stream-next-offset");
  for (const mode of ["", "&live=long-poll", "&live=sse"]) {
    const answer = await call("GET", `${there}?offset=${old}${mode}`);
    assert.deepEqual([answer.status, JSON.parse(answer.text).code], [410, "gone"], mode);
  }
});

test("a node that drains ends its readers, and they go on on another", async () => {
  const other = await new Node(open(redis.url)).start();
  const [here] = stream();
  const there = here.replace(nodes[0].url, other.url);
  await call("PUT", here, { headers: plain, body: "before" });
  const reader = await live(`${there}?offset=-1&live=sse`);
  assert.equal((await reader.take()).data, "before");
  const { streamNextOffset } = await control(reader);
  const stopped = other.stop();
  assert.equal(await reader.take(), undefined, "the response ends");
  await call("POST", here, { headers: plain, body: "after" });
  assert.equal((await call("GET", `${here}?offset=${streamNextOffset}`)).text, "after");
  await stopped;
});

test("a reader that is always behind ends in time", async () => {
  const settings = { ...open(redis.url), FANFARE_FINITE__LIVE_AGE: "1s", FANFARE_FINITE__PAGE: "1KiB" };
  const other = await new Node(settings).start();
  try {
    const [here] = stream();
    await call("PUT", here, { headers: plain, body: "x".repeat(8_000_000) });
    await call("POST", here, { headers: plain, body: "x".repeat(8_000_000) });
    const reader = await live(`${here.replace(nodes[0].url, other.url)}?offset=-1&live=sse`);
    let last;
    for (let event; (event = await reader.take()); ) if (event.event === "control") last = JSON.parse(event.data);
    assert.equal(last.upToDate, undefined, "the response ended before all bytes");
  } finally {
    await other.stop();
  }
});

test("a reader misses nothing when Redis restarts with its data", async () => {
  const durable = await new Redis({ durable: true }).start();
  const node = await new Node(open(durable.url)).start();
  try {
    const url = `${node.url}/v1/stream/over-a-restart`;
    await call("PUT", url, { headers: plain, body: "one" });
    const reader = await live(`${url}?offset=-1&live=sse`);
    assert.equal((await reader.take()).data, "one");
    await control(reader);
    await durable.kill();
    await durable.start();
    // Not acknowledged while Redis is away; the producer's number makes it count once.
    const producer = { ...plain, "producer-id": "p", "producer-epoch": "0", "producer-seq": "0" };
    await until(async () => (await call("POST", url, { headers: producer, body: "two" })).status < 300, 10, "the append");
    const next = await reader.take();
    // A response that a failed read ended is one that the client opens again.
    if (next) assert.equal(next.data, "two");
    assert.equal((await call("GET", url)).text, "onetwo");
  } finally {
    await node.stop();
    await durable.stop();
  }
});

test("a grant names the streams, and a star names none", async () => {
  const settings = { FANFARE_REDIS__URL: redis.url, FANFARE_AUTH__MODE: "jwt", FANFARE_AUTH__JWT__SECRET: secret };
  const node = await new Node(settings).start();
  try {
    const ask = async (method, path, grants, headers = {}) => {
      const authorization = { authorization: `Bearer ${token("7", 60, grants)}` };
      const answer = await call(method, `${node.url}/v1/stream/${path}`, { headers: { ...plain, ...authorization, ...headers } });
      return answer.status;
    };
    const writes = { publish: ["stream:chat-*"] };
    const reads = { subscribe: ["stream:chat-*"] };
    assert.equal(await ask("PUT", "chat-grants", { publish: ["*"], subscribe: ["*"] }), 403);
    assert.equal(await ask("PUT", "chat-grants", reads), 403);
    assert.equal(await ask("PUT", "chat-grants", writes), 201);
    assert.equal(await ask("PUT", "other", writes), 403);
    assert.equal(await ask("GET", "chat-grants", writes), 403);
    assert.equal(await ask("GET", "chat-grants", { subscribe: ["*"] }), 403);
    assert.equal(await ask("GET", "chat-grants", reads), 200);
    assert.equal(await ask("HEAD", "chat-grants", reads), 200);
    assert.equal(await ask("DELETE", "chat-grants", reads), 403);
    const fork = { "stream-forked-from": "/v1/stream/chat-grants" };
    assert.equal(await ask("PUT", "chat-fork", writes, fork), 403, "a fork reads its source");
    assert.equal(await ask("PUT", "chat-fork", { ...writes, ...reads }, fork), 201);
    assert.equal((await call("GET", `${node.url}/v1/stream/chat-grants`)).status, 401);
  } finally {
    await node.stop();
  }
});

test("what is wrong is said, and changes nothing", async () => {
  const [url] = stream();
  await call("PUT", url, { headers: plain, body: "abc" });
  const at = (await call("HEAD", url)).headers.get("stream-next-offset");
  const post = (headers, body) => ["POST", url, { headers, body }];
  const put = (headers) => ["PUT", `${url}-new`, { headers: { ...plain, ...headers } }];
  const get = (query) => ["GET", `${url}?${query}`, {}];
  const producer = (id, epoch, seq) => ({ ...plain, "producer-id": id, "producer-epoch": epoch, "producer-seq": seq });
  const cases = [
    [400, "bad-request", post(plain)],
    [400, "bad-request", post({}, Buffer.from("x"))],
    [409, "stream-conflict", post({ "content-type": "text/html" }, "x")],
    [400, "bad-request", post({ ...plain, "stream-end": "complete" }, "x")],
    [400, "bad-request", post(closing({ "stream-end": "done" }), "x")],
    [400, "bad-request", post(closing({ "stream-end-reason": "x".repeat(257) }), "x")],
    [400, "bad-request", post({ ...plain, "producer-id": "p" }, "x")],
    [400, "bad-request", post(producer("", "0", "0"), "x")],
    ...["-1", "1.0", "1e3", "x", "9007199254740992"].flatMap((bad) => [
      [400, "bad-request", post(producer("p", bad, "0"), "x")],
      [400, "bad-request", post(producer("p", "0", bad), "x")],
    ]),
    [409, "producer-gap", post(producer("p", "0", "1"), "x")],
    [400, "bad-request", post({ ...plain, "stream-seq": "x".repeat(257) }, "x")],
    [415, "content-coding", post({ ...plain, "content-encoding": "gzip" }, "x")],
    [404, "not-found", ["POST", `${url}-none`, { headers: plain, body: "x" }]],
    ...["", "0", "-2", "Now", "1_1", `${at},`, ` ${at}`, `${at}%00`, "%2F", "null"].map((bad) => [400, "bad-request", get(`offset=${bad}`)]),
    [400, "bad-request", get(`offset=${at}&offset=${at}`)],
    [400, "bad-request", get("live=sse")],
    [400, "bad-request", get("offset=-1&live=raw2")],
    [410, "gone", get("offset=9999999999999999_9999999999999999")],
    [410, "gone", get("offset=0000000000000000_0000000000000001")],
    [410, "gone", get(`offset=${at.slice(0, 17)}0000000000000004`)],
    ...["-1", "01", "1.5", "x", " 1x"].map((bad) => [400, "bad-request", put({ "stream-ttl": bad })]),
    ...["tomorrow", "2030-01-01", "1735689600"].map((bad) => [400, "bad-request", put({ "stream-expires-at": bad })]),
    [400, "bad-request", put({ "stream-ttl": "1", "stream-expires-at": "2030-01-01T00:00:00Z" })],
    [400, "bad-request", put({ "content-type": "no type" })],
    [404, "not-found", put({ "stream-forked-from": "/v1/stream/nothing" })],
    [400, "bad-request", put({ "stream-forked-from": "nothing" })],
    [400, "bad-request", put({ "stream-fork-offset": at })],
    [400, "bad-request", put({ "stream-fork-sub-offset": "0" })],
    [400, "bad-request", put({ "stream-forked-from": new URL(url).pathname, "stream-fork-offset": "x" })],
    [400, "bad-request", put({ "stream-forked-from": new URL(url).pathname, "stream-fork-sub-offset": "1" })],
    [400, "bad-channel", ["PUT", `${url}/`, { headers: plain }]],
    [400, "bad-channel", ["PUT", `${url}//a`, { headers: plain }]],
    [400, "bad-channel", ["PUT", `${url}/${"x".repeat(250)}`, { headers: plain }]],
    [400, "bad-channel", ["PUT", `${url}(1)`, { headers: plain }]],
    [404, "not-found", ["PUT", `${nodes[0].url}/v1/stream/__ds/x`, { headers: plain }]],
    [405, "method-not-allowed", ["PATCH", url, { headers: plain, body: "x" }]],
    [409, "stream-exists", ["PUT", url, { headers: { "content-type": "text/html" } }]],
    [409, "stream-exists", ["PUT", url, { headers: { ...plain, "stream-ttl": "5" } }]],
    [409, "stream-exists", ["PUT", url, { headers: closing() }]],
  ];
  for (const [status, code, [method, address, options]] of cases) {
    const answer = await call(method, address, options);
    const what = `${method} ${address} ${JSON.stringify(options.headers ?? {})}: ${answer.text}`;
    assert.equal(answer.status, status, what);
    const problem = JSON.parse(answer.text);
    assert.equal(problem.code, code, what);
    assert.ok(problem.detail.length > 10, what);
    assert.equal(answer.headers.get("content-type"), "application/problem+json", what);
    assert.equal(answer.headers.get("cross-origin-resource-policy"), status === 405 ? answer.headers.get("cross-origin-resource-policy") : "cross-origin", what);
  }
  assert.ok(cases.length >= 60, `${cases.length} cases`);
  assert.equal((await call("GET", url)).text, "abc");
  assert.equal((await call("HEAD", `${url}-new`)).status, 404);
});
