// Tabs that share a stream, with connections that the test plays.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Client } from "../../dist/client.js";
import { ProblemError } from "../../dist/index.js";
import { tabs } from "../../dist/tabs.js";
import { LockManager } from "../support/locks.js";
import { Script, turn } from "../support/transport.js";

/** Lets messages between tabs arrive, and everything that follows from them. */
const settle = async () => {
  for (let n = 0; n < 20; n += 1) await turn();
};

let streams = 0;
/** Those of the test, in the order in which tabs opened. */
let channels = [];

class Channel extends BroadcastChannel {
  /** What arrives while the tab is frozen. */
  held;
  #listener;

  constructor(name) {
    super(name);
    channels.push(this);
  }

  set onmessage(listener) {
    this.#listener = listener;
    super.onmessage = listener && ((event) => (this.held ? this.held.push(event) : listener(event)));
  }

  thaw() {
    for (const event of this.held.splice(0)) this.#listener(event);
    this.held = undefined;
  }
}

/** A browser: `tab` opens a client that shares the stream of the others. */
function browser(t) {
  t.mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: 1_000_000 });
  Object.defineProperty(globalThis, "navigator", { value: { locks: new LockManager() }, configurable: true, writable: true });
  const original = globalThis.BroadcastChannel;
  globalThis.BroadcastChannel = Channel;
  t.after(() => {
    globalThis.BroadcastChannel = original;
  });
  channels = [];
  streams += 1;
  const url = `http://node/v1/events?stream=${streams}`;
  const tab = async (options = {}) => {
    const script = new Script();
    const client = new Client(url, { channels: ["room:7"], ...options, share: tabs(), transport: script });
    const all = { client, script, states: [], events: [], gaps: [] };
    client.onState((state) => all.states.push(state));
    client.onEvent(({ channel, data }) => all.events.push(`${channel} ${data}`));
    client.onGap(({ channel }) => all.gaps.push(channel));
    t.after(() => client.close());
    client.open();
    await settle();
    return all;
  };
  const tick = async (milliseconds) => {
    await settle();
    t.mock.timers.tick(milliseconds);
    await settle();
  };
  return { tab, tick };
}

/** The query of the last connection, as channels, and its cursor. */
const asked = ({ script }) => [script.last.query.getAll("channel"), script.last.cursor];
const open = ({ script }) => script.connections.filter(({ request }) => !request.signal.aborted).length;

test("one tab has a connection, and each tab has the events and gaps of its own channels", async (t) => {
  const { tab } = browser(t);
  const a = await tab({ channels: ["room:1"] });
  a.script.last.connected("0-1");
  const b = await tab({ channels: ["room:2"] });
  // The leader follows what the other asks for, from its place.
  assert.deepEqual(asked(a), [["room:1", "room:2"], "0-1"]);
  assert.equal(b.client.state.name, "connecting");
  a.script.last.connected("0-2");
  await settle();
  assert.deepEqual(b.client.state, a.client.state);
  assert.equal(b.client.state.name, "live");
  for (const [n, channel] of ["room:1", "room:2", "user:7", "broadcast"].entries()) {
    a.script.last.event("note", `${n}`, `1-${n}`, channel);
    a.script.last.block("gap", { channel, after: "0-0" }, `1-${n}`);
  }
  await settle();
  assert.deepEqual(a.events, ["room:1 0", "user:7 2", "broadcast 3"]);
  assert.deepEqual(b.events, ["room:2 1", "user:7 2", "broadcast 3"]);
  assert.deepEqual(a.gaps, ["room:1", "user:7", "broadcast"]);
  assert.deepEqual(b.gaps, ["room:2", "user:7", "broadcast"]);
  assert.equal(b.client.cursor, "1-3");
  assert.equal(b.script.connections.length, 0);
});

test("the next tab continues where the leader was, and what comes again is not delivered again", async (t) => {
  const { tab } = browser(t);
  const [a, b, c] = [await tab(), await tab(), await tab()];
  a.script.last.connected("0-1");
  a.script.last.event("note", "1", "5-9");
  await settle();
  a.client.close();
  await settle();
  assert.deepEqual(asked(b), [["room:7"], "5-9"]);
  b.script.last.connected("5-9");
  // As if this tab had been behind the others.
  b.script.last.event("note", "1", "5-9");
  b.script.last.event("note", "2", "5-10");
  await settle();
  assert.deepEqual(a.events, ["room:7 1"]);
  for (const { events } of [b, c]) assert.deepEqual(events, ["room:7 1", "room:7 2"]);
  assert.equal(c.script.connections.length, 0);
  assert.deepEqual(
    c.states.map(({ name }) => name),
    ["connecting", "live", "connecting", "live"],
  );
});

