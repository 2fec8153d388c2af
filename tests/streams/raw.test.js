// `live=raw`: the end of the response is the end of the stream, and any other end of it breaks the response off.

import assert from "node:assert/strict";
import http2 from "node:http2";
import { connect } from "node:net";
import { after, before, test } from "node:test";
import { Node, secret, startRedis, token, until, within } from "../../clients/typescript/test/support/nodes.js";
import { balance } from "./balancer.js";
import { TwoNodes, call, closing, done, json, metric, plain, settings } from "./support.js";

const cluster = new TwoNodes("raw");

before(() => cluster.start());
after(() => cluster.stop());

/** Reads a response; `until` waits for a text, and `end` returns the text and whether the response was whole. */
async function raw(url, headers = {}) {
  const response = await within(10, "a response", fetch(url, { headers }));
  assert.equal(response.status, 200, url);
  let text = "";
  const arrived = [];
  const read = (async () => {
    const decoder = new TextDecoder();
    try {
      for await (const part of response.body) {
        text += decoder.decode(part, { stream: true });
        arrived.forEach((wake) => wake());
      }
      return { text, whole: true };
    } catch {
      return { text, whole: false };
    }
  })();
  const until = async (wanted) => {
    while (text !== wanted) {
      assert.ok(wanted.startsWith(text), text);
      await within(10, `${wanted}; there is ${text}`, new Promise((wake) => arrived.push(wake)));
    }
  };
  return { headers: response.headers, until, end: () => within(10, "the end of the response", read) };
}

test("the bytes of a stream arrive on another node as they are appended, and the response ends with it", async () => {
  for (const end of ["complete", "cancelled"]) {
    const [here, there] = cluster.stream();
    const type = { "content-type": "text/html; charset=utf-8" };
    await done("PUT", here, { headers: type, body: "<p>" });
    const reader = await raw(`${there}?offset=-1&live=raw`);
    await reader.until("<p>");
    assert.equal(reader.headers.get("content-type"), "text/html; charset=utf-8");
    assert.match(reader.headers.get("cache-control"), /no-store/);
    assert.equal(reader.headers.get("content-length"), null);
    await done("POST", here, { headers: type, body: "one\n" });
    await reader.until("<p>one\n");
    await done("POST", here, { headers: { ...type, "stream-closed": "true", "stream-end": end }, body: "</p>" });
    assert.deepEqual(await reader.end(), { text: "<p>one\n</p>", whole: true }, end);
    const late = await raw(`${there}?offset=-1&live=raw`);
    assert.deepEqual(await late.end(), { text: "<p>one\n</p>", whole: true }, "from the start, after the end");
    const at = (await call("HEAD", there)).headers.get("stream-next-offset");
    assert.deepEqual(await (await raw(`${there}?offset=${at}&live=raw`)).end(), { text: "", whole: true });
  }
});

test("half a character is sent at once, and messages of JSON are lines", async () => {
  const [here, there] = cluster.stream();
  await done("PUT", here, { headers: plain });
  const bytes = Buffer.from("é");
  await done("POST", here, { headers: plain, body: bytes.subarray(0, 1) });
  const response = await fetch(`${there}?offset=-1&live=raw`);
  const reader = response.body.getReader();
  assert.deepEqual([...(await within(10, "a byte", reader.read())).value], [bytes[0]]);
  await reader.cancel();

  const [messages, other] = cluster.stream();
  await done("PUT", messages, { headers: json, body: '[{"n": 1}]' });
  const lines = await raw(`${other}?offset=-1&live=raw`);
  assert.equal(lines.headers.get("content-type"), "application/x-ndjson");
  await lines.until('{"n":1}\n');
  await done("POST", messages, { headers: { ...json, "stream-closed": "true" }, body: "[[2], 12345678901234567890]" });
  assert.deepEqual(await lines.end(), { text: '{"n":1}\n[2]\n12345678901234567890\n', whole: true });
});

