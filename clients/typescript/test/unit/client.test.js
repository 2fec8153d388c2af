// A client against connections that the test plays, on virtual time.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Client } from "../../dist/client.js";
import { FanfareError, ProblemError, Unauthorized } from "../../dist/index.js";
import { play, turn } from "../support/transport.js";

const problem = (status, code, retryAfter) => new ProblemError(status, { code }, retryAfter);

test("a client connects, is live, and delivers events with their data", async (t) => {
  const { script, client, states } = await play(t, { last: 5, after: "earliest", headers: { "x-app": "1" } });
  const { query, request } = script.last;
  assert.deepEqual(query.getAll("channel"), ["room:7"]);
  assert.equal(query.get("format"), "json");
  assert.equal(query.get("after"), "earliest");
  assert.equal(query.get("last"), "5");
  assert.deepEqual(request.headers, { "x-app": "1", accept: "text/event-stream", prefer: "status" });
  const seen = [];
  client.on("order.paid", (data, event) => seen.push([data, event]));
  client.on("note", (data) => seen.push(data));
  script.last.connected();
  script.last.event("order.paid", '{"id":7}', "5-1");
  script.last.event("note", "not json", "5-2");
  script.last.event("other", "1", "5-3");
  script.last.block("", { type: "note", data: '"ephemeral"', channel: "c", time: 6 }, "5-3");
  const event = { type: "order.paid", data: { id: 7 }, channel: "room:7", id: "5-1", time: 5, cursor: "5-1" };
  assert.deepEqual(seen, [[{ id: 7 }, event], "not json", "ephemeral"]);
  assert.deepEqual(states, [
    { name: "connecting", attempt: 0 },
    { name: "live", session: query.get("session"), node: "a" },
  ]);
  assert.equal(client.cursor, "5-3");
});

test("a connection that breaks is opened again with the cursor, after the server's retry", async (t) => {
  const { script, states, tick, events } = await play(t);
  script.last.connected();
  script.last.sink.retry(3211);
  script.last.event("note", "1", "5-1");
  script.last.fail(new TypeError("network error"));
  await turn();
  assert.deepEqual(
    { ...states.at(-1), error: states.at(-1).error.message },
    {
      name: "waiting",
      attempt: 1,
      delay: 3211,
      error: "network error",
    },
  );
  await tick(3210);
  assert.equal(script.connections.length, 1);
  await tick(1);
  assert.equal(script.connections.length, 2);
  assert.equal(script.last.cursor, "5-1");
  assert.equal(script.last.query.get("session"), script.connections[0].query.get("session"));
  script.last.connected("5-1");
  script.last.event("note", "2", "5-2");
  assert.deepEqual(events, [
    ["note", 1, "5-1"],
    ["note", 2, "5-2"],
  ]);
});

test("an old connection changes nothing", async (t) => {
  const { script, tick, events, client } = await play(t);
  script.last.connected();
  const old = script.last;
  old.fail(new TypeError("network error"));
  await turn();
  old.event("note", "late", "5-1");
  old.sink.retry(1);
  await tick(500);
  script.last.connected();
  old.event("note", "late", "5-1");
  assert.deepEqual(events, []);
  assert.equal(client.cursor, "0-1");
});

test("waits grow while connections fail, and begin again after one that lasted", async (t) => {
  const { script, states, tick } = await play(t);
  const waits = [];
  for (let n = 0; n < 7; n += 1) {
    script.last.fail(new TypeError("refused"));
    await turn();
    waits.push(states.at(-1).delay);
    await tick(states.at(-1).delay);
  }
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 15_000, 15_000]);
  script.last.connected();
  script.last.fail(new TypeError("broke at once"));
  await turn();
  assert.equal(states.at(-1).delay, 15_000, "it did not last");
  await tick(15_000);
  script.last.connected();
  await tick(10_000);
  script.last.end();
  await turn();
  assert.deepEqual([states.at(-1).delay, states.at(-1).error.code], [500, "ended"]);
});

