// The publisher, each way, on a real Redis that is killed, loads its data, stands still and refuses, and a node that drains: every
// event is stored once and in order, and nothing after its `until`.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis as IORedis } from "ioredis";
import { createClient } from "redis";
import { overHttp, overIntake, overRedis, Publisher } from "../../dist/publish.js";
import { Node, secret, token, until } from "../support/nodes.js";
import { Redis } from "../support/redis.js";

/** Seconds after which something hangs, also on a busy machine. */
const PATIENCE = 60;
const CHANNELS = 3;
const SESSION = "0b5c0f9e-3c58-4f0e-9c43-0b6a3f2f8f11";
// Attempts end soon, so that a Redis that stands still for longer leaves commands behind that nobody waits for.
const OPTIONS = { timeout: 500, minDelay: 20, maxDelay: 200, retryFor: 2 * PATIENCE * 1000 };

let redis;
let node;
let admin;
let nodeRedis;
let ioredis;

const quiet = (client) => client.on("error", () => {});

before(async () => {
  redis = await new Redis({ durable: true }).start();
  node = await new Node({
    FANFARE_REDIS__URL: redis.url,
    FANFARE_REDIS__TIMEOUT: "1s",
    FANFARE_AUTH__MODE: "jwt",
    FANFARE_AUTH__JWT__SECRET: secret,
    FANFARE_LEASE__TTL: "1s",
    FANFARE_DRAIN__NOTICE: "0s",
    FANFARE_DRAIN__WINDOW: "0s",
    FANFARE_LOG__LEVEL: "error",
    FANFARE_RETENTION__EVENTS: "100000",
  }).start();
  admin = await quiet(createClient({ url: redis.url, commandOptions: { timeout: PATIENCE * 1000 } })).connect();
  nodeRedis = await quiet(createClient({ url: redis.url })).connect();
  ioredis = quiet(new IORedis(redis.url, { enableOfflineQueue: false, autoResendUnfulfilledCommands: false }));
});

after(async () => {
  await ioredis?.disconnect();
  await nodeRedis?.destroy();
  await admin?.destroy();
  await node?.stop("SIGKILL");
  await redis?.stop();
});

const bearer = () => token("publisher", 600, { publish: ["*", "user:*", "broadcast"] });

const WAYS = {
  "over HTTP": () => overHttp(`${node.url}/v1/publish`, { token: bearer }),
  "over Redis with redis": () => overRedis(nodeRedis),
  "over Redis with ioredis": () => overRedis(ioredis),
  "over the intake with redis": () => overIntake(nodeRedis),
  "over the intake with ioredis": () => overIntake(ioredis),
};

const failure = (promise) => promise.then(assert.fail, (error) => error);

/** What a channel has stored. */
async function stored(channel) {
  const entries = await admin.xRange(`fanfare:{${channel}}:log`, "-", "+");
  return entries.map(({ message }) => message.d);
}

/** Waits until a command succeeds: Redis may be loading. */
async function answered(command) {
  await until(() => admin.sendCommand(command).catch(() => false), PATIENCE, command.join(" "));
}

/**
 * The faults, one after another. Each lasts until the ways of the second column have noticed it: until `noticed`, which says
 * whether they have, is true.
 */
const FAULTS = [
  ["Redis is killed, and loads its data for a second", /./, killRedis],
  ["Redis stands still", /./, stopRedis],
  ["Redis is out of memory", /./, fillRedis],
  ["Redis has lost its functions", /over Redis/, loseFunctions],
  ["the node drains", /HTTP/, drainNode],
];

async function killRedis(noticed) {
  await redis.kill();
  await until(noticed, PATIENCE, "all notice that Redis is down");
  await redis.start({ loading: 300 });
  const reply = () => admin.sendCommand(["DBSIZE"]).catch(({ message }) => message);
  await until(async () => /^LOADING/.test(await reply()), PATIENCE, "Redis loads");
  await sleep(300);
  await answered(["CONFIG", "SET", "key-load-delay", "0"]);
  await until(async () => typeof (await reply()) === "number", PATIENCE, "Redis has loaded");
}

async function stopRedis(noticed) {
  redis.signal("SIGSTOP");
  await until(noticed, PATIENCE, "all notice that Redis stands still");
  redis.signal("SIGCONT");
}

async function fillRedis(noticed) {
  await answered(["CONFIG", "SET", "maxmemory", "1"]);
  await until(noticed, PATIENCE, "all notice that Redis is out of memory");
  await answered(["CONFIG", "SET", "maxmemory", "0"]);
}

