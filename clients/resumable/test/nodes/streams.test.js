// What users of resumable streams complain about, and what else this package promises, against two nodes.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { RequestError, resumeStream, StreamEndedError } from "../../dist/index.js";
import { Cluster, until, within } from "../support/cluster.js";
import { read, readFailure, testingStream } from "../support/source.js";

const cluster = new Cluster();
let number = 0;
const rejections = [];
process.on("unhandledRejection", (error) => rejections.push(error));

before(() => cluster.start({ balanced: true }));
after(async () => {
  await cluster.stop();
  assert.deepEqual(rejections, [], "unhandled rejections");
});

const newId = () => `test-${(number += 1)}`;
const both = (options) => [cluster.context(0, options), cluster.context(1, options)];
const isDone = async (context, id) => (await context.hasExistingStream(id)) === "DONE";
const done = (context, id) => until(() => isDone(context, id), 10, `${id} ends`);

/** A source of chunks that are there at once. */
const ready = (chunks) =>
  new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk);
      controller.close();
    },
  });

/** Counts requests, and passes those on that `pass` lets through. */
function counting(pass = async () => {}) {
  const counts = { PUT: 0, POST: 0, GET: 0, HEAD: 0, DELETE: 0 };
  const counted = async (url, init) => {
    counts[init.method] += 1;
    await pass(init, url);
    return fetch(url, init);
  };
  return { counts, fetch: counted };
}

test("a stream that is cancelled on one node stops its producer on another, which is silent", async () => {
  const [here, there] = both();
  const id = newId();
  const { readable, write } = testingStream();
  let producer;
  const heard = [];
  const cancelled = new Promise((resolve) => {
    readable.cancelled = resolve;
  });
  const source = new ReadableStream({
    start(controller) {
      controller.enqueue("text ");
    },
    cancel: readable.cancelled,
  });
  write("");
  const own = await here.createNewResumableStream(id, (given) => {
    producer = given;
    given.onCancel((reason) => heard.push(reason));
    return source;
  });
  const reader = await there.resumeExistingStream(id);
  assert.equal(await within(5, "text", read(reader, 1)), "text ");
  assert.equal(producer.signal.aborted, false);
  assert.equal(await there.cancelStream(id, "Stop was pressed", { last: "bye" }), true);
  const reason = await within(5, "the source is cancelled", cancelled);
  assert.ok(reason instanceof StreamEndedError);
  assert.deepEqual([reason.end, reason.reason, reason.name, reason.code], ["cancelled", "Stop was pressed", "AbortError", "ended"]);
  assert.deepEqual([producer.signal.aborted, producer.signal.reason, heard], [true, reason, [reason]]);
  assert.equal(await within(5, "the end of the reader", read(reader)), "bye");
  assert.equal(await within(5, "the end of the caller's stream", read(own)), "text ");
  assert.equal(await here.hasExistingStream(id), "DONE");
  assert.equal(await here.cancelStream(id), true, "again");
  assert.equal(await here.cancelStream("none"), null);
  const over = newId();
  await read(await here.createNewResumableStream(over, () => ready(["x"])));
  assert.equal(await there.cancelStream(over, "late"), "DONE");
});

test("the readers of a producer that was killed get its text and an error, soon after its lease", async () => {
  const [here, there] = both({ replayDone: true });
  const id = newId();
  const lease = 2;
  const args = [join(import.meta.dirname, "../support/producer.js"), cluster.nodes[0].url, id, `${lease}`];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  await once(child.stdout, "data");
  const reader = await there.resumeExistingStream(id);
  const first = await within(5, "text", read(reader, 3));
  const failing = within(lease + 5, "the error", read(reader)).catch((error) => error);
  child.kill("SIGKILL");
  const [error] = await Promise.all([failing, once(child, "exit")]);
  assert.ok(error instanceof StreamEndedError, `${error}`);
  assert.deepEqual([error.end, error.reason], ["error", "producer-lost"]);
  assert.equal(await here.hasExistingStream(id), "DONE");
  const late = await readFailure(await here.resumeExistingStream(id));
  assert.ok(late.text.startsWith(first) && late.text.startsWith("0 1 2 "), late.text);
  assert.equal(late.error.reason, "producer-lost");
});

test("a producer that is silent for longer than its lease keeps it", async () => {
  const [here, there] = both({ lease: 3 });
  const id = newId();
  const { readable, write, close } = testingStream();
  const own = await here.createNewResumableStream(id, () => readable);
  write("before ");
  await sleep(7000);
  assert.equal(await there.hasExistingStream(id), true);
  write("after");
  close();
  assert.equal(await within(5, "the text", read(own)), "before after");
});