test("the wait after a shutdown is the server's, and does not grow from stop to stop", async (t) => {
  const { script, states, tick } = await play(t);
  for (let n = 0; n < 3; n += 1) {
    script.last.connected();
    await tick(1000);
    script.last.sink.retry(320);
    script.last.block("shutdown", { node: "a" }, "0-1");
    await turn();
    assert.deepEqual([states.at(-1).delay, states.at(-1).error.code], [320, "shutdown"]);
    await tick(320);
  }
  assert.equal(script.connections.length, 4);
});

test("a client gives up after as many attempts as it may make", async (t) => {
  const { script, states, tick, client } = await play(t, { maxAttempts: 3 });
  for (let n = 0; n < 4; n += 1) {
    script.last.fail(new TypeError(`failure ${n}`));
    await turn();
    await tick(60_000);
  }
  assert.equal(script.connections.length, 4);
  assert.deepEqual([states.at(-1).name, states.at(-1).error.message], ["ended", "failure 3"]);
  client.open();
  await turn();
  assert.equal(script.connections.length, 5);
});

test("a first byte that does not come in time, and silence, end a connection", async (t) => {
  const { script, states, tick } = await play(t, { connectTimeout: 5000, idleTimeout: 9000 });
  await tick(5000);
  assert.deepEqual([states.at(-1).name, states.at(-1).error.code], ["waiting", "timeout"]);
  await tick(500);
  script.last.connected();
  for (let n = 0; n < 5; n += 1) {
    await tick(8000);
    script.last.sink.bytes();
  }
  assert.equal(states.at(-1).name, "live", "heartbeats count");
  await tick(9000);
  assert.deepEqual([states.at(-1).name, states.at(-1).error.code], ["waiting", "timeout"]);
  assert.ok(script.last.request.signal.aborted);
});

test("refusals are final, but for those that pass by themselves", async (t) => {
  const final = [204, 400, 403, 404, 405, 410, 421, 431];
  const passing = [408, 425, 429, 500, 502, 503, 504];
  for (const status of [...final, ...passing]) {
    await t.test(`${status}`, async (t) => {
      const { script, states } = await play(t);
      script.last.fail(problem(status, "some-code"));
      await turn();
      assert.equal(states.at(-1).name, final.includes(status) ? "ended" : "waiting");
      assert.equal(states.at(-1).error.status, status);
    });
  }
});

test("Retry-After is obeyed, and the page's return does not shorten it", async (t) => {
  const { script, states, tick } = await play(t);
  script.last.fail(problem(503, "draining", 7000));
  await turn();
  assert.equal(states.at(-1).delay, 7500);
  await tick(7499);
  assert.equal(script.connections.length, 1);
  await tick(1);
  assert.equal(script.connections.length, 2);
});

test("a stream that is only `overloaded` waits as it says", async (t) => {
  const { script, states } = await play(t);
  script.last.sink.retry(4000);
  script.last.block("overloaded", { reason: "rate" }, "");
  await turn();
  const { name, delay, error } = states.at(-1);
  assert.deepEqual([name, delay, error.code, error.reason], ["waiting", 4000, "overloaded", "rate"]);
});

test("a disconnected session stays away until it is opened again", async (t) => {
  const { script, states, client, tick } = await play(t);
  script.last.connected();
  script.last.event("note", "1", "5-1");
  script.last.block("disconnected", { session: "s" }, "5-1");
  await tick(3_600_000);
  assert.deepEqual([states.at(-1).name, states.at(-1).error.code], ["ended", "disconnected"]);
  assert.equal(script.connections.length, 1);
  client.open();
  await turn();
  assert.equal(script.last.cursor, "5-1");
});

test("a superseded session gets another id, but not one that the application chose", async (t) => {
  const { script, tick } = await play(t);
  script.last.connected();
  script.last.sink.retry(1_000_000);
  script.last.block("superseded", { session: "s" }, "0-1");
  await turn();
  await tick(500);
  assert.equal(script.connections.length, 2);
  assert.notEqual(script.last.query.get("session"), script.connections[0].query.get("session"));
});