async function loseFunctions(noticed) {
  const lose = async () => {
    // A node may load them again at once.
    await answered(["FUNCTION", "FLUSH"]);
    return noticed();
  };
  await until(lose, PATIENCE, "all who call a function notice that it is lost");
}

async function drainNode(noticed) {
  await node.stop("SIGTERM");
  await until(noticed, PATIENCE, "all notice that the node is gone");
  await node.start();
}

/** Publishes numbered events to some channels until it is stopped, each with the next one before it is stored. */
class Numbering {
  publisher;
  counts;
  #stopped = false;
  #done;

  constructor(transport, channels) {
    this.publisher = new Publisher(transport, OPTIONS);
    this.counts = Object.fromEntries(channels.map((channel) => [channel, 0]));
    this.#done = Promise.all(channels.map((channel) => this.#number(channel)));
  }

  async #number(channel) {
    const events = [];
    while (!this.#stopped) {
      await this.publisher.ready();
      this.counts[channel] += 1;
      events.push(this.publisher.publish({ channel, data: this.counts[channel] }));
      await sleep(5);
    }
    await Promise.all(events);
  }

  /** Waits until a further event is stored that was published from now on. */
  async lives() {
    const { published } = this.publisher.counts;
    await until(() => this.publisher.counts.published > published + 10, PATIENCE, "events are stored");
  }

  async stop() {
    this.#stopped = true;
    await this.#done;
    await this.publisher.close();
  }

  async abandon() {
    this.#stopped = true;
    this.#done.catch(() => {});
    await this.publisher.close(0);
  }
}

test("whatever fails, every event is stored once, and in order", { timeout: 5 * PATIENCE * 1000 }, async (t) => {
  // For Redis to load.
  await Promise.all(Array.from({ length: 5000 }, (_, n) => admin.set(`key-${n}`, "1")));
  const all = Object.entries(WAYS).map(([way, open], n) => {
    const channels = Array.from({ length: CHANNELS }, (_, room) => `room:${n}-${room}`);
    return { way, numbering: new Numbering(open(), channels) };
  });
  const each = (act) => Promise.all(all.map(({ numbering }) => act(numbering)));
  t.after(() => each((numbering) => numbering.abandon()));
  const retries = () => all.map(({ numbering }) => numbering.publisher.counts.retries);
  for (const [fault, who, act] of FAULTS) {
    await each((numbering) => numbering.lives());
    const before = retries();
    t.diagnostic(fault);
    await act(() => retries().every((count, n) => count > before[n] || !who.test(all[n].way)));
    await each((numbering) => numbering.lives());
  }
  await each((numbering) => numbering.stop());
  for (const { way, numbering } of all) {
    for (const [channel, count] of Object.entries(numbering.counts)) {
      await until(async () => (await stored(channel)).length >= count, PATIENCE, `${way}: ${count} events of ${channel}`);
      assert.deepEqual(
        await stored(channel),
        Array.from({ length: count }, (_, n) => String(n + 1)),
        way,
      );
    }
    t.diagnostic(`${way}: ${JSON.stringify(numbering.publisher.counts)}`);
  }
});

for (const [way, open] of Object.entries(WAYS)) {
  test(`${way}: while Redis is down until after the event's time, it is never stored`, async () => {
    const channel = `late:${way.replaceAll(" ", "-")}`;
    const publisher = new Publisher(open(), OPTIONS);
    await publisher.publish({ channel, data: "first" });
    await redis.kill();
    const late = failure(publisher.publish({ channel, data: "late", until: Date.now() + 300 }));
    const later = publisher.publish({ channel, data: "later", until: Date.now() + PATIENCE * 1000 });
    assert.equal((await late).code, "expired");
    await sleep(200);
    await redis.start();
    await later;
    await publisher.close();
    await until(async () => (await stored(channel)).includes("later"), PATIENCE, "the event that is not late");
    assert.deepEqual(await stored(channel), ["first", "later"]);
    assert.deepEqual([publisher.counts.expired, publisher.counts.published], [1, 2]);
  });
}