test("the error of a source is stored as the end, and is an error to readers", async () => {
  const failure = new Error("the key sk-123 is refused");
  const errors = [];
  const [here, there] = both({ replayDone: true, onError: (error, id) => errors.push([error, id]) });
  const id = newId();
  const { readable, write, fail } = testingStream();
  const own = await here.createNewResumableStream(id, () => readable);
  const reader = await there.resumeExistingStream(id);
  write("half");
  assert.equal(await within(5, "text", read(reader, 1)), "half");
  fail(failure);
  const ended = read(reader).then(
    () => undefined,
    (error) => error,
  );
  const error = await within(5, "the end of the reader", ended);
  assert.ok(error instanceof StreamEndedError, `${error}`);
  assert.deepEqual([error.end, error.reason], ["error", "source-error"]);
  const local = await within(5, "the caller's stream fails", readFailure(own));
  assert.deepEqual([local.text, local.error], ["half", failure]);
  assert.deepEqual(errors, [[failure, id]]);
  assert.equal(await there.hasExistingStream(id), "DONE");
  assert.deepEqual((await readFailure(await there.resumeExistingStream(id))).text, "half");
  const other = newId();
  const naming = cluster.context(0, {
    replayDone: true,
    errorReason: ({ message }) => `${message} – é`,
    onError: () => assert.fail("no log"),
  });
  await assert.rejects(
    naming.createNewResumableStream(other, () => {
      throw new Error("no model");
    }),
    /no model/,
  );
  const made = await readFailure(await naming.resumeExistingStream(other));
  assert.equal(made.error.reason, "no model ? ?");
});

test("chunks that are not strings are an error", async () => {
  const [here] = both();
  const id = newId();
  const own = await here.createNewResumableStream(id, () => ready(["a", new Uint8Array(1)]));
  const { text, error } = await readFailure(own);
  assert.deepEqual([text, error.code], ["a", "bad-chunk"]);
});

test("who comes just after the end gets all of it with replayDone, and null without", async () => {
  const [here, there] = both();
  const replaying = cluster.context(1, { replayDone: true });
  const id = newId();
  await read(await here.createNewResumableStream(id, () => ready(["one ", "two"])));
  assert.equal(await there.resumeExistingStream(id), null);
  assert.equal(await read(await replaying.resumeExistingStream(id)), "one two");
  assert.equal(await read(await replaying.resumeExistingStream(id, 4)), "two");
  assert.equal(await read(await resumeStream(replaying, id)), "one two");
  assert.equal(await resumeStream({ waitUntil: null, url: cluster.nodes[0].url }, id), null);
  const never = () => assert.fail("makeStream is called");
  assert.equal(await read(await replaying.resumableStream(id, never)), "one two");
  assert.equal(await there.resumeExistingStream("none"), undefined);
  await assert.rejects(resumeStream(there, "none"), { code: "not-found" });
});

test("of callers at the same time one creates the stream, on whichever node", async () => {
  const id = newId();
  let made = 0;
  const make = () => {
    made += 1;
    return ready(["a", "b"]);
  };
  const replaying = both({ replayDone: true });
  const streams = await Promise.all(Array.from({ length: 10 }, (_, n) => replaying[n % 2].resumableStream(id, make)));
  for (const stream of streams) assert.equal(await within(5, "the text", read(stream)), "ab");
  assert.equal(made, 1);
});

test("a source is read to its end if its stream is not read, or its reader has left", async () => {
  for (const use of [() => {}, (stream) => stream.cancel(), (stream) => stream.getReader().read()]) {
    const waits = [];
    const here = cluster.context(0, { waitUntil: (promise) => waits.push(promise) });
    const there = cluster.context(1, { replayDone: true });
    const id = newId();
    const { readable, write, close } = testingStream();
    const own = await here.createNewResumableStream(id, () => readable);
    write("one ");
    await use(own);
    await sleep(20);
    write("two");
    close();
    assert.equal(waits.length, 1);
    await within(5, "waitUntil", waits[0]);
    assert.equal(await there.hasExistingStream(id), "DONE", "the promise of waitUntil waits for the end");
    assert.equal(await read(await there.resumeExistingStream(id)), "one two");
  }
});

test("a reader that is far behind finds the rest in the stored stream", async () => {
  const [here] = both();
  const id = newId();
  const chunks = Array.from({ length: 400 }, (_, n) => `${n}:é😀${"x".repeat(2000)}\r\n`);
  const own = await here.createNewResumableStream(id, () => ready(chunks));
  await done(here, id);
  assert.equal(await within(10, "the text", read(own)), chunks.join(""));
});