test("a superseded session that the application chose is final", async (t) => {
  const { script, states } = await play(t, { session: "0b5c0f9e-3c58-4f0e-9c43-0b6a3f2f8f11" });
  script.last.connected();
  script.last.block("superseded", { session: "s" }, "0-1");
  await turn();
  assert.deepEqual([states.at(-1).name, states.at(-1).error.code], ["ended", "superseded"]);
});

test("an expired token is replaced, a refused one once more, and then it is final", async (t) => {
  const reasons = [];
  const token = ({ reason }) => {
    reasons.push(reason);
    return `token-${reasons.length}`;
  };
  const { script, states, tick } = await play(t, { token });
  const bearer = () => script.last.request.headers.authorization;
  assert.equal(bearer(), "Bearer token-1");
  script.last.connected();
  await tick(10_000);
  script.last.end();
  await tick(500);
  assert.equal(bearer(), "Bearer token-1", "a token is kept over reconnects");
  script.last.connected();
  script.last.block("expired", { reason: "token" }, "0-1");
  await turn();
  await tick(60_000);
  assert.equal(bearer(), "Bearer token-2");
  script.last.fail(problem(401, "bad-token"));
  await turn();
  assert.equal(bearer(), "Bearer token-3", "at once");
  script.last.fail(problem(401, "bad-token"));
  await turn();
  assert.deepEqual([states.at(-1).name, states.at(-1).error.status], ["ended", 401]);
  assert.deepEqual(reasons, ["first", "expired", "unauthorized"]);
});

test("a token callback that fails is asked again, and one that throws Unauthorized ends the stream", async (t) => {
  const failures = ["a string", undefined, new TypeError("the login is down"), new Unauthorized("logged out")];
  const { states, tick, script } = await play(t, {
    token: () => {
      throw failures.shift();
    },
  });
  for (let n = 0; n < 3; n += 1) {
    assert.equal(states.at(-1).name, "waiting");
    assert.ok(states.at(-1).error instanceof Error);
    await tick(states.at(-1).delay);
  }
  assert.deepEqual([states.at(-1).name, states.at(-1).error.message], ["ended", "logged out"]);
  assert.equal(script.connections.length, 0);
});

test("a token callback that never answers runs into the timeout, and its signal aborts", async (t) => {
  let signal;
  const { states, tick } = await play(t, {
    connectTimeout: 3000,
    token: (request) => {
      ({ signal } = request);
      return new Promise(() => {});
    },
  });
  await tick(3000);
  assert.deepEqual([states.at(-1).name, states.at(-1).error.code], ["waiting", "timeout"]);
  assert.ok(signal.aborted);
});

test("a gap is reported with its channel", async (t) => {
  const { script, gaps } = await play(t);
  script.last.connected();
  script.last.block("gap", { channel: "room:7", after: "4-1" }, "5-1");
  assert.deepEqual(gaps, [{ channel: "room:7", after: "4-1" }]);
});

test("a cursor that the server refuses is dropped, and that is a gap", async (t) => {
  const store = { load: () => "rubbish", save: () => {} };
  const { script, gaps, states } = await play(t, { resume: store });
  assert.equal(script.last.cursor, "rubbish");
  script.last.fail(problem(400, "bad-cursor"));
  await turn();
  assert.deepEqual(gaps, [{}]);
  assert.equal(script.last.cursor, undefined);
  script.last.fail(problem(400, "bad-cursor"));
  await turn();
  assert.equal(states.at(-1).name, "ended", "not its own: the application's `after`");
});

test("following more channels keeps the place, and calls in one turn cause one reconnect", async (t) => {
  const { script, client, events, names } = await play(t);
  script.last.connected();
  script.last.event("note", "1", "5-1");
  const followed = Promise.all([client.follow("room:8"), client.follow("room:9", "room:7"), client.unfollow("room:7")]);
  await turn();
  assert.equal(script.connections.length, 2);
  assert.equal(script.last.cursor, "5-1");
  assert.deepEqual(script.last.query.getAll("channel"), ["room:8", "room:9"]);
  script.connections[0].event("note", "2", "5-2");
  script.last.connected("5-1");
  script.last.event("note", "2", "5-2");
  await followed;
  assert.deepEqual(
    events.map(([, data]) => data),
    [1, 2],
  );
  assert.deepEqual(names(), ["connecting", "live", "connecting", "live"]);
  await client.follow("room:9");
  assert.equal(script.connections.length, 2, "nothing changed");
});