test("after a gap, positions of its channel may be smaller", async (t) => {
  const { tab } = browser(t);
  const [a, b] = [await tab(), await tab()];
  a.script.last.connected("0-1");
  a.script.last.event("note", "1", "9-1");
  a.script.last.block("gap", { channel: "room:7", after: "9-1" }, "1-0");
  a.script.last.event("note", "2", "5-1");
  await settle();
  for (const { events } of [a, b]) assert.deepEqual(events, ["room:7 1", "room:7 2"]);
});

test("a tab with a place of its own catches up by a stream of its own, and joins at the leader's cursor", async (t) => {
  const { tab, tick } = browser(t);
  const a = await tab({ channels: ["room:7", "room:8"] });
  a.script.last.connected("0-1");
  a.script.last.event("note", "1", "5-1");
  a.script.last.event("note", "2", "5-2");
  const b = await tab({ resume: { load: () => "0-1", save() {} } });
  // With the leader's channels, so that cursors are comparable.
  assert.deepEqual(asked(b), [["room:7", "room:8"], "0-1"]);
  b.script.last.connected("0-1");
  b.script.last.event("note", "1", "5-1");
  a.script.last.event("note", "3", "5-3");
  await tick(1000);
  assert.deepEqual(b.events, ["room:7 1"], "what the leader passes is not its turn yet");
  b.script.last.event("note", "2", "5-2");
  b.script.last.event("note", "3", "5-3");
  b.script.last.event("note", "4", "5-4");
  assert.equal(open(b), 1);
  await tick(1000);
  assert.equal(open(b), 0);
  assert.equal(open(a), 1);
  a.script.last.event("note", "4", "5-4");
  a.script.last.event("note", "5", "5-5");
  a.script.last.event("note", "elsewhere", "5-6", "room:8");
  await settle();
  assert.deepEqual(b.events, ["room:7 1", "room:7 2", "room:7 3", "room:7 4", "room:7 5"]);
});

test("a tab whose place is the leader's joins without a connection; one that begins with old events has one", async (t) => {
  const { tab, tick } = browser(t);
  const a = await tab();
  a.script.last.connected("0-1");
  a.script.last.event("note", "1", "5-1");
  const b = await tab({ resume: { load: () => "5-1", save() {} } });
  assert.equal(b.script.connections.length, 0);
  assert.equal(b.client.state.name, "live");
  const c = await tab({ last: 1 });
  assert.equal(c.script.last.query.get("last"), "1");
  c.script.last.connected("5-0");
  c.script.last.event("note", "1", "5-1");
  await tick(1000);
  assert.equal(open(c), 0);
  a.script.last.event("note", "2", "5-2");
  await settle();
  assert.deepEqual([b.events, c.events], [["room:7 2"], ["room:7 1", "room:7 2"]]);
});

test("a tab follows and leaves channels; a refused one changes nothing in any tab", async (t) => {
  const { tab, tick } = browser(t);
  const [a, b] = [await tab({ channels: ["room:1"] }), await tab({ channels: [] })];
  a.script.last.connected("0-1");
  await settle();
  const followed = b.client.follow("room:2");
  await settle();
  assert.deepEqual(asked(a), [["room:1", "room:2"], "0-1"]);
  a.script.last.connected("0-2");
  await followed;
  const refused = b.client.follow("secret:1");
  await settle();
  assert.deepEqual(asked(a)[0], ["room:1", "room:2", "secret:1"]);
  a.script.last.fail(new ProblemError(403, { code: "no-grant", title: "Forbidden", detail: "secret:1" }));
  await assert.rejects(refused, (error) => {
    assert.ok(error instanceof ProblemError);
    assert.deepEqual([error.status, error.code, error.message], [403, "no-grant", "403 Forbidden: secret:1"]);
    return true;
  });
  await settle();
  assert.deepEqual(asked(a), [["room:1", "room:2"], "0-2"]);
  a.script.last.connected("0-2");
  await b.client.unfollow("room:2");
  a.script.last.event("note", "1", "5-1", "room:2");
  await settle();
  assert.deepEqual([a.events, b.events, b.client.channels], [[], [], []]);
  // The leader leaves it on the next occasion, when it has led for a while.
  for (let n = 0; n < 6; n += 1) await tick(1000);
  const more = a.client.follow("room:3");
  await settle();
  assert.deepEqual(asked(a)[0], ["room:1", "room:3"]);
  a.script.last.connected("5-1");
  await more;
});

test("a tab that begins with a refused channel ends, and no other", async (t) => {
  const { tab } = browser(t);
  const a = await tab({ channels: ["room:1"] });
  a.script.last.connected("0-1");
  const b = await tab({ channels: ["secret:1"] });
  a.script.last.fail(new ProblemError(403, { code: "no-grant" }));
  await settle();
  assert.equal(b.client.state.name, "ended");
  assert.equal(b.client.state.error.code, "no-grant");
  a.script.last.connected("0-1");
  await settle();
  assert.equal(a.client.state.name, "live");
  assert.deepEqual(asked(a)[0], ["room:1"]);
});