test("tokens are not awaited: many are sent with one request", async () => {
  const tokens = Array.from({ length: 2000 }, (_, n) => `token${n} `);
  let release;
  const held = new Promise((resolve) => {
    release = resolve;
  });
  const { counts, fetch } = counting(async ({ method }) => {
    if (method === "POST") await held;
  });
  const here = cluster.context(0, { fetch, replayDone: true });
  let given = 0;
  const source = new ReadableStream(
    {
      async pull(controller) {
        // A new turn of the event loop for each: they do not come together.
        await new Promise(setImmediate);
        if (given === tokens.length) controller.close();
        else controller.enqueue(tokens[given++]);
      },
    },
    { highWaterMark: 0 },
  );
  const id = newId();
  const own = await here.createNewResumableStream(id, () => source);
  await until(
    () => given === tokens.length,
    10,
    () => `all tokens were taken while the first request has no answer: ${given}`,
  );
  release();
  assert.equal(await within(10, "the text", read(own)), tokens.join(""));
  assert.ok(counts.POST <= 5, `${counts.POST} requests`);
  assert.equal(await read(await here.resumeExistingStream(id)), tokens.join(""));
});

test("a source waits while too much is not stored", async () => {
  const chunk = "x".repeat(65_536);
  let release;
  const held = new Promise((resolve) => {
    release = resolve;
  });
  const { fetch } = counting(async ({ method }) => {
    if (method === "POST") await held;
  });
  const here = cluster.context(0, { fetch });
  let given = 0;
  const source = new ReadableStream(
    {
      pull(controller) {
        if (given++ === 100) controller.close();
        else controller.enqueue(chunk);
      },
    },
    { highWaterMark: 0 },
  );
  const id = newId();
  await here.createNewResumableStream(id, () => source);
  await until(() => given >= 16, 10, "1 MiB is taken");
  await sleep(200);
  // 1 MiB waits, and a request of 256 KiB is under way.
  assert.ok(given <= 22, `${given} chunks of 64 KiB`);
  release();
  await done(here, id);
  const length = (await (await globalThis.fetch(here.streamUrl(id), { method: "HEAD" })).headers.get("stream-next-offset")).split(
    "_",
  )[1];
  assert.equal(Number(length), 100 * 65_536);
});

test("requests that fail are repeated, and nothing is stored twice or out of order", async () => {
  let n = 0;
  const flaky = async (url, init) => {
    n += 1;
    if (n % 4 === 1) throw new TypeError("fetch failed");
    if (n % 4 === 2) return new Response("{}", { status: [429, 500, 502, 503][(n >> 2) % 4] });
    const answer = await fetch(url, init);
    // The answer is lost.
    if (n % 4 === 3 && init.method !== "GET") throw new TypeError("terminated");
    return answer;
  };
  const here = cluster.context(0, { fetch: flaky });
  const there = cluster.context(1, { replayDone: true });
  const id = newId();
  let given = 0;
  const source = new ReadableStream({
    async pull(controller) {
      await sleep(8);
      if (given === 40) controller.close();
      else controller.enqueue(`${given++} `);
    },
  });
  const own = await here.createNewResumableStream(id, () => source);
  const text = Array.from({ length: 40 }, (_, n) => `${n} `).join("");
  assert.equal(await within(30, "the caller's text", read(own)), text);
  assert.equal(await read(await there.resumeExistingStream(id)), text);
});

test("a stream that was created again is not written by its first producer", async () => {
  const [here, there] = both({ replayDone: true });
  const id = newId();
  const first = testingStream();
  let signal;
  const own = await here.createNewResumableStream(id, (producer) => {
    signal = producer.signal;
    return first.readable;
  });
  first.write("old ");
  await read(await there.resumeExistingStream(id), 1);
  const second = testingStream();
  const other = await there.createNewResumableStream(id, () => second.readable);
  await until(() => signal.aborted, 5, "the first producer is stopped");
  assert.ok(signal.reason instanceof RequestError || signal.reason instanceof StreamEndedError, `${signal.reason}`);
  assert.equal((await readFailure(own)).text, "old ");
  second.write("new");
  second.close();
  assert.equal(await within(5, "the text", read(other)), "new");
  assert.equal(await read(await here.resumeExistingStream(id)), "new");
});