test("channels that the server refuses are not followed, and the others stay", async (t) => {
  const { script, client, states } = await play(t);
  script.last.connected();
  const refused = assert.rejects(client.follow("secret"), { code: "no-grant" });
  await turn();
  script.last.fail(problem(403, "no-grant"));
  await refused;
  await turn();
  assert.deepEqual(script.last.query.getAll("channel"), ["room:7"]);
  script.last.connected();
  assert.equal(states.at(-1).name, "live");
  assert.deepEqual(client.channels, ["room:7"]);
});

test("following waits for the backoff, and for a stream that is not live yet", async (t) => {
  const { script, client, tick } = await play(t);
  script.last.fail(new TypeError("refused"));
  await turn();
  let followed = false;
  client.follow("room:8").then(() => (followed = true));
  await tick(499);
  assert.equal(script.connections.length, 1);
  await tick(1);
  assert.deepEqual(script.last.query.getAll("channel"), ["room:7", "room:8"]);
  assert.equal(followed, false);
  script.last.connected();
  await turn();
  assert.equal(followed, true);
});

test("events that are not what the protocol says break the connection, and are not asked for again", async (t) => {
  const { script, states, tick, events } = await play(t);
  const hostile = ["{", "null", "[]", '"x"', '{"type":1,"data":"x","channel":"c"}', '{"type":"t","data":{},"channel":"c"}'];
  for (const [n, text] of hostile.entries()) {
    script.last.connected();
    assert.throws(() => script.last.block("", text, `9-${n}`), { code: "malformed" }, text);
    script.last.fail(new FanfareError("malformed", "x"));
    await tick(60_000);
    assert.equal(script.last.cursor, `9-${n}`);
  }
  assert.equal(states.at(-1).name, "connecting");
  assert.deepEqual(events, []);
});

test("an event that `parse` refuses is reported, and the next one arrives", async (t) => {
  const errors = [];
  const { script, client, events } = await play(t, { parse: JSON.parse });
  client.onError((error) => errors.push(error));
  client.on("note", () => {
    throw new Error("a listener's");
  });
  script.last.connected();
  script.last.event("note", "{", "5-1");
  script.last.event("note", "2", "5-2");
  assert.deepEqual(events, [["note", 2, "5-2"]]);
  assert.deepEqual(
    errors.map(({ code, message }) => code ?? message),
    ["invalid-event", "a listener's"],
  );
  assert.ok(errors[0].cause instanceof SyntaxError);
});

test("the place is saved once for events that came together, and when the client closes", async (t) => {
  const saved = [];
  const { script, client } = await play(t, { resume: { load: async () => "3-1", save: (place) => void saved.push(place) } });
  assert.equal(script.last.cursor, "3-1");
  script.last.connected("3-1");
  script.last.event("note", "1", "5-1");
  script.last.event("note", "2", "5-2");
  await turn();
  assert.deepEqual(saved, ["5-2"]);
  script.last.event("note", "3", "5-3");
  client.close();
  assert.deepEqual(saved, ["5-2", "5-3"]);
});

test("a closed client says nothing more, and goes on where it was when it is opened again", async (t) => {
  const { script, client, events, names, tick } = await play(t);
  script.last.connected();
  script.last.event("note", "1", "5-1");
  client.close();
  script.last.event("note", "2", "5-2");
  assert.ok(script.last.request.signal.aborted);
  await tick(100_000);
  assert.deepEqual(names(), ["connecting", "live", "ended"]);
  client.open();
  client.open();
  await turn();
  assert.equal(script.connections.length, 2);
  assert.equal(script.last.cursor, "5-1");
  assert.equal(events.length, 1);
});

