// A POST of unknown length: readers see its bytes while it is being sent.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { request } from "node:http";
import http2 from "node:http2";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { Node, until, within } from "../../clients/typescript/test/support/nodes.js";
import { balance } from "./balancer.js";
import { TwoNodes, call, closing, done, json, metric, plain, settings } from "./support.js";

const run = promisify(execFile);
const cluster = new TwoNodes("piped");

before(() => cluster.start());
after(() => cluster.stop());

/** A chunked POST; `write` sends bytes, `end` ends it and returns the answer, and `answer` waits for it. */
function post(url, headers = plain) {
  const sent = request(url, { method: "POST", headers: { "transfer-encoding": "chunked", ...headers } });
  sent.flushHeaders();
  const answered = (async () => {
    const [response] = await once(sent, "response");
    let text = "";
    for await (const part of response.setEncoding("utf8")) text += part;
    return { status: response.statusCode, headers: response.headers, text };
  })();
  answered.catch(() => {});
  const answer = () => within(10, "an answer", answered);
  return {
    write: (bytes) => sent.write(bytes),
    end: () => (sent.end(), answer()),
    answer,
    destroy: () => sent.destroy(),
  };
}

const text = async (url) => (await call("GET", url)).text;
const has = (url, wanted) => until(async () => (await text(url)) === wanted, 10, wanted);
const code = (answer) => [answer.status, JSON.parse(answer.text).code];

test("what is piped into curl is readable on another node at once", async () => {
  const [here, there] = cluster.stream();
  await done("PUT", here, { headers: plain });
  const balancer = await balance(cluster.nodes);
  try {
    for (const [n, base] of [cluster.nodes[0].url, balancer.url].entries()) {
      const url = `${base}${new URL(here).pathname}`;
      const args = ["-sS", "-f", "-X", "POST", "-T", "-", "-H", "Content-Type: text/plain"];
      const curl = spawn("curl", [...args, url], { stdio: ["pipe", "inherit", "inherit"] });
      const before = await text(there);
      curl.stdin.write("one ");
      await has(there, `${before}one `);
      curl.stdin.write("two ");
      await has(there, `${before}one two `);
      curl.stdin.end("three ");
      assert.deepEqual(await within(10, "curl ends", once(curl, "exit")), [0, null], `way ${n}`);
      assert.equal(await text(there), `${before}one two three `);
    }
    assert.equal((await call("HEAD", there)).headers.get("stream-closed"), null);
  } finally {
    await balancer.stop();
  }
});

