// Acknowledgements, without a node.

import assert from "node:assert/strict";
import { test } from "node:test";
import { acknowledge } from "../../dist/ack.js";

/** A client of which the test makes the events. */
function client() {
  const listeners = [];
  const event = (cursor) => {
    for (const listener of listeners) listener({ cursor });
  };
  return { onEvent: (listener) => listeners.push(listener), event };
}

/** A server that answers with these statuses, one after another, and then with 200; 0 is a lost connection. */
function server(...statuses) {
  const requests = [];
  const fetch = async (url, { body, headers, method }) => {
    requests.push({ url: `${url}`, method, headers, ...JSON.parse(body) });
    const status = statuses.shift() ?? 200;
    if (!status) throw new TypeError("the connection is lost");
    return Response.json(status === 200 ? { moved: 1 } : { code: "some-code" }, { status });
  };
  return { requests, fetch, cursors: () => requests.map(({ cursor }) => cursor) };
}

function setup(t, statuses, options) {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  t.mock.method(Math, "random", () => 1);
  const events = client();
  const to = server(...statuses);
  const acks = acknowledge(events, "https://app.example/v1/events?x=1", { device: "inbox", fetch: to.fetch, ...options });
  const pass = async (ms) => {
    t.mock.timers.tick(ms);
    for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { events, to, acks, pass };
}

test("events within the interval are acknowledged with one request", async (t) => {
  const { events, to, pass } = setup(t, []);
  for (const cursor of ["a1", "a2", "a3"]) events.event(cursor);
  await pass(1999);
  assert.deepEqual(to.requests, []);
  await pass(1);
  const [{ url, method, device, cursor, headers }] = to.requests;
  assert.deepEqual([url, method, device, cursor], ["https://app.example/v1/ack", "POST", "inbox", "a3"]);
  assert.equal(headers["content-type"], "application/json");
  await pass(60_000);
  assert.equal(to.requests.length, 1);
  events.event("a4");
  await pass(2000);
  assert.deepEqual(to.cursors(), ["a3", "a4"]);
});

test("without auto only what the application acknowledges is sent", async (t) => {
  const { events, to, acks, pass } = setup(t, [], { auto: false });
  events.event("a1");
  await pass(60_000);
  assert.deepEqual(to.requests, []);
  acks.ack("a1");
  await acks.flush();
  assert.deepEqual(to.cursors(), ["a1"]);
});

test("what fails for a while is sent again, or what came after it", async (t) => {
  const errors = [];
  const { events, to, pass } = setup(t, [503, 0, 429], { onError: (error) => errors.push(error) });
  events.event("a1");
  for (let turn = 0; turn < 2; turn += 1) await pass(2000);
  assert.deepEqual(to.cursors(), ["a1", "a1"]);
  events.event("a2");
  for (let turn = 0; turn < 3; turn += 1) await pass(2000);
  assert.deepEqual(to.cursors(), ["a1", "a1", "a2", "a2"]);
  assert.deepEqual(errors, []);
});

test("what is refused is reported and dropped", async (t) => {
  const errors = [];
  const { events, to, acks, pass } = setup(t, [400, 403], { onError: (error) => errors.push(error.status) });
  events.event("a1");
  await pass(60_000);
  assert.deepEqual([to.cursors(), errors], [["a1"], [400]]);
  acks.ack("a2");
  await assert.rejects(acks.flush(), { status: 403, code: "some-code" });
});

test("a token that is refused is replaced once", async (t) => {
  const reasons = [];
  const token = ({ reason }) => reasons.push(reason) && `t${reasons.length}`;
  const { acks, to } = setup(t, [401, 200, 401, 401], { token });
  acks.ack("a1");
  await acks.flush();
  assert.deepEqual(
    to.requests.map(({ headers }) => headers.authorization),
    ["Bearer t1", "Bearer t2"],
  );
  acks.ack("a2");
  await assert.rejects(acks.flush(), { status: 401 });
  assert.deepEqual(reasons, ["first", "unauthorized", "unauthorized"]);
});

test("clients wait for different times", async (t) => {
  const { events, to, pass } = setup(t, []);
  Math.random.mock.mockImplementation(() => 0);
  events.event("a1");
  await pass(999);
  assert.deepEqual(to.requests, []);
  await pass(1);
  assert.deepEqual(to.cursors(), ["a1"]);
});

test("a page that is left sends the newest at once, also beside a request in flight", async (t) => {
  const page = new EventTarget();
  globalThis.addEventListener = (type, listener) => page.addEventListener(type, listener);
  t.after(() => delete globalThis.addEventListener);
  let answer;
  const sent = [];
  const fetch = (_, { body }) => {
    sent.push(JSON.parse(body).cursor);
    return new Promise((resolve) => {
      answer = () => resolve(Response.json({ moved: 1 }));
    });
  };
  const { acks } = setup(t, [], { fetch });
  acks.ack("a1");
  const flushed = acks.flush();
  await Promise.resolve();
  acks.ack("a2");
  page.dispatchEvent(new Event("pagehide"));
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(sent, ["a1", "a2"]);
  answer();
  void flushed.catch(() => {});
});

test("the end sends what is left, and nothing after it", async (t) => {
  const { events, to, acks, pass } = setup(t, []);
  events.event("a1");
  await acks.close();
  events.event("a2");
  await pass(60_000);
  assert.deepEqual(to.cursors(), ["a1"]);
});