test("a stream that is deleted stops its producer", async () => {
  const [here] = both();
  const id = newId();
  const { readable } = testingStream();
  let signal;
  const own = await here.createNewResumableStream(id, (producer) => {
    signal = producer.signal;
    return readable;
  });
  await until(async () => (await cluster.metric("fanfare_finite_readers")) > 0, 5, "the watch");
  await fetch(here.streamUrl(id), { method: "DELETE" });
  await until(() => signal.aborted, 5, "the producer is stopped");
  assert.equal(signal.reason.status, 404);
  await readFailure(own);
  assert.equal(await here.hasExistingStream(id), null);
});

test("a node that refuses the bytes does not take them from the caller", async () => {
  const small = new Cluster();
  await small.start({ env: { FANFARE_FINITE__STREAM_BYTES: "1KiB" } });
  try {
    const errors = [];
    const here = small.context(0, { onError: (error) => errors.push(error), replayDone: true });
    const { readable, write, close } = testingStream();
    const own = await here.createNewResumableStream("large", () => readable);
    write("x".repeat(1000));
    await until(async () => (await read(await here.resumeExistingStream("large"), 1)).length === 1000, 5, "stored");
    write("y".repeat(1000));
    await done(here, "large");
    close();
    assert.equal((await within(5, "the caller's text", read(own))).length, 2000);
    assert.deepEqual(
      errors.map(({ status, code }) => [status, code]),
      [[413, "too-large"]],
    );
    const { text, error } = await readFailure(await here.resumeExistingStream("large"));
    assert.deepEqual([text.length, error.reason], [1000, "too-large"]);
  } finally {
    await small.stop();
  }
});

test("no connection and no reader is left, however streams end", async () => {
  const open = new Set();
  const tracking = async (url, init) => {
    const key = Symbol(url);
    open.add(key);
    init.signal.addEventListener("abort", () => open.delete(key));
    const response = await fetch(url, init);
    if (!response.body || !`${url}`.includes("live=")) open.delete(key);
    return response;
  };
  const contexts = both({ fetch: tracking, replayDone: true });
  const streams = [];
  for (let n = 0; n < 30; n += 1) {
    const id = newId();
    const { readable, write, close, fail } = testingStream();
    const own = await contexts[n % 2].createNewResumableStream(id, () => readable);
    const reader = await contexts[(n + 1) % 2].resumeExistingStream(id);
    // One that is not read.
    await contexts[n % 2].resumeExistingStream(id);
    write("some text");
    assert.equal(await within(5, "text", read(reader, 1)), "some text");
    const end = [close, () => fail(new Error("no")), () => contexts[1].cancelStream(id)][n % 3];
    streams.push({ own, id, reader, end });
  }
  assert.ok((await cluster.metric("fanfare_finite_readers")) >= 30, "watches of producers");
  for (const { end, own, id, reader } of streams) {
    await end();
    await read(own).catch(() => {});
    await done(contexts[0], id);
    await read(reader).catch(() => {});
  }
  const left = [];
  for (let n = 0; n < 5; n += 1) {
    const id = newId();
    await contexts[0].createNewResumableStream(id, () => testingStream().readable);
    const reader = (await contexts[1].resumeExistingStream(id)).getReader();
    const reading = reader.read();
    await sleep(20);
    await reader.cancel();
    await reading;
    left.push(id);
  }
  for (const id of left) await contexts[0].cancelStream(id);
  await until(async () => (await cluster.metric("fanfare_finite_readers")) === 0, 10, "no reader is left");
  await until(
    () => open.size === 0,
    10,
    () => `${open.size} requests are left`,
  );
});

test("a producer whose token does not read learns of a cancellation with its next text", async () => {
  const refusing = async (url, init) =>
    init.method === "GET" ? Response.json({ code: "no-grant" }, { status: 403 }) : fetch(url, init);
  const here = cluster.context(0, { fetch: refusing });
  const there = cluster.context(1);
  const id = newId();
  const { readable, write } = testingStream();
  let signal;
  await here.createNewResumableStream(id, (producer) => {
    signal = producer.signal;
    return readable;
  });
  await there.cancelStream(id, "enough");
  write("late");
  await until(() => signal.aborted, 5, "the producer is stopped");
  assert.equal(signal.reason.reason, "enough");
});

test("ids and prefixes may have any characters", async () => {
  for (const [keyPrefix, id] of [
    ["a/b:c", "../x y?#%é'(1)"],
    [undefined, "."],
  ]) {
    const [here, there] = both({ keyPrefix, replayDone: true });
    await read(await here.createNewResumableStream(id, () => ready([id])));
    assert.equal(await read(await there.resumeExistingStream(id)), id);
  }
  assert.match(cluster.context(0).streamUrl("a/b c"), /\/v1\/stream\/resumable-stream:a%2Fb%20c$/);
});
