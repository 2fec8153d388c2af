import assert from "node:assert/strict";
import { test } from "node:test";
import { Backoff } from "../../dist/backoff.js";
import { Unauthorized } from "../../dist/errors.js";
import { Queue } from "../../dist/iterator.js";
import { Listeners } from "../../dist/listeners.js";
import { ProblemError, problemOf, retryAfter } from "../../dist/problem.js";
import { uuid } from "../../dist/session.js";
import { Token } from "../../dist/token.js";
import { Watchdog } from "../../dist/watchdog.js";

test("waits grow exponentially up to the maximum, with full jitter", (t) => {
  let random = 0.5;
  t.mock.method(Math, "random", () => random);
  const backoff = new Backoff(1000, 8000);
  assert.deepEqual(
    [1, 2, 3, 4, 5, 6].map(() => backoff.next()),
    [500, 1000, 2000, 4000, 4000, 4000],
  );
  random = 0;
  assert.equal(backoff.next(), 0);
  backoff.attempt = 5000;
  random = 0.999;
  assert.ok(backoff.next() <= 8000);
});

test("the first wait is what the server says, and none is shorter", (t) => {
  t.mock.method(Math, "random", () => 0.9);
  const backoff = new Backoff(1000, 30_000);
  backoff.retry = 3211;
  assert.equal(backoff.next(), 3211);
  assert.equal(backoff.next(), 3211);
  assert.equal(backoff.next(), 3600);
  backoff.attempt = 0;
  assert.equal(backoff.next(5000), 5900, "a Retry-After is the same for all, so jitter is added");
});

test("no word of the server stops a client for more than an hour", () => {
  const backoff = new Backoff(1000, 30_000);
  backoff.retry = 1e15;
  assert.equal(backoff.next(), 3_600_000);
  assert.equal(backoff.next(1e15), 3_600_000);
});

test("Retry-After is seconds or a date", (t) => {
  t.mock.timers.enable({ apis: ["Date"], now: Date.parse("2026-11-27T12:00:00Z") });
  assert.equal(retryAfter("7"), 7000);
  assert.equal(retryAfter("Fri, 27 Nov 2026 12:00:30 GMT"), 30_000);
  for (const none of [null, "", "soon", "-1", "Fri, 27 Nov 2026 11:00:00 GMT"]) assert.equal(retryAfter(none), undefined);
});

test("a problem document becomes an error with its members", async () => {
  const body = { type: "/v1/problems#no-grant", code: "no-grant", title: "No grant", status: 403, detail: "for room:7" };
  const headers = { "content-type": "application/problem+json", "retry-after": "2" };
  const error = await problemOf(new Response(JSON.stringify(body), { status: 403, headers }));
  assert.ok(error instanceof ProblemError);
  const { status, code, type, detail, message, name } = error;
  assert.deepEqual(
    { status, code, type, detail, message, name, retryAfter: error.retryAfter },
    {
      status: 403,
      code: "no-grant",
      type: "/v1/problems#no-grant",
      detail: "for room:7",
      message: "403 No grant: for room:7",
      name: "ProblemError",
      retryAfter: 2000,
    },
  );
});

test("a response without a problem document is an error all the same", async () => {
  const html = await problemOf(new Response("<h1>Bad gateway</h1>", { status: 502, headers: { "content-type": "text/html" } }));
  assert.deepEqual([html.status, html.code, html.type], [502, "http-502", "about:blank"]);
  for (const text of ["{", "null", "7", '{"code":7,"detail":{}}']) {
    const headers = { "content-type": "application/json" };
    const error = await problemOf(new Response(text, { status: 500, headers }));
    assert.deepEqual([error.code, error.detail], ["http-500", undefined], text);
  }
});

test("a token is asked for once, and again when it expired or was refused", async () => {
  const reasons = [];
  const token = new Token(async ({ reason }) => {
    reasons.push(reason);
    return `token-${reasons.length}`;
  });
  const { signal } = new AbortController();
  assert.equal(await token.get(signal), "token-1");
  assert.equal(await token.get(signal), "token-1");
  token.expired();
  assert.equal(await token.get(signal), "token-2");
  token.accepted();
  assert.equal(token.refused(), true);
  assert.equal(await token.get(signal), "token-3");
  assert.equal(token.refused(), false, "a fresh token was refused");
  assert.deepEqual(reasons, ["first", "expired", "unauthorized"]);
});