test("a listener may close the client at any state", async (t) => {
  for (const name of ["connecting", "live", "waiting"]) {
    await t.test(name, async (t) => {
      t.mock.timers.enable({ apis: ["setTimeout", "Date"] });
      const script = { connections: 0, open: () => {} };
      script.open = async (_, sink) => {
        script.connections += 1;
        sink.bytes();
        sink.block({ type: "connected", data: '{"session":"s","node":"a"}', id: "0-1" });
        sink.block({ type: "", data: '{"type":"t","data":"1","channel":"c","time":1}', id: "0-2" });
      };
      const client = new Client("http://node/", { transport: script });
      const events = [];
      const names = [];
      client.onEvent((event) => events.push(event));
      client.onState((state) => {
        names.push(state.name);
        if (state.name === name) client.close();
      });
      client.open();
      await turn();
      t.mock.timers.tick(100_000);
      await turn();
      assert.equal(names.at(-1), "ended");
      assert.equal(script.connections, name === "connecting" ? 0 : 1);
      assert.equal(events.length, name === "waiting" ? 1 : 0);
    });
  }
});

test("a signal closes the client, and keeps it closed", async (t) => {
  const stop = new AbortController();
  const { client, names, script } = await play(t, { signal: stop.signal });
  stop.abort();
  assert.equal(names().at(-1), "ended");
  client.open();
  await turn();
  assert.equal(script.connections.length, 1);
});

test("a client is open while it is held, and shortly after", async (t) => {
  const { script, client, tick, names } = await play(t);
  client.close();
  const holds = [client.hold(), client.hold()];
  await turn();
  assert.equal(script.connections.length, 2);
  holds[0]();
  holds[0]();
  await tick(1000);
  assert.equal(names().at(-1), "connecting");
  holds[1]();
  await tick(199);
  const again = client.hold();
  await tick(1000);
  assert.equal(names().at(-1), "connecting");
  again();
  await tick(200);
  assert.equal(names().at(-1), "ended");
});

test("a loop gets every event, and ends with the client", async (t) => {
  const { script, client } = await play(t);
  const seen = [];
  const loop = (async () => {
    for await (const { data } of client) seen.push(data);
  })();
  script.last.connected();
  for (let n = 1; n <= 100; n += 1) script.last.event("note", `${n}`, `5-${n}`);
  client.close();
  await loop;
  assert.deepEqual(
    seen,
    Array.from({ length: 100 }, (_, n) => n + 1),
  );
});

test("a loop ends with the error of the client, with its signal, and when it falls behind", async (t) => {
  const { script, client } = await play(t);
  const stop = new AbortController();
  const stopped = client.events({ signal: stop.signal });
  const slow = client.events({ buffer: 2 });
  const failed = client.events();
  script.last.connected();
  for (const n of [1, 2, 3]) script.last.event("note", `${n}`, `5-${n}`);
  stop.abort();
  script.last.block("disconnected", {}, "5-3");
  await turn();
  const all = async (loop) => {
    const seen = [];
    try {
      for await (const { data } of loop) seen.push(data);
    } catch (error) {
      seen.push(error.code);
    }
    return seen;
  };
  assert.deepEqual(await all(stopped), [1, 2, 3]);
  assert.deepEqual(await all(slow), [1, 2, "overflow"]);
  assert.deepEqual(await all(failed), [1, 2, 3, "disconnected"]);
  assert.deepEqual(await all(client.events()), ["disconnected"]);
});

test("an invalid URL ends the client", async () => {
  const client = new Client("/relative").open();
  await turn();
  assert.equal(client.state.name, "ended");
  assert.equal(client.state.error.code, "invalid-url");
});

test("a client that is only made opens nothing", async () => {
  const script = { open: assert.fail };
  const client = new Client("/v1/events", { transport: script });
  await turn();
  assert.equal(client.state.name, "idle");
  assert.deepEqual(client.channels, []);
  await client.follow("room:1");
  assert.deepEqual(client.channels, ["room:1"]);
});

test("silence is noticed in time, also when the time to the first byte is longer", async (t) => {
  const { script, states, tick } = await play(t, { idleTimeout: 1000, connectTimeout: 15_000 });
  script.last.connected();
  await tick(999);
  assert.equal(states.at(-1).name, "live");
  await tick(1);
  assert.deepEqual([states.at(-1).name, states.at(-1).error.code], ["waiting", "timeout"]);
});