test("a tab that leads before the server has refused its channel ends, and no other", async (t) => {
  const { tab } = browser(t);
  const a = await tab({ channels: ["room:1"] });
  a.script.last.connected("0-1");
  const b = await tab({ channels: ["secret:1"] });
  const c = await tab({ channels: ["room:1"] });
  a.client.close();
  await settle();
  assert.deepEqual(asked(b), [["room:1", "secret:1"], undefined]);
  assert.deepEqual(asked(c), [["room:1"], "0-1"], "the new leader has no place: this tab keeps its own");
  b.script.last.fail(new ProblemError(403, { code: "no-grant" }));
  await settle();
  assert.deepEqual([b.client.state.name, b.client.state.error.code], ["ended", "no-grant"]);
  assert.deepEqual(asked(c), [["room:1"], "0-1"]);
  c.script.last.connected("0-1");
  assert.equal(c.client.state.name, "live");
});

test("a tab whose channel the leader has left, as the tab was frozen, misses nothing", async (t) => {
  const { tab, tick } = browser(t);
  const a = await tab({ channels: ["room:1"] });
  a.script.last.connected("0-1");
  const b = await tab({ channels: ["room:1"] });
  // No ticks, as in a frozen tab.
  t.mock.method(globalThis, "setInterval", () => {});
  const c = await tab({ channels: ["room:2"] });
  a.script.last.connected("0-2");
  await settle();
  const frozen = channels[channels.length - 1];
  frozen.held = [];
  a.client.close();
  await settle();
  b.script.last.connected("0-2");
  for (let n = 0; n < 6; n += 1) await tick(1000);
  const more = b.client.follow("room:3");
  await settle();
  assert.deepEqual(asked(b), [["room:1", "room:3"], "0-2"]);
  b.script.last.connected("0-3");
  await more;
  frozen.thaw();
  await settle();
  assert.deepEqual(asked(c), [["room:1", "room:3", "room:2"], "0-2"]);
});

test("tabs show the leader's state, and end with it", async (t) => {
  const { tab, tick } = browser(t);
  const [a, b] = [await tab(), await tab()];
  a.script.last.fail(new ProblemError(503, { code: "overloaded" }, 5000));
  await settle();
  const { error, ...state } = b.client.state;
  assert.deepEqual(state, { name: "waiting", attempt: 1, delay: a.client.state.delay });
  assert.deepEqual([error.code, error.status, error.retryAfter], ["overloaded", 503, 5000]);
  // In small steps: between its calls, a tab hears the answers.
  for (let waited = 0; waited < state.delay; waited += 1000) await tick(1000);
  a.script.last.connected("0-1");
  a.script.last.block("disconnected", { session: "s" }, "0-1");
  await settle();
  assert.deepEqual([b.client.state.name, b.client.state.error.code], ["ended", "disconnected"]);
  assert.equal(b.script.connections.length, 0);
});

test("a tab takes the lead from one that does not answer, which finds its way back", async (t) => {
  const { tab, tick } = browser(t);
  const [a, b, c] = [await tab(), await tab(), await tab()];
  a.script.last.connected("0-1");
  a.script.last.event("note", "1", "5-1");
  await settle();
  // A leader that is frozen: messages wait, and its timers do not run.
  const [bus] = channels;
  bus.held = [];
  let told;
  navigator.locks.tell = (call) => {
    told = call;
  };
  for (let n = 0; n < 3; n += 1) await tick(1000);
  assert.equal(open(b) + open(c), 0, "two calls without answer are not enough");
  await tick(1000);
  const [next, other] = open(b) ? [b, c] : [c, b];
  assert.deepEqual(asked(next), [["room:7"], "5-1"]);
  next.script.last.connected("5-1");
  next.script.last.event("note", "2", "5-2");
  await settle();
  // It wakes up, and its own connection has an event that the others have.
  a.script.last.event("note", "2", "5-2");
  told();
  bus.thaw();
  await settle();
  next.script.last.event("note", "3", "5-3");
  await tick(1000);
  for (const { events } of [next, other, a]) assert.deepEqual(events, ["room:7 1", "room:7 2", "room:7 3"]);
  assert.deepEqual([open(a), open(next), open(other)], [0, 1, 0]);
});

test("without Web Locks, each client has its own stream", async (t) => {
  const { tab } = browser(t);
  globalThis.navigator.locks = undefined;
  const [a, b] = [await tab(), await tab()];
  assert.deepEqual([open(a), open(b)], [1, 1]);
});

test("where the browser denies the lock, each client has its own stream", async (t) => {
  const { tab, tick } = browser(t);
  t.mock.method(navigator.locks, "request", () => Promise.reject(new DOMException("denied", "SecurityError")));
  const [a, b] = [await tab(), await tab()];
  for (const { script } of [a, b]) script.last.connected("0-1");
  for (let n = 0; n < 5; n += 1) await tick(1000);
  assert.deepEqual(
    [a, b].map(({ script }) => script.connections.length),
    [1, 1],
  );
});