test("the command of docs/finite-streams.md appends what a program prints, and ends the stream", async () => {
  const page = await readFile(join(import.meta.dirname, "../../docs/finite-streams.md"), "utf8");
  const [, command] = page.match(/### A body that is appended as it arrives.*?```sh\n(.*?)```/s);
  const url = `${cluster.nodes[0].url}/v1/stream/chat-7`;
  await done("PUT", url, { headers: plain });
  const llm = "llm() { for word in Once upon a time; do printf '%s ' $word; done; }";
  await run("bash", ["-euc", `${llm}\n${command.replace("http://127.0.0.1:8080", cluster.nodes[0].url).replace("curl ", "curl -sS ")}`]);
  const end = await call("GET", url);
  assert.deepEqual([end.text, end.headers.get("stream-end")], ["Once upon a time ", "complete"]);
});

test("a piped body of many small and large parts is appended whole and in order, and ends the stream at its end", async () => {
  const [here, there] = cluster.stream();
  await done("PUT", here, { headers: plain });
  const body = post(here, closing({ "stream-end": "error", "stream-end-reason": "tests" }));
  let wanted = "";
  for (let n = 0; n < 300; n += 1) {
    const part = `${n}${"x".repeat(n % 10 === 0 ? 20_000 : n % 7)};`;
    wanted += part;
    body.write(part);
    if (n === 150) {
      await has(there, wanted.slice(0, 65_536));
      assert.equal((await call("HEAD", there)).headers.get("stream-closed"), null, "it has not ended yet");
    }
  }
  const answer = await body.end();
  const head = await call("HEAD", there);
  assert.deepEqual([answer.status, answer.headers["stream-end"], answer.headers["stream-end-reason"]], [204, "error", "tests"]);
  assert.equal(head.headers.get("stream-next-offset"), answer.headers["stream-next-offset"]);
  let [all, next] = ["", "-1"];
  while (all.length < wanted.length) {
    const page = await call("GET", `${there}?offset=${next}`);
    all += page.text;
    next = page.headers.get("stream-next-offset");
  }
  assert.equal(all, wanted);
});

test("a piped body works over HTTP/2", async () => {
  const [here, there] = cluster.stream();
  await done("PUT", here, { headers: plain });
  const { origin, pathname } = new URL(here);
  const session = http2.connect(origin);
  try {
    const sent = session.request({ ":method": "POST", ":path": pathname, ...closing() });
    sent.write("one ");
    await has(there, "one ");
    sent.end("two");
    const [head] = await within(10, "an answer", once(sent, "response"));
    assert.deepEqual([head[":status"], head["stream-closed"], await text(there)], [204, "true", "one two"]);
  } finally {
    session.close();
  }
});

test("a piped body that breaks off leaves what had arrived, and the stream open", async () => {
  const [here, there] = cluster.stream();
  await done("PUT", here, { headers: plain });
  const body = post(here, closing());
  body.write("one ");
  await has(there, "one ");
  body.destroy();
  await done("POST", there, { headers: plain, body: "two" });
  await has(there, "one two");
  assert.equal((await call("HEAD", there)).headers.get("stream-closed"), null);
});

test("a piped body is refused before it is read, and by what happens meanwhile", async () => {
  const [here, there] = cluster.stream();
  assert.deepEqual(code(await post(here).answer()), [404, "not-found"]);
  await done("PUT", here, { headers: plain });
  assert.deepEqual(code(await post(here, { "content-type": "text/html" }).answer()), [409, "stream-conflict"]);
  assert.deepEqual(code(await post(here, { "content-type": "no type" }).answer()), [400, "bad-request"]);
  assert.deepEqual(code(await post(here).end()), [400, "bad-request"], "an empty body");
  const untyped = post(here, {});
  untyped.write("x");
  assert.deepEqual(code(await untyped.answer()), [400, "bad-request"]);
  assert.equal(await text(here), "");

  const body = post(here);
  body.write("one ");
  await has(there, "one ");
  await done("POST", there, { headers: closing({ "stream-end": "cancelled", "stream-end-reason": "Stop" }) });
  body.write("two ");
  const answer = await body.answer();
  assert.deepEqual([...code(answer), answer.headers["stream-end"], answer.headers["stream-end-reason"]], [409, "stream-closed", "cancelled", "Stop"]);
  assert.equal(await text(there), "one ");
  assert.deepEqual(code(await post(here).answer()), [409, "stream-closed"], "after the end");
  assert.equal((await post(here, closing()).end()).status, 409, "an end for one that has ended");
});

test("JSON, a producer's append and a cancellation are one step, also if their length is not known", async () => {
  const [messages, there] = cluster.stream();
  await done("PUT", messages, { headers: json });
  const body = post(messages, json);
  body.write("[1,");
  body.write("2]");
  assert.equal((await body.end()).status, 204);
  assert.equal(await text(there), "[1,2]");
  const bad = post(messages, json);
  bad.write("[3,");
  assert.deepEqual(code(await bad.end()), [400, "bad-json"]);
  assert.equal(await text(there), "[1,2]");

  const [here] = cluster.stream();
  await done("PUT", here, { headers: plain });
  const producer = { ...plain, "producer-id": "p", "producer-epoch": "0", "producer-seq": "0" };
  for (const [status, wanted] of [[200, "once"], [204, "once"]]) {
    const numbered = post(here, producer);
    numbered.write("on");
    numbered.write("ce");
    assert.deepEqual([(await numbered.end()).status, await text(here)], [status, wanted]);
  }
});

test("a piped body fills a stream up to its maximum, and no further", async () => {
  const node = await new Node({ ...settings(cluster.redis), FANFARE_FINITE__STREAM_BYTES: "100KiB" }).start();
  try {
    const url = `${node.url}/v1/stream/piped-full`;
    await done("PUT", url, { headers: plain });
    const body = post(url, closing());
    body.write("x".repeat(60_000));
    await until(async () => (await call("HEAD", url)).headers.get("stream-next-offset").endsWith("_0000000000060000"), 10, "60,000 bytes");
    body.write("x".repeat(60_000));
    const answer = await body.answer();
    assert.deepEqual(code(answer), [413, "too-large"]);
    const tail = (await call("HEAD", url)).headers;
    assert.equal(answer.headers["stream-next-offset"], tail.get("stream-next-offset"), "the response says where the stream ends");
    assert.ok(Number(tail.get("stream-next-offset").slice(-16)) <= 102_400);
    assert.equal(tail.get("stream-closed"), null);
  } finally {
    await node.stop();
  }
});

test("a piped body may pause for longer than a body may take, but not for ever", async () => {
  const slow = { FANFARE_HTTP__BODY_READ_TIMEOUT: "200ms", FANFARE_HTTP__MIN_RATE_WINDOW: "1s", FANFARE_FINITE__APPEND_IDLE: "2s" };
  const node = await new Node({ ...settings(cluster.redis), ...slow }).start();
  try {
    const url = `${node.url}/v1/stream/piped-slowly`;
    await done("PUT", url, { headers: plain });
    const body = post(url);
    let wanted = "";
    // Longer than the other two limits, one after the other.
    for (const part of ["a", "b", "c"]) {
      body.write(part);
      wanted += part;
      await has(url, wanted);
      await new Promise((resolve) => setTimeout(resolve, 1200));
    }
    const answer = await body.answer();
    assert.deepEqual([...code(answer), await text(url)], [408, "request-timeout", "abc"]);
    assert.match(JSON.parse(answer.text).detail, /finite\.append_idle/);
  } finally {
    await node.stop();
  }
});

test("a node that drains answers a piped body, with what it accepted", async () => {
  const node = await new Node(settings(cluster.redis)).start();
  const [here] = cluster.stream();
  const url = `${node.url}${new URL(here).pathname}`;
  await done("PUT", here, { headers: plain });
  const body = post(url);
  body.write("one ");
  await has(here, "one ");
  const stopped = node.stop();
  const answer = await body.answer();
  assert.deepEqual([...code(answer), answer.headers["retry-after"] !== undefined], [503, "draining", true]);
  assert.equal(answer.headers["stream-next-offset"], (await call("HEAD", here)).headers.get("stream-next-offset"));
  await within(10, "the node ends", stopped);
  assert.equal(await metric(cluster.nodes[0], "fanfare_finite_readers"), 0);
});