test("a stream that fails breaks its response off, after its last byte", async () => {
  const [here, there] = cluster.stream();
  await done("PUT", here, { headers: plain, body: "one " });
  const reader = await raw(`${there}?offset=-1&live=raw`);
  await reader.until("one ");
  // More than the buffers of the node and the kernel take at once.
  const rest = "x".repeat(500_000);
  await done("POST", here, { headers: closing({ "stream-end": "error" }), body: rest });
  for (const one of [reader, await raw(`${there}?offset=-1&live=raw`)]) {
    const { text, whole } = await one.end();
    assert.deepEqual([text.length, text === `one ${rest}`, whole], [4 + rest.length, true, false]);
  }
});

test("over HTTP/2, a stream that fails resets its response, after its last byte", async () => {
  const [here, there] = cluster.stream();
  await done("PUT", here, { headers: plain, body: "one " });
  const rest = "x".repeat(500_000);
  const { origin, pathname } = new URL(there);
  const session = http2.connect(origin);
  const read = async () => {
    const response = session.request({ ":path": `${pathname}?offset=-1&live=raw` }).setEncoding("utf8");
    let text = "";
    try {
      for await (const part of response) text += part;
      return { length: text.length, whole: true };
    } catch {
      return { length: text.length, whole: false, code: response.rstCode };
    }
  };
  try {
    const reading = read();
    await until(async () => (await metric(cluster.nodes[1], "fanfare_finite_readers")) > 0, 5, "a reader");
    await done("POST", here, { headers: closing({ "stream-end": "error" }), body: rest });
    const failed = { length: 4 + rest.length, whole: false, code: http2.constants.NGHTTP2_INTERNAL_ERROR };
    assert.deepEqual(await within(10, "the end of the response", reading), failed);
    assert.deepEqual(await within(10, "the end of a response that begins after the end", read()), failed);
    await done("DELETE", here);
    await done("PUT", here, { headers: closing(), body: rest });
    assert.deepEqual(await within(10, "the end of a whole response", read()), { length: rest.length, whole: true });
  } finally {
    session.close();
  }
});

test("a stream that is deleted breaks its response off", async () => {
  const [here, there] = cluster.stream();
  await done("PUT", here, { headers: plain, body: "one" });
  const reader = await raw(`${there}?offset=-1&live=raw`);
  await reader.until("one");
  await done("DELETE", here);
  assert.deepEqual(await reader.end(), { text: "one", whole: false });
});

test("a node that drains breaks the response off, also behind nginx", async () => {
  const node = await new Node(settings(cluster.redis)).start();
  const balancer = await balance([node]);
  try {
    const [here] = cluster.stream();
    await done("PUT", here, { headers: plain, body: "one" });
    const path = new URL(here).pathname;
    const readers = await Promise.all([node, balancer].map(({ url }) => raw(`${url}${path}?offset=-1&live=raw`)));
    for (const reader of readers) await reader.until("one");
    await node.stop();
    for (const reader of readers) assert.deepEqual(await reader.end(), { text: "one", whole: false });
  } finally {
    await balancer.stop();
    await node.stop();
  }
});

test("a response goes on as long as its token is valid", async () => {
  const young = { ...settings(cluster.redis), FANFARE_FINITE__LIVE_AGE: "1s" };
  const protectedNode = { ...young, FANFARE_AUTH__MODE: "jwt", FANFARE_AUTH__JWT__SECRET: secret, FANFARE_AUTH__JWT__LEEWAY: "0s" };
  const others = await Promise.all([young, protectedNode].map((one) => new Node(one).start()));
  try {
    const [here] = cluster.stream();
    await done("PUT", here, { headers: plain, body: "one" });
    const path = `${new URL(here).pathname}?offset=-1&live=raw`;
    const authorization = `Bearer ${token("7", 2, { subscribe: ["stream:*"] })}`;
    const [open, expiring] = await Promise.all([raw(`${others[0].url}${path}`), raw(`${others[1].url}${path}`, { authorization })]);
    for (const reader of [open, expiring]) await reader.until("one");
    // After the token and some ages of a response.
    assert.deepEqual(await expiring.end(), { text: "one", whole: false });
    await done("POST", here, { headers: closing(), body: " two" });
    assert.deepEqual(await open.end(), { text: "one two", whole: true });
  } finally {
    await Promise.all(others.map((node) => node.stop()));
  }
});

