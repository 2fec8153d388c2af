// What a node does, one thing after another.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { acknowledge } from "../../dist/ack.js";
import { connect, ProblemError } from "../../dist/index.js";
import { Node, publish, reached, secret, token, until } from "../support/nodes.js";

let node;
let url;

before(async () => {
  node = await new Node({
    FANFARE_AUTH__MODE: "jwt",
    FANFARE_AUTH__JWT__SECRET: secret,
    FANFARE_AUTH__JWT__LEEWAY: "0s",
    FANFARE_STREAM__RETRY: "50ms",
    FANFARE_STREAM__RETRY_SPREAD: "50ms",
    FANFARE_DRAIN__NOTICE: "0s",
    FANFARE_DRAIN__WINDOW: "0s",
    FANFARE_LIMITS__EVENT_DATA: "1MiB",
    FANFARE_LOG__LEVEL: "error",
  }).start();
  url = `${node.url}/v1/events`;
});

after(() => node?.stop());

const publisher = { authorization: `Bearer ${token("publisher", 600, { publish: ["*", "user:*", "broadcast"] })}` };
const send = (channel, type, data) => publish([node], { channel, type, data }, publisher);

/** A client that closes with the test. */
function open(t, user, options) {
  const client = connect(url, { token: () => token(user, 600), minDelay: 50, ...options });
  t.after(() => client.close());
  return client;
}

async function sessions(user) {
  const headers = { authorization: `Bearer ${token("admin", 60, { admin: true })}` };
  const path = `${node.url}/v1/users/${user}/sessions`;
  return {
    list: async () => (await (await fetch(path, { headers })).json()).sessions.map(({ session }) => session),
    end: () => fetch(path, { method: "DELETE", headers }),
  };
}

test("events arrive with type, channel, id and time; text, JSON and a megabyte", async (t) => {
  const client = open(t, "ann", { channels: ["room:1"] });
  await reached(client, "live");
  const big = "x".repeat(1024 * 1024 - 2);
  const got = [];
  client.onEvent((event) => got.push(event));
  await send("room:1", "order.paid", { id: 7 });
  await send("user:ann", undefined, "for you\nalone");
  await send("broadcast", "big", big);
  await until(() => got.length === 3, 10, "three events");
  assert.deepEqual(
    got.map(({ type, channel, data }) => [type, channel, data]),
    [
      ["order.paid", "room:1", { id: 7 }],
      ["message", "user:ann", "for you\nalone"],
      ["big", "broadcast", big],
    ],
  );
  for (const { id, time } of got) {
    assert.match(id, /^\d+-\d+$/);
    assert.ok(Math.abs(Date.now() - time) < 60_000);
  }
});

test("a token that expires is replaced, and nothing is lost meanwhile", async (t) => {
  const reasons = [];
  const client = open(t, "bob", {
    channels: ["room:2"],
    token: ({ reason }) => {
      reasons.push(reason);
      return token("bob", reasons.length === 1 ? 2 : 600);
    },
  });
  const got = [];
  client.onEvent(({ data }) => got.push(data));
  await reached(client, "live");
  let n = 0;
  while (reasons.length < 2 || client.state.name !== "live") {
    n += 1;
    await send("room:2", "note", n);
  }
  await until(() => got.length === n, 10, "all events");
  assert.deepEqual(
    got,
    Array.from({ length: n }, (_, k) => k + 1),
  );
  assert.deepEqual(reasons, ["first", "expired"]);
});

test("a refused token is asked for once more, and then the problem is final", async (t) => {
  const reasons = [];
  const client = open(t, "eve", {
    token: ({ reason }) => {
      reasons.push(reason);
      return token("eve", -10);
    },
  });
  const { error } = await reached(client, "ended");
  assert.ok(error instanceof ProblemError);
  assert.deepEqual([error.status, error.code, error.type], [401, "expired-token", "/v1/problems#expired-token"]);
  assert.deepEqual(reasons, ["first", "unauthorized"]);
});