test("a token that could not be had is asked for with the same reason", async () => {
  const reasons = [];
  const token = new Token(({ reason }) => {
    reasons.push(reason);
    if (reasons.length === 1) throw new Error("the login is down");
    throw new Unauthorized();
  });
  const { signal } = new AbortController();
  await assert.rejects(token.get(signal), /the login is down/);
  await assert.rejects(token.get(signal), { code: "unauthorized" });
  assert.deepEqual(reasons, ["first", "first"]);
});

test("a fixed token that was refused is final", async () => {
  const token = new Token("fixed");
  assert.equal(await token.get(new AbortController().signal), "fixed");
  assert.equal(token.refused(), false);
});

test("the watchdog notices silence, and any byte counts", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  let noticed = 0;
  const watchdog = new Watchdog(() => (noticed += 1));
  watchdog.feed(1000);
  for (let n = 0; n < 10; n += 1) {
    t.mock.timers.tick(900);
    watchdog.feed(1000);
  }
  t.mock.timers.tick(999);
  assert.equal(noticed, 0);
  t.mock.timers.tick(1);
  assert.equal(noticed, 1);
  watchdog.feed(500);
  watchdog.feed(2000);
  t.mock.timers.tick(1999);
  assert.equal(noticed, 1);
  watchdog.stop();
  t.mock.timers.tick(10_000);
  assert.equal(noticed, 1);
});

test("a listener that throws disturbs no other, and one that is removed is not called", () => {
  const errors = [];
  const seen = [];
  const listeners = new Listeners((error) => errors.push(error));
  listeners.add(() => {
    throw new Error("mine");
  });
  const removeLater = listeners.add(() => seen.push("never"));
  seen.length = 0;
  const twice = (value) => seen.push(value);
  const removeOne = listeners.add(twice);
  listeners.add(twice);
  removeLater();
  listeners.call(1);
  removeOne();
  removeOne();
  listeners.call(2);
  assert.deepEqual(seen, [1, 1, 2]);
  assert.equal(errors.length, 2);
});

test("a listener may remove another, and itself by a signal", () => {
  const seen = [];
  const listeners = new Listeners(assert.fail);
  const stop = new AbortController();
  listeners.add(
    () => {
      seen.push("first");
      stop.abort();
    },
    { signal: stop.signal },
  );
  listeners.add(() => seen.push("second"), { signal: stop.signal });
  listeners.add(() => seen.push("gone"), { signal: AbortSignal.abort() });
  listeners.call();
  listeners.call();
  assert.deepEqual(seen, ["first"]);
  assert.equal(listeners.size, 0);
});

test("a queue that is full ends after what it has, with an error", async () => {
  let ended = 0;
  const queue = new Queue(2, () => (ended += 1));
  for (const n of [1, 2, 3, 4]) queue.push(n);
  assert.equal(ended, 1);
  const seen = [];
  await assert.rejects(
    async () => {
      for await (const n of queue) seen.push(n);
    },
    { code: "overflow" },
  );
  assert.deepEqual(seen, [1, 2]);
  assert.deepEqual(await queue.next(), { value: undefined, done: true });
});

test("takers that wait get items in order, and the end", async () => {
  const queue = new Queue(2, () => {});
  const taken = [queue.next(), queue.next(), queue.next()];
  queue.push("a");
  queue.push("b");
  queue.end();
  assert.deepEqual(await Promise.all(taken), [
    { value: "a", done: false },
    { value: "b", done: false },
    { value: undefined, done: true },
  ]);
});

test("a loop that breaks ends its queue", async () => {
  let ended = 0;
  const queue = new Queue(9, () => (ended += 1));
  queue.push(1);
  queue.push(2);
  for await (const n of queue) {
    assert.equal(n, 1);
    break;
  }
  assert.equal(ended, 1);
  queue.push(3);
  assert.deepEqual(await queue.next(), { value: undefined, done: true });
});

test("a session id is a random UUID, also without crypto.randomUUID", () => {
  const ids = new Set(Array.from({ length: 1000 }, uuid));
  assert.equal(ids.size, 1000);
  for (const id of ids) assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});
