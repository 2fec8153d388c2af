// Fifty clients, three nodes on one Redis, and faults from a seed between and in them: no event is lost, repeated or out of
// order, and the clients behave as the documentation says.
//
//     CHAOS_SECONDS=600 CHAOS_SEED=7 node --test test/nodes/faults.test.js

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "../../dist/index.js";
import { Node, publish, reached, startRedis, until, within } from "../support/nodes.js";
import { FaultProxy, randomFrom } from "../support/proxy.js";

const SECONDS = Number(process.env.CHAOS_SECONDS ?? 20);
const SEED = Number(process.env.CHAOS_SEED ?? 1);
const CLIENTS = 50;
const ROOMS = 5;
const IDLE_TIMEOUT = 2500;
const CONNECT_TIMEOUT = 2000;
/** How late a timer may be on a busy machine. */
const SLACK = 1500;

/** The states that may follow each state. */
const FOLLOWS = {
  // Again, if the channels change meanwhile.
  connecting: ["live", "waiting", "connecting"],
  live: ["waiting", "connecting"],
  waiting: ["connecting"],
};

const settings = {
  FANFARE_AUTH__MODE: "none",
  FANFARE_STREAM__HEARTBEAT: "700ms",
  FANFARE_STREAM__RETRY: "100ms",
  FANFARE_STREAM__RETRY_SPREAD: "200ms",
  FANFARE_DRAIN__NOTICE: "0s",
  FANFARE_DRAIN__WINDOW: "500ms",
  // A connection that stands still is not waited for.
  FANFARE_DRAIN__DEADLINE: "3s",
  FANFARE_LOG__LEVEL: "error",
  // Not to keep faults from the channels: the test publishes fast.
  FANFARE_RETENTION__EVENTS: "100000",
};

let redis;
let nodes;
let proxy;

before(async () => {
  redis = await startRedis();
  nodes = Array.from(
    { length: 3 },
    (_, n) => new Node({ ...settings, FANFARE_REDIS__URL: redis.url, FANFARE_NODE__ID: `node-${n}` }),
  );
  for (const node of nodes) await node.start();
  proxy = await new FaultProxy(nodes, SEED).start();
});

after(async () => {
  await proxy?.stop();
  for (const node of nodes ?? []) await node.stop("SIGKILL");
  await redis?.stop();
});

/** One client, with all that it says. */
class Witness {
  user;
  room;
  states = [];
  received = { own: [], room: [] };
  gaps = [];
  followed = 0;

  constructor(n) {
    this.user = `client-${n}`;
    this.room = `room:${n % ROOMS}`;
    this.client = connect(`${proxy.url}/v1/events?user=${this.user}`, {
      channels: [this.room],
      idleTimeout: IDLE_TIMEOUT,
      connectTimeout: CONNECT_TIMEOUT,
      minDelay: 200,
      maxDelay: 2000,
    });
    this.client.onState((state) => this.states.push({ ...state, at: performance.now(), date: Date.now() }));
    this.client.onGap((gap) => this.gaps.push(gap));
    this.client.onEvent(({ channel, data }) => {
      if (channel === this.room) this.received.room.push(data);
      else if (channel === `user:${this.user}`) this.received.own.push(data);
    });
  }

  /** Changes other channels while events arrive. */
  async change(running, random) {
    while (running()) {
      await sleep(500 + random() * 2000);
      await this.client.follow(`extra:${this.user}`);
      await this.client.unfollow(`extra:${this.user}`);
      this.followed += 1;
    }
  }
}

/** Publishes numbered events to a channel, each when the one before is known to be stored. */
async function number(channel, pause, running) {
  let n = 0;
  while (running()) {
    n += 1;
    await publish(nodes, { channel, data: n, key: `${channel}-${n}` });
    await sleep(pause);
  }
  return n;
}

/** Kills and stops nodes, one at a time. */
async function disturb(running, random) {
  let faults = 0;
  while (running()) {
    await sleep(2000 + random() * 3000);
    const node = nodes[Math.floor(random() * nodes.length)];
    await node.stop(random() < 0.5 ? "SIGKILL" : "SIGTERM");
    await sleep(random() * 1000);
    await node.start();
    faults += 1;
  }
  return faults;
}