test("channels are followed and left without loss, and a refused one changes nothing", async (t) => {
  const client = open(t, "cid", { channels: ["room:3"] });
  const got = [];
  client.onEvent(({ channel, data }) => got.push([channel, data]));
  await reached(client, "live");
  const sent = [];
  for (let n = 1; n <= 30; n += 1) {
    if (n === 10) await client.follow("room:4");
    if (n === 15) await assert.rejects(client.follow("secret:1"), { code: "no-grant", status: 403 });
    if (n === 20) await client.unfollow("room:4");
    const change = n % 7 === 0 ? client.follow(`room:extra-${n}`) : undefined;
    await send("room:3", "note", n);
    sent.push(["room:3", n]);
    if (n === 12) await send("room:4", "note", "followed");
    if (n === 25) await send("room:4", "note", "left");
    await change;
  }
  await until(
    () => got.length === 31,
    10,
    () => JSON.stringify(got),
  );
  assert.deepEqual(
    got.filter(([channel]) => channel === "room:3"),
    sent,
  );
  assert.deepEqual(
    got.filter(([channel]) => channel !== "room:3"),
    [["room:4", "followed"]],
  );
  assert.deepEqual(client.channels.slice(0, 1), ["room:3"]);
});

test("a client stays the same session when it reconnects, and ends when it is disconnected", async (t) => {
  const client = open(t, "dan", { channels: ["room:5"] });
  const { session } = await reached(client, "live");
  await client.follow("room:6");
  const dan = await sessions("dan");
  assert.deepEqual(await dan.list(), [session]);
  await dan.end();
  const { error } = await reached(client, "ended");
  assert.equal(error.code, "disconnected");
});

test("a place is kept from one client to the next", async (t) => {
  let place;
  const resume = { load: () => place, save: (text) => void (place = text) };
  const first = open(t, "fay", { channels: ["room:7"], resume });
  await reached(first, "live");
  first.close();
  for (const n of [1, 2, 3]) await send("room:7", "note", n);
  const got = [];
  for await (const { data } of open(t, "fay", { channels: ["room:7"], resume })) {
    got.push(data);
    if (got.length === 3) break;
  }
  assert.deepEqual(got, [1, 2, 3]);
  place = "null";
  const lost = open(t, "fay", { channels: ["room:7"], resume });
  const gaps = [];
  lost.onGap((gap) => gaps.push(gap));
  await reached(lost, "live");
  assert.deepEqual(gaps, [{}]);
});

test("a client that starts with the newest events gets them, also of a channel that it follows later", async (t) => {
  for (const n of [1, 2, 3, 4]) {
    await send("room:8", "note", n);
    await send("room:9", "note", n);
  }
  const client = open(t, "gil", { channels: ["room:8"], last: 2 });
  const got = [];
  // The event that another test has sent to everybody is among the newest, too.
  client.onEvent(({ channel, data }) => channel.startsWith("room:") && got.push([channel, data]));
  await until(() => got.length === 2, 10, "two events");
  await client.follow("room:9");
  await until(() => got.length === 4, 10, "four events");
  assert.deepEqual(got, [
    ["room:8", 3],
    ["room:8", 4],
    ["room:9", 3],
    ["room:9", 4],
  ]);
});

test("another device continues after what was acknowledged", async (t) => {
  const options = { channels: ["room:ack"], token: () => token("ada", 600) };
  const phone = open(t, "ada", options);
  await reached(phone, "live");
  const acks = acknowledge(phone, url, { device: "inbox", auto: false, token: options.token });
  const shown = [];
  phone.onEvent((event) => shown.push(event));
  for (const data of [1, 2, 3]) await send("room:ack", "x", data);
  await until(() => shown.length === 3, 10, "three events");
  acks.ack(shown[1].cursor);
  await acks.close();
  const laptop = connect(`${url}?device=inbox`, { ...options, after: "acked", minDelay: 50 });
  t.after(() => laptop.close());
  const got = [];
  laptop.onEvent((event) => got.push(event.data));
  await until(() => got.length === 1, 10, "the event that was not acknowledged");
  await send("room:ack", "x", 4);
  await until(() => got.length === 2, 10, "another event");
  assert.deepEqual(got, [3, 4]);
});
