// The publisher with transports of the test.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { overHttp, overIntake, overRedis, Publisher, SendError } from "../../dist/publish.js";
import { until } from "../support/nodes.js";

// An event that would be tried for ever fails its test after some time.
const FAST = { minDelay: 2, maxDelay: 10, retryFor: 20_000 };
const stored = ({ key }) => ({ key, id: "1-0", repeat: false });
const refused = (retryAfter) => new SendError("unavailable", "not now", { retry: true, unknown: false, retryAfter });

/** A transport that notes what it is given. `answer` gets the event and the number of the batch. */
function fake(answer = stored) {
  const batches = [];
  return {
    batches,
    get events() {
      return batches.flat();
    },
    async send(events) {
      const n = batches.push(events) - 1;
      return Promise.all(events.map((event) => answer(event, n)));
    },
  };
}

/** A transport that does not answer before it is released. */
function held() {
  let release;
  const released = new Promise((resolve) => {
    release = resolve;
  });
  return Object.assign(
    fake((event) => released.then(() => stored(event))),
    { release },
  );
}

const failure = (promise) => promise.then(assert.fail, (error) => error);

test("each event has a key of its own, the same in each attempt", async () => {
  const transport = fake((event, n) => (n < 3 ? refused() : stored(event)));
  const publisher = new Publisher(transport, FAST);
  const receipts = await Promise.all([publisher.publish({ channel: "a", data: 1 }), publisher.publish({ channel: "b", data: 2 })]);
  const keys = new Set(transport.events.map(({ key }) => key));
  assert.deepEqual(
    [...keys],
    receipts.map(({ key }) => key),
  );
  assert.equal(transport.events.length, 8);
  for (const key of keys) assert.match(key, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  const time = parseInt(receipts[0].key.replace("-", "").slice(0, 12), 16);
  assert.ok(Math.abs(time - Date.now()) < 60_000, `${time}`);
  assert.deepEqual(publisher.counts, { published: 2, repeated: 0, expired: 0, failed: 0, retries: 6 });
});

test("the application's key is used, and a repeat is counted", async () => {
  const publisher = new Publisher(fake((event) => ({ ...stored(event), repeat: true })));
  assert.deepEqual(await publisher.publish({ channel: "a", data: 1, key: "order-7" }), { key: "order-7", id: "1-0", repeat: true });
  assert.equal(publisher.counts.repeated, 1);
});

test("an attempt without an answer is repeated, and so is one that fails without a reason", async () => {
  let n = 0;
  const transport = {
    send(events) {
      n += 1;
      if (n === 1) return new Promise(() => {});
      if (n === 2) throw new TypeError("fetch failed");
      return Promise.resolve(n === 3 ? [] : events.map(stored));
    },
  };
  await new Publisher(transport, { ...FAST, timeout: 20 }).publish({ channel: "a", data: 1 });
  assert.equal(n, 4);
});

test("the next attempt waits for the time that the server asks for", async () => {
  const times = [];
  const transport = fake((event, n) => {
    times.push(performance.now());
    return n ? stored(event) : refused(150);
  });
  await new Publisher(transport, FAST).publish({ channel: "a", data: 1 });
  // Timers of Node may be a millisecond early.
  assert.ok(times[1] - times[0] >= 149, `${times[1] - times[0]} ms`);
});

test("waits are random and grow", async (t) => {
  const asked = [];
  t.mock.method(Math, "random", () => {
    asked.push(performance.now());
    return 0.99;
  });
  const transport = fake((event, n) => (n < 4 ? refused() : stored(event)));
  await new Publisher(transport, { minDelay: 20, maxDelay: 80 }).publish({ channel: "a", data: 1 });
  asked.push(performance.now());
  const waits = asked.slice(1).map((time, n) => time - asked[n]);
  for (const [n, least] of [19, 38, 78, 78].entries()) assert.ok(waits[n] >= least, `${waits}`);
});

test("a refusal is final, and concerns one event", async () => {
  const transport = fake((event) =>
    event.channel === "b" ? new SendError("no-grant", "no", { retry: false, unknown: false }) : stored(event),
  );
  const publisher = new Publisher(transport);
  const [a, b, c] = await Promise.allSettled(
    ["a", "b", "c"].map((channel) => publisher.publish({ channel, data: 1, key: channel })),
  );
  assert.deepEqual([a.status, c.status], ["fulfilled", "fulfilled"]);
  const { code, channel, key, unknown, cause } = b.reason;
  assert.deepEqual({ code, channel, key, unknown }, { code: "no-grant", channel: "b", key: "b", unknown: false });
  assert.ok(cause instanceof SendError);
  assert.equal(transport.events.length, 3);
});

test("what was called together is sent together, one event of each channel, and no more than fit", async () => {
  const transport = fake();
  const publisher = new Publisher(transport, { batchEvents: 3 });
  const channels = ["a", "b", "a", "c", "d", "a"];
  await Promise.all(channels.map((channel, data) => publisher.publish({ channel, data })));
  const sent = transport.batches.map((batch) => batch.map(({ channel, data }) => channel + data).join(" "));
  assert.deepEqual(sent, ["a0 b1 c3", "a2 d4", "a5"]);

  const small = fake();
  const bounded = new Publisher(small, { batchBytes: 250 });
  await Promise.all(["a", "b", "c", "d"].map((channel) => bounded.publish({ channel, data: "x".repeat(60) })));
  assert.deepEqual(
    small.batches.map(({ length }) => length),
    [2, 2],
  );
});

/** Publishes 20 events to a channel; each fails the first time with a chance of a half. Returns their order when stored. */
async function ordering(options) {
  const seen = new Set();
  const log = [];
  const transport = fake((event) => {
    if (Number(event.data) % 2 && !seen.has(event.key)) {
      seen.add(event.key);
      return refused();
    }
    log.push(Number(event.data));
    return stored(event);
  });
  const publisher = new Publisher(transport, { ...FAST, ...options });
  await Promise.all(Array.from({ length: 20 }, (_, data) => publisher.publish({ channel: "a", data })));
  return { log, batches: transport.batches.length };
}

test("the events of a channel keep their order when some of a batch fail", async () => {
  const { log } = await ordering({});
  assert.deepEqual(
    log,
    Array.from({ length: 20 }, (_, n) => n),
  );
});

test("without that order, the events of a channel are sent together", async () => {
  const { log, batches } = await ordering({ ordered: false });
  assert.deepEqual(
    log.toSorted((a, b) => a - b),
    Array.from({ length: 20 }, (_, n) => n),
  );
  assert.equal(batches, 2);
});

test("an event is not sent after its `until`: not at once, and not again", async () => {
  const transport = fake(() => refused());
  const publisher = new Publisher(transport, FAST);
  const late = await failure(publisher.publish({ channel: "a", data: 1, until: Date.now() - 1 }));
  assert.deepEqual([late.code, late.unknown, transport.events.length], ["expired", false, 0]);

  const end = Date.now() + 100;
  const error = await failure(publisher.publish({ channel: "a", data: 2, until: new Date(end) }));
  assert.deepEqual([error.code, error.unknown, error.cause.code], ["expired", false, "unavailable"]);
  assert.ok(Date.now() >= end - 1 && transport.events.length > 1);
  const { length } = transport.events;
  await sleep(50);
  assert.equal(transport.events.length, length);
  assert.equal(publisher.counts.expired, 2);
});

test("an event that waits behind others is not sent after its `until`, and is reported then", async () => {
  const transport = held();
  const publisher = new Publisher(transport);
  const first = publisher.publish({ channel: "a", data: 1 });
  await sleep(5);
  const second = failure(publisher.publish({ channel: "a", data: 2, until: Date.now() + 30 }));
  await sleep(60);
  transport.release();
  await first;
  assert.deepEqual([(await second).code, (await second).unknown], ["expired", false]);
  assert.deepEqual(
    transport.events.map(({ data }) => data),
    ["1"],
  );
});

test("an attempt without an answer ends at the event's `until`, and nobody knows the outcome", async () => {
  let signal;
  const transport = { send: (_, given) => new Promise(() => (signal = given)) };
  const error = await failure(new Publisher(transport).publish({ channel: "a", data: 1, until: Date.now() + 30 }));
  assert.deepEqual([error.code, error.unknown, signal.aborted], ["expired", true, true]);
});

test("an event without `until` is given up after `retryFor`, which is shorter than the idempotency window", async () => {
  const transport = fake(() => refused(10_000));
  const begun = performance.now();
  const error = await failure(new Publisher(transport, { ...FAST, retryFor: 50 }).publish({ channel: "a", data: 1 }));
  assert.equal(error.code, "expired");
  assert.ok(performance.now() - begun >= 49);
  // Nothing is left that would keep the process from its end.
  assert.ok(!process.getActiveResourcesInfo().includes("Timeout"));
  assert.throws(() => new Publisher(transport, { retryFor: 600_000 }), RangeError);
  assert.throws(() => new Publisher(transport, { retryFor: Number.NaN }), RangeError);
  new Publisher(transport, { retryFor: 600_000, idempotencyWindow: 600_001 });
});

test("the buffer is bounded in number and bytes; `ready` waits for room", async () => {
  for (const [options, fits] of [
    [{ bufferEvents: 3 }, 3],
    [{ bufferBytes: 400 }, 3],
  ]) {
    const transport = held();
    const publisher = new Publisher(transport, options);
    const data = "x".repeat(80);
    const accepted = Array.from({ length: fits }, () => publisher.publish({ channel: "a", data }));
    const error = await failure(publisher.publish({ channel: "a", data }));
    assert.deepEqual([error.code, error.unknown], ["full", false]);
    let ready = false;
    const room = publisher.ready(80).then(() => (ready = true));
    await sleep(5);
    assert.equal(ready, false);
    transport.release();
    await room;
    await publisher.publish({ channel: "a", data });
    assert.equal((await Promise.all(accepted)).length, fits);
  }
});

test("an event can be taken back: before it is sent, or from the next attempt", async () => {
  const transport = held();
  const publisher = new Publisher(transport);
  const first = new AbortController();
  const second = new AbortController();
  const errors = [
    failure(publisher.publish({ channel: "a", data: 1, signal: first.signal })),
    failure(publisher.publish({ channel: "a", data: 2, signal: second.signal })),
  ];
  await sleep(5);
  second.abort();
  first.abort("not wanted");
  const [sent, waiting] = await Promise.all(errors);
  assert.deepEqual([sent.code, sent.unknown, sent.cause], ["aborted", true, "not wanted"]);
  assert.deepEqual([waiting.code, waiting.unknown], ["aborted", false]);
  transport.release();
  assert.equal((await failure(publisher.publish({ channel: "a", data: 3, signal: first.signal }))).code, "aborted");
  await publisher.publish({ channel: "a", data: 4 });
  assert.deepEqual(
    transport.events.map(({ data }) => data),
    ["1", "4"],
  );
});

test("close publishes what waits, and takes nothing more", async () => {
  const transport = fake((event, n) => (n < 2 ? refused() : stored(event)));
  const publisher = new Publisher(transport, FAST);
  const events = [1, 2, 3].map((data) => publisher.publish({ channel: "a", data }));
  await publisher[Symbol.asyncDispose]();
  assert.equal(publisher.counts.published, 3);
  await Promise.all(events);
  assert.equal((await failure(publisher.publish({ channel: "a", data: 4 }))).code, "closed");
});

test("close gives up after its time, and says which events may have been stored", async () => {
  const publisher = new Publisher(held());
  const errors = [1, 2].map((data) => failure(publisher.publish({ channel: "a", data })));
  await publisher.close(20);
  const codes = (await Promise.all(errors)).map(({ code, unknown }) => [code, unknown]);
  assert.deepEqual(codes, [
    ["closed", true],
    ["closed", false],
  ]);
});

test("flush waits for the events before it, whatever becomes of them", async () => {
  const transport = fake((event) =>
    event.data === "2" ? new SendError("refused", "no", { retry: false, unknown: false }) : stored(event),
  );
  const publisher = new Publisher(transport);
  const events = Promise.allSettled([1, 2, 3].map((data) => publisher.publish({ channel: "a", data })));
  await publisher.flush();
  assert.deepEqual([publisher.counts.published, publisher.counts.failed], [2, 1]);
  await events;
});

// What `fetch` and the clients of Redis bring, and what it means.

const event = { channel: "room:7", type: "note", data: '{"a":1}', key: "k", until: undefined };
const { signal } = new AbortController();

async function overFetch(status, body, headers = {}, options = {}) {
  const fetch = async (url, init) => {
    overFetch.last = { url, ...init };
    return new Response(typeof body === "string" ? body : JSON.stringify(body), { status, headers });
  };
  const outcome = await overHttp("https://push.example/v1/publish", { fetch, ...options })
    .send([event], signal)
    .catch((error) => [error]);
  return outcome[0];
}

test("over HTTP, the data is sent as text, with the key and without `until`", async () => {
  const receipt = await overFetch(200, [{ id: "5-1", repeat: true }], {}, { token: async () => "t", headers: { "x-a": "b" } });
  assert.deepEqual(receipt, { key: "k", id: "5-1", repeat: true });
  const { method, headers, body } = overFetch.last;
  assert.deepEqual([method, headers], ["POST", { "x-a": "b", "content-type": "application/json", authorization: "Bearer t" }]);
  assert.deepEqual(JSON.parse(body), [{ channel: "room:7", type: "note", data: '{"a":1}', key: "k" }]);
});

test("over HTTP, answers are told apart: final, again, or unknown", async () => {
  const problem = (status, code) => ({ status, code, title: code });
  const rows = [
    [429, "rate-limited", true, false],
    [503, "draining", true, false],
    [503, "busy", true, false],
    [503, "unavailable", true, true],
    [500, "internal", true, true],
    [408, "request-timeout", true, false],
    [501, "not-implemented", false, true],
    [400, "bad-json", false, false],
    [401, "expired-token", false, false],
    [403, "no-grant", false, false],
    [413, "too-large", false, false],
  ];
  for (const [status, code, retry, unknown] of rows) {
    const whole = await overFetch(status, problem(status, code), { "retry-after": "3" });
    assert.deepEqual([whole.code, whole.retry, whole.unknown, whole.retryAfter], [code, retry, unknown, 3000]);
    const item = await overFetch(200, [{ error: problem(status, code) }]);
    assert.deepEqual([item.code, item.retry, item.unknown], [code, retry, unknown]);
  }
  assert.equal((await overFetch(401, problem(401, "expired-token"), {}, { token: () => "new" })).retry, true);
  assert.equal((await overFetch(502, "<html>")).retry, true);
  for (const body of ["<html>", {}, []]) assert.ok(!((await overFetch(200, body)) instanceof SendError));
});

/** A client of `redis` that answers with this. */
const client = (reply) => ({
  isReady: true,
  commands: [],
  async sendCommand(command) {
    this.commands.push(command);
    if (reply instanceof Error) throw reply;
    return reply;
  },
});

test("over Redis, the function or the stream gets the event, with the names of the prefix", async () => {
  const direct = client(["7-0", 1]);
  assert.deepEqual(await overRedis(direct).send([event], signal), [{ key: "k", id: "7-0", repeat: true }]);
  await overRedis(direct, { prefix: "app:x-y_z.1" }).send([{ ...event, type: undefined }], signal);
  assert.deepEqual(direct.commands, [
    ["FCALL", "fanfare_publish", "1", "fanfare:{room:7}:log", "note", '{"a":1}', "k"],
    ["FCALL", "app_x___y__z____1_publish", "1", "app:x-y_z.1:{room:7}:log", "", '{"a":1}', "k"],
  ]);
  const intake = client("8-0");
  assert.deepEqual(await overIntake(intake).send([event], signal), [{ key: "k", id: "8-0", repeat: false }]);
  await overIntake(intake, { prefix: "app" }).send([{ ...event, type: undefined, until: 99 }], signal);
  assert.deepEqual(intake.commands, [
    ["XADD", "fanfare:ingest", "*", "channel", "room:7", "type", "note", "data", '{"a":1}', "key", "k"],
    ["XADD", "app:ingest", "*", "channel", "room:7", "data", '{"a":1}', "key", "k", "until", "99"],
  ]);
});

test("over Redis, errors are told apart: final, again, or unknown", async () => {
  const rows = [
    ["OOM command not allowed when used memory > 'maxmemory'.", "unavailable", true, false],
    ["LOADING Redis is loading the dataset in memory", "unavailable", true, false],
    ["READONLY You can't write against a read only replica.", "unavailable", true, false],
    ["BUSY Redis is busy running a script.", "unavailable", true, false],
    ["ERR Function not found", "unavailable", true, false],
    ["FANFARE the data is not UTF-8", "refused", false, false],
    ["NOPERM User a has no permissions to run the 'fcall' command", "refused", false, false],
    ["WRONGTYPE Operation against a key holding the wrong kind of value", "refused", false, false],
    ["ERR unknown command", "refused", false, false],
    ["Socket closed unexpectedly", "unavailable", true, true],
    ["connect ECONNREFUSED 127.0.0.1:6379", "unavailable", true, true],
  ];
  for (const [message, code, retry, unknown] of rows) {
    const [error] = await overRedis(client(new Error(message))).send([event], signal);
    assert.deepEqual([error.code, error.retry, error.unknown, error.message], [code, retry, unknown, message]);
  }
});

test("over Redis, no command waits in a client for a connection", async () => {
  for (const offline of [
    { ...client("1-0"), isReady: false },
    { status: "connecting", options: {}, call: assert.fail },
  ]) {
    const [error] = await overIntake(offline).send([event], signal);
    assert.deepEqual([error.code, error.retry, error.unknown], ["unavailable", true, false]);
    assert.deepEqual(offline.commands ?? [], []);
  }
  const never = { enableOfflineQueue: false, autoResendUnfulfilledCommands: false };
  for (const options of [{}, { ...never, enableOfflineQueue: true }, { ...never, autoResendUnfulfilledCommands: true }]) {
    assert.throws(() => overRedis({ status: "ready", options, call() {} }), /enableOfflineQueue/);
  }
  overRedis({ status: "ready", options: never, call() {} });
});

test("many events pass a small buffer", async () => {
  const transport = fake();
  const publisher = new Publisher(transport, { bufferEvents: 10 });
  for (let n = 0; n < 200; n += 1) {
    await publisher.ready();
    publisher.publish({ channel: `c${n % 7}`, data: n });
  }
  await publisher.close();
  await until(() => publisher.counts.published === 200, 5, "all");
});