test(`${CLIENTS} clients over ${SECONDS} s of faults from seed ${SEED}`, { timeout: (SECONDS + 240) * 1000 }, async (t) => {
  const random = randomFrom(SEED + 1);
  const witnesses = Array.from({ length: CLIENTS }, (_, n) => new Witness(n));
  await within(60, "all live", Promise.all(witnesses.map(({ client }) => reached(client, "live"))));

  const end = Date.now() + SECONDS * 1000;
  const running = () => Date.now() < end;
  proxy.faulty = true;
  const rooms = Array.from({ length: ROOMS }, (_, n) => number(`room:${n}`, 100, running));
  const own = witnesses.map(({ user }) => number(`user:${user}`, 1000, running));
  const changes = witnesses.slice(0, 10).map((witness) => witness.change(running, random));
  const disturbed = await within(SECONDS + 30, "nodes restarted", disturb(running, random));
  const published = Promise.all([Promise.all(rooms), Promise.all(own)]);
  const [inRooms, forUsers] = await within(30, "events published", published);
  proxy.mend();
  await within(30, "channels followed", Promise.all(changes));
  const complete = ({ received }, n) => received.room.length >= inRooms[n % ROOMS] && received.own.length >= forUsers[n];
  await until(
    () => witnesses.every(complete),
    60,
    () => JSON.stringify(witnesses.filter((w, n) => !complete(w, n)).map(({ user, states }) => [user, states.at(-1)])),
  );
  // What comes twice would come now.
  await sleep(300);
  for (const { client } of witnesses) client.close();

  let events = 0;
  for (const [n, { user, received, gaps, states }] of witnesses.entries()) {
    const numbers = (count) => Array.from({ length: count }, (_, k) => k + 1);
    assert.deepEqual(received.room, numbers(inRooms[n % ROOMS]), `${user}: the room's events, each once and in order`);
    assert.deepEqual(received.own, numbers(forUsers[n]), `${user}: its own events, each once and in order`);
    assert.deepEqual(gaps, []);
    events += received.room.length + received.own.length;
    judgeStates(user, states.slice(0, -1));
    judgeRequests(user, states);
  }
  judgeFreezes(witnesses);
  const all = witnesses.flatMap(({ states }) => states);
  const count = (wanted) => all.filter(({ name }) => name === wanted).length;
  t.diagnostic(`${events} events received, lost 0, repeated 0, out of order 0`);
  t.diagnostic(
    `${count("live")} connections, ${count("waiting")} waits, faults ${JSON.stringify(proxy.counts)}, nodes stopped ${disturbed} times`,
  );
  t.diagnostic(`${witnesses.reduce((sum, { followed }) => sum + followed, 0)} times other channels followed and left`);
  for (const [fault, times] of Object.entries(proxy.counts)) assert.ok(times > 0, `there was no ${fault}`);
});

/** The states follow each other as documented, and no attempt is earlier than its wait allows. */
function judgeStates(user, states) {
  for (const [n, state] of states.entries()) {
    const next = states[n + 1];
    if (!next) break;
    assert.ok(FOLLOWS[state.name]?.includes(next.name), `${user}: ${state.name} and then ${next.name}`);
    if (state.name !== "waiting") continue;
    assert.ok(state.attempt >= 1 && state.error instanceof Error);
    // Timers count in whole milliseconds.
    assert.ok(next.at - state.at >= state.delay - 2, `${user}: ${next.at - state.at} ms in place of ${state.delay} ms`);
  }
}

/** The proxy has seen no request that no state announced. */
function judgeRequests(user, states) {
  const announced = states.filter(({ name }) => name === "connecting").length;
  const requests = proxy.requests.filter((request) => request.user === user).length;
  assert.ok(requests <= announced, `${user}: ${requests} requests, ${announced} announced`);
}

/** A stream that stands still is left within the watchdog's time. */
function judgeFreezes(witnesses) {
  const last = Date.now() - IDLE_TIMEOUT - SLACK;
  for (const { user, at } of proxy.freezes.filter((freeze) => freeze.at < last)) {
    const { states } = witnesses.find((witness) => witness.user === user);
    const left = states.find(({ date, name }) => date >= at && name !== "live");
    assert.ok(left && left.date - at <= IDLE_TIMEOUT + SLACK, `${user}: frozen at ${at}, left at ${left?.date}`);
  }
}