test("while Redis stands still until after the event's time, nobody knows the outcome; the intake drops the event", async () => {
  for (const [way, open] of Object.entries(WAYS)) {
    const channel = `slow:${way.replaceAll(" ", "-")}`;
    const publisher = new Publisher(open(), { ...OPTIONS, timeout: 10_000 });
    await publisher.publish({ channel, data: "first" });
    redis.signal("SIGSTOP");
    const error = await failure(publisher.publish({ channel, data: "late", until: Date.now() + 300 }));
    assert.deepEqual([error.code, error.unknown], ["expired", true], way);
    await sleep(100);
    redis.signal("SIGCONT");
    await publisher.publish({ channel, data: "later" });
    await publisher.close();
    await until(async () => (await stored(channel)).includes("later"), PATIENCE, "the event that is not late");
    const wanted = ["first", "later"];
    // What Redis had received is carried out when it goes on, if it does not know the time.
    assert.deepEqual(
      (await stored(channel)).filter((data) => way.includes("intake") || data !== "late"),
      wanted,
      way,
    );
  }
});

test("the intake drops an entry that no node publishes before its time", async () => {
  const publisher = new Publisher(overIntake(nodeRedis), OPTIONS);
  await node.stop();
  await publisher.publish({ channel: "night", data: "late", until: Date.now() + 200 });
  await publisher.publish({ channel: "night", data: "kept" });
  await sleep(300);
  await node.start();
  await until(async () => (await stored("night")).includes("kept"), PATIENCE, "the other entry");
  assert.deepEqual(await stored("night"), ["kept"]);
  await publisher.close();
});

test("a Redis user without the right is told so at once", async () => {
  await admin.sendCommand(["ACL", "SETUSER", "reader", "on", ">password", "~*", "+@connection", "+get", "+info"]);
  const url = redis.url.replace("redis://", "redis://reader:password@");
  const client = await quiet(createClient({ url })).connect();
  const publisher = new Publisher(overRedis(client), OPTIONS);
  const error = await failure(publisher.publish({ channel: "room:7", data: 1 }));
  assert.deepEqual([error.code, error.unknown, publisher.counts.retries], ["refused", false, 0]);
  assert.match(error.message, /NOPERM .*fcall/);
  client.destroy();
});

test("Redis users with the documented rights publish", async () => {
  const page = await readFile(new URL("../../../../docs/operations.md", import.meta.url), "utf8");
  const rules = Object.fromEntries(Array.from(page.matchAll(/ {4}ACL SETUSER (a-\S*publisher) (on .*)/g), ([, ...rule]) => rule));
  for (const [user, over] of Object.entries({ "a-publisher": overIntake, "a-room-publisher": overRedis })) {
    await admin.sendCommand(["ACL", "SETUSER", user, "reset", ...rules[user].split(" ")]);
    const options = { username: user, password: "password" };
    const clients = {
      redis: await quiet(createClient({ url: redis.url, ...options })).connect(),
      ioredis: quiet(new IORedis(redis.url, { ...options, enableOfflineQueue: false, autoResendUnfulfilledCommands: false })),
    };
    for (const [name, client] of Object.entries(clients)) {
      const publisher = new Publisher(over(client), OPTIONS);
      await publisher.publish({ channel: "room:rights", data: `${user} ${name}`, until: Date.now() + PATIENCE * 1000 });
      await until(async () => (await stored("room:rights")).includes(`${user} ${name}`), PATIENCE, `${user} ${name}`);
    }
    clients.redis.destroy();
    clients.ioredis.disconnect();
  }
});

test("a token that the node refuses is asked for again; a channel that it does not grant is a final answer", async () => {
  const bearers = [token("publisher", -100), token("publisher", 600, { publish: ["room:*"] })];
  const asked = [];
  const transport = overHttp(`${node.url}/v1/publish`, { token: () => asked.push(0) && bearers[Math.min(asked.length, 2) - 1] });
  const publisher = new Publisher(transport, OPTIONS);
  await publisher.publish({ channel: "room:7", data: 1 });
  assert.equal(asked.length, 2);
  const [granted, refused] = await Promise.allSettled(
    ["room:8", "order:8"].map((channel) => publisher.publish({ channel, data: 1 })),
  );
  assert.equal(granted.status, "fulfilled");
  assert.deepEqual([refused.reason.code, refused.reason.unknown], ["no-grant", false]);
});

test("the session that does not get the event is stored with it", async () => {
  for (const [way, open] of Object.entries(WAYS)) {
    const channel = `except:${way.replaceAll(" ", "-")}`;
    const publisher = new Publisher(open(), OPTIONS);
    await publisher.publish({ channel, data: 1, except: `alice/${SESSION}` });
    await until(async () => (await stored(channel)).length === 1, PATIENCE, channel);
    const [{ message }] = await admin.xRange(`fanfare:{${channel}}:log`, "-", "+");
    assert.equal(message.x, `alice/${SESSION}`);
    await publisher.close();
  }
});