test("a Redis that is gone breaks the response off", async () => {
  const redis = await startRedis();
  const node = await new Node(settings(redis)).start();
  try {
    const url = `${node.url}/v1/stream/of-a-lost-redis`;
    await done("PUT", url, { headers: plain, body: "one" });
    const reader = await raw(`${url}?offset=-1&live=raw`);
    await reader.until("one");
    await redis.kill();
    // The subscription of an empty Redis wakes the reader, and the stream is not there.
    await redis.start();
    assert.deepEqual(await reader.end(), { text: "one", whole: false });
  } finally {
    await node.stop();
    await redis.stop();
  }
});

test("nothing to resume is 204, if the request asks for it", async () => {
  const [here, there] = cluster.stream();
  const query = "ended=204&missing=204";
  for (const mode of ["", "&live=long-poll", "&live=sse", "&live=raw"]) {
    assert.equal((await call("GET", `${there}?offset=-1&ended=204${mode}`)).status, 404, mode);
    const answer = await call("GET", `${there}?offset=-1&${query}${mode}`);
    assert.deepEqual([answer.status, answer.text, answer.headers.get("cache-control")], [204, "", "no-store"], mode);
  }
  await done("PUT", here, { headers: plain, body: "one" });
  const reader = await raw(`${there}?offset=-1&live=raw&${query}`);
  await reader.until("one");
  await done("POST", here, { headers: closing({ "stream-end": "cancelled", "stream-end-reason": "Stop" }) });
  assert.equal((await reader.end()).whole, true);
  const at = (await call("HEAD", there)).headers.get("stream-next-offset");
  for (const mode of ["", "&live=long-poll", "&live=sse", "&live=raw"]) {
    const { status, text, headers } = await call("GET", `${there}?offset=-1&${query}${mode}`);
    assert.deepEqual([status, text, headers.get("cache-control")], [204, "", "no-store"], mode);
    const fields = ["stream-closed", "stream-end", "stream-end-reason", "stream-next-offset"];
    assert.deepEqual(fields.map((name) => headers.get(name)), ["true", "cancelled", "Stop", at]);
  }
  await done("PUT", `${here}-fork`, { headers: { ...plain, "stream-forked-from": new URL(here).pathname } });
  await done("DELETE", here);
  assert.equal((await call("GET", there)).status, 410);
  assert.equal((await call("GET", `${there}?offset=-1&${query}`)).status, 204, "deleted, with a fork");
});

test("a raw reader that asks wrongly is refused", async () => {
  const [here] = cluster.stream();
  await done("PUT", here, { headers: plain, body: "one" });
  const queries = ["live=raw", "offset=-1&live=Raw", "offset=-1&ended=200", "missing=", "missing=204&missing=204", "offset=1&live=raw"];
  for (const query of queries) {
    const answer = await call("GET", `${here}?${query}`);
    assert.deepEqual([answer.status, JSON.parse(answer.text).code], [400, "bad-request"], query);
  }
  assert.equal((await call("GET", `${here}?offset=9999999999999999_9999999999999999&live=raw&ended=204`)).status, 410);
  // Before HTTP/1.1 the end of the connection is the end of the response, so a client could not tell one that broke off.
  const { hostname, port, pathname } = new URL(here);
  const socket = connect(port, hostname);
  socket.end(`GET ${pathname}?offset=-1&live=raw HTTP/1.0\r\n\r\n`);
  let text = "";
  for await (const part of socket) text += part;
  assert.match(text, /^HTTP\/1\.[01] 400 /);
  assert.match(text, /live=raw needs HTTP\/1\.1/);
});
