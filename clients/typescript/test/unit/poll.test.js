// When the client polls, and when it streams again: with responses that the test plays.

import assert from "node:assert/strict";
import { test } from "node:test";
import { orPoll } from "../../dist/poll.js";
import { turn } from "../support/transport.js";

const block = (id, type) => `id: ${id}\n${type ? `event: ${type}\n` : ""}data: {}\n\n`;

/** A transport on a network that the test plays. Time is that of the test. */
function play(t) {
  t.mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_000_000 });
  const requests = [];
  const fetch = (url, { headers, signal }) =>
    new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason));
      const wait = url.searchParams.get("wait");
      const response = { status: 200, headers: new Headers({ "content-type": "text/event-stream" }) };
      requests.push({
        wait,
        cursor: headers["last-event-id"],
        signal,
        /** The whole response at once, on a platform without readable bodies. */
        whole: (text) => resolve({ ...response, arrayBuffer: async () => new TextEncoder().encode(text).buffer }),
        /** The response as it comes. */
        streams() {
          let put;
          const body = new ReadableStream({
            start(controller) {
              put = controller;
            },
          });
          resolve({ ...response, body });
          return { write: (text) => put.enqueue(new TextEncoder().encode(text)), end: () => put.close() };
        },
      });
    });
  const seen = [];
  const sink = { bytes() {}, retry() {}, block: ({ type, id }) => seen.push(type ? `${type} ${id}` : id) };
  const stop = new AbortController();
  const request = { url: new URL("http://node/v1/events"), headers: {}, signal: stop.signal };
  const done = orPoll({ fetch, maxEventSize: 1000 }).open(request, sink);
  const tick = async (milliseconds) => {
    await turn();
    t.mock.timers.tick(milliseconds);
    await turn();
  };
  return { requests, seen, stop, done, tick, last: () => requests.at(-1), asked: () => requests.map(({ wait }) => wait) };
}

test("where no byte comes in time, and a body is had whole or not at all, the client polls", async (t) => {
  const { requests, seen, stop, done, tick, last } = play(t);
  await tick(4_999);
  assert.equal(requests.length, 1);
  await tick(1);
  assert.equal(requests[0].signal.aborted, true);
  assert.equal(last().wait, "0");
  last().whole(block("1", "connected"));
  await tick(0);
  assert.deepEqual([last().wait, last().cursor], ["25", "1"]);
  await tick(60_000);
  // The head of each answer is known.
  last().whole(block("1", "connected") + block("2") + block("3"));
  await tick(0);
  assert.deepEqual([last().wait, last().cursor], ["25", "3"]);
  assert.deepEqual(seen, ["connected 1", "2", "3"]);
  stop.abort();
  await assert.rejects(done);
});

test("an answer that comes as it is sent shows that the network streams; it is not believed again and again", async (t) => {
  const { seen, stop, done, tick, last, asked } = play(t);
  /** An answer whose end comes later than its beginning. */
  const spread = async (id) => {
    const { write, end } = last().streams();
    write(block(id, "connected"));
    await tick(100);
    write(block(id + 1));
    end();
    await tick(0);
  };
  await tick(5_000);
  await spread(10);
  assert.deepEqual(asked(), [null, "0", null], "streams at once");
  assert.equal(last().cursor, "11");
  await tick(5_000);
  await spread(20);
  assert.deepEqual(asked().slice(3), ["0", "25"], "not within a minute");
  await tick(59_000);
  await spread(30);
  assert.deepEqual(asked().slice(5), ["25"]);
  await tick(1_000);
  await spread(40);
  assert.deepEqual(asked().slice(6), [null]);
  // A stream that streams.
  const stream = last().streams();
  stream.write(block(50, "connected"));
  await tick(60_000);
  stream.write(block(51));
  stream.end();
  await done;
  assert.deepEqual(seen, ["connected 10", "11", "connected 20", "21", "31", "41", "connected 50", "51"]);
  assert.equal(stop.signal.aborted, false);
});