test("an event for several channels is stored once in each, also when the call is repeated", async () => {
  for (const [way, open] of Object.entries(WAYS)) {
    const channels = ["a", "b"].map((name) => `each:${name}:${way.replaceAll(" ", "-")}`);
    const publisher = new Publisher(open(), OPTIONS);
    const [first] = await publisher.publishEach(channels, { data: "x" });
    const again = await publisher.publishEach(channels, { data: "x", key: first.key });
    assert.deepEqual(
      again.map(({ key }) => key),
      [first.key, first.key],
    );
    for (const channel of channels) {
      await publisher.publish({ channel, data: "end" });
      await until(async () => (await stored(channel)).includes("end"), PATIENCE, channel);
      assert.deepEqual(await stored(channel), ["x", "end"], way);
    }
    await publisher.close();
  }
});

test("an event is checked as a node checks it", async () => {
  const long = "ä".repeat(64);
  const events = [
    { channel: "" },
    { channel: "a".repeat(255) },
    { channel: "a".repeat(256) },
    { channel: "azAZ09-_.:@|/+=~%$!#&;" },
    ...["a b", "a*", "{a}", "ä", "a,b", 'a"', "a\n", "a\\"].map((channel) => ({ channel })),
    ...["", "a\nb", "a\r", "a\0", long, `${long}x`, "message", "order.paid", "a b", "\u0085"].map((type) => ({ type })),
    ...["connected", "disconnected", "shutdown", "superseded", "gap", "overloaded", "expired"].map((type) => ({ type })),
    ...["excepted", "end", "error", "open", "Error", "opened"].map((type) => ({ type })),
    ...["", long, `${long}x`, "a\tb", "a\u007f", "a\u0085", "a b", "\ud83d\ude00"].map((key) => ({ key })),
    ...[SESSION, `al/ice/${SESSION}`, `${"u".repeat(250)}/${SESSION}`, SESSION.toUpperCase()].map((except) => ({ except })),
    ...["", "alice", `/${SESSION}`, `a b/${SESSION}`, `${"u".repeat(251)}/${SESSION}`, `${SESSION}\n`].map((except) => ({
      except,
    })),
    ...["x".repeat(60 * 1024), "x".repeat(60 * 1024 + 1), "ä".repeat(30 * 1024 + 1), "", "a\0b"].map((data) => ({ data })),
  ];
  const verdict = async (event) => {
    const headers = { authorization: `Bearer ${bearer()}`, "content-type": "application/json" };
    const response = await fetch(`${node.url}/v1/publish`, { method: "POST", headers, body: JSON.stringify(event) });
    return (await response.json()).code ?? "published";
  };
  const publisher = new Publisher({ send: async (events) => events.map(({ key }) => ({ key, id: "1-0", repeat: false })) });
  let refused = 0;
  for (const given of events) {
    const event = { channel: "check", data: "x", ...given };
    const node = await verdict(event);
    const ours = await publisher.publish(event).then(
      () => "published",
      ({ code }) => code,
    );
    assert.equal(ours, node, JSON.stringify(given).slice(0, 100));
    if (node !== "published") refused += 1;
  }
  assert.ok(refused > 20 && refused < events.length - 8, `${refused} of ${events.length}`);
});

test("data arrives as it was given: text, bytes, JSON; what has no UTF-8 is refused", async () => {
  for (const [way, open] of Object.entries(WAYS)) {
    const channel = `data:${way.replaceAll(" ", "-")}`;
    const publisher = new Publisher(open(), OPTIONS);
    const given = ["plain", '"quoted"', "ä\n\ud83d\ude00", new TextEncoder().encode("\ufeffbytes ä"), { a: [1, "ä"] }, 7, null];
    for (const data of given) await publisher.publish({ channel, data, type: "note" });
    const wanted = ["plain", '"quoted"', "ä\n\ud83d\ude00", "\ufeffbytes ä", '{"a":[1,"ä"]}', "7", "null"];
    await until(async () => (await stored(channel)).length === wanted.length, PATIENCE, channel);
    assert.deepEqual(await stored(channel), wanted, way);
    for (const data of ["\ud83d", new Uint8Array([0xff]), undefined, 1n, Symbol("x")]) {
      assert.equal((await failure(publisher.publish({ channel, data }))).code, "bad-event");
    }
    await publisher.close();
  }
});
