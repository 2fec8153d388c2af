// Fifty clients, three nodes on one Redis, and faults from a seed between and in them: no event is lost, repeated or out of
// order, and the clients behave as the documentation says. In Node, and in Chromium.
//
//     CHAOS_SECONDS=600 CHAOS_SEED=7 clients/typescript/check faults

import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { bundle, startBrowser } from "../support/browser.js";
import { Node, publish, startRedis, until, within } from "../support/nodes.js";
import { FaultProxy } from "../support/proxy.js";
import { randomFrom } from "../support/random.js";
import { judgeEvents, judgeFreezes, judgeRequests, judgeStates } from "../support/verdict.js";
import { Witnesses } from "../support/witnesses.js";

const SECONDS = Number(process.env.CHAOS_SECONDS ?? 20);
const SEED = Number(process.env.CHAOS_SEED ?? 1);
const CLIENTS = 50;
const ROOMS = 5;
/** Clients of one page: a browser opens six connections to an address at most. */
const OF_A_PAGE = 5;
// Long enough for nodes on a busy machine, which clients that give up and come again would keep busy.
const OPTIONS = { idleTimeout: 5000, connectTimeout: 15_000, minDelay: 200, maxDelay: 2000 };
/** Seconds after which something hangs, also on a busy machine. */
const PATIENCE = 180;

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

before(async () => {
  redis = await startRedis();
  nodes = Array.from(
    { length: 3 },
    (_, n) => new Node({ ...settings, FANFARE_REDIS__URL: redis.url, FANFARE_NODE__ID: `node-${n}` }),
  );
  for (const node of nodes) await node.start();
});

after(async () => {
  for (const node of nodes ?? []) await node.stop("SIGKILL");
  await redis?.stop();
});

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

/** Runs the clients that `open` makes through the faults. Each of the groups it returns has the methods of `Witnesses`. */
async function endure(t, specs, open) {
  const proxy = await new FaultProxy(nodes, SEED).start();
  t.after(() => proxy.stop());
  const groups = await open(
    specs.map((spec, n) => ({ ...spec, url: proxy.url(Math.floor(n / OF_A_PAGE)) })),
    proxy,
  );
  const each = (method, ...args) => Promise.all(groups.map((group) => group[method](...args)));
  const progress = async () => (await each("progress")).flat();
  await until(
    async () => (await progress()).every(({ connections }) => connections),
    PATIENCE,
    async () => JSON.stringify((await progress()).filter(({ connections }) => !connections)),
  );

  const random = randomFrom(SEED + 1);
  const end = Date.now() + SECONDS * 1000;
  let failed = false;
  t.after(() => {
    failed = true;
  });
  // On a busy machine there may be few connections: until each fault has happened.
  const running = () => !failed && (Date.now() < end || Object.values(proxy.counts).includes(0));
  proxy.faulty = true;
  const rooms = [...new Set(specs.map(({ room }) => room))];
  const channels = [...rooms, ...specs.map(({ user }) => `user:${user}`)];
  const numbered = channels.map((channel, n) => number(channel, n < rooms.length ? 100 : 1000, running));
  const all = [disturb(running, random), each("change", end, SEED), ...numbered];
  const mended = until(() => !running(), SECONDS + PATIENCE, "each fault once").then(() => proxy.mend());
  const [disturbed, , ...counts] = await within(SECONDS + 2 * PATIENCE, "faults, events and channels", Promise.all(all));
  await mended;
  const wanted = Object.fromEntries(channels.map((channel, n) => [channel, counts[n]]));
  const behind = async () => {
    const all = (await progress()).map((state, n) => ({ ...state, of: [wanted[specs[n].room], wanted[`user:${state.user}`]] }));
    return all.filter(({ room, own, of }) => room < of[0] || own < of[1]);
  };
  await until(
    async () => !(await behind()).length,
    PATIENCE,
    async () => JSON.stringify(await behind()),
  );
  // What comes twice would come now.
  await sleep(300);
  await each("close");
  judge(t, await each("testimony"), specs, wanted, proxy);
  t.diagnostic(`nodes stopped ${disturbed} times`);
}

function judge(t, testimonies, specs, wanted, proxy) {
  const rooms = Object.fromEntries(specs.map(({ user, room }) => [user, room]));
  let latest = 0;
  for (const { all, ticks } of testimonies) {
    for (const witness of all) {
      const { user } = witness;
      judgeEvents(witness, wanted[rooms[user]], wanted[`user:${user}`]);
      judgeStates(witness);
      judgeRequests(witness, proxy.requests);
      latest = Math.max(latest, judgeFreezes(witness, ticks, proxy.freezes, OPTIONS));
    }
  }
  const all = testimonies.flatMap((testimony) => testimony.all);
  const sum = (figure) => all.reduce((total, witness) => total + figure(witness), 0);
  const states = (wanted) => sum((witness) => witness.states.filter(({ name }) => name === wanted).length);
  const errors = {};
  for (const { states } of all) for (const { error } of states) if (error) errors[error] = (errors[error] ?? 0) + 1;
  t.diagnostic(`errors ${JSON.stringify(errors)}`);
  const events = sum(({ received }) => received.room.length + received.own.length);
  t.diagnostic(`${events} events received, lost 0, repeated 0, out of order 0`);
  t.diagnostic(`${states("live")} connections, ${states("waiting")} waits, faults ${JSON.stringify(proxy.counts)}`);
  t.diagnostic(`${proxy.freezes.length} streams stood still; the latest was left ${latest} ms after the watchdog's time`);
  t.diagnostic(`${sum(({ followed }) => followed)} times other channels followed and left`);
}

const specsOf = (kind) => Array.from({ length: CLIENTS }, (_, n) => ({ user: `${kind}-${n}`, room: `room:${kind}-${n % ROOMS}` }));
const title = `${CLIENTS} clients over ${SECONDS} s of faults from seed ${SEED}`;
const timeout = (SECONDS + 4 * PATIENCE) * 1000;

test(`${title}, in Node`, { timeout }, (t) =>
  endure(t, specsOf("node"), (specs) => {
    const witnesses = new Witnesses(specs, OPTIONS);
    // Clients that go on connecting would keep a failed test from its end.
    t.after(() => witnesses.close());
    return [witnesses];
  }),
);

test(`${title}, in Chromium`, { timeout }, (t) =>
  endure(t, specsOf("chromium"), async (specs) => {
    const browser = await startBrowser();
    t.after(() => browser.stop());
    const code = await bundle("test/support/witnesses.js", "witnesses");
    const pages = [];
    for (let n = 0; n < specs.length; n += OF_A_PAGE) {
      const page = await browser.page(`${specs[n].url}/healthz`);
      await page.evaluate(code);
      await page.evaluate(
        ([specs, options]) => {
          window.here = new witnesses.Witnesses(specs, options);
        },
        [specs.slice(n, n + OF_A_PAGE), OPTIONS],
      );
      const call =
        (method) =>
        (...args) =>
          page.evaluate(([method, args]) => here[method](...args), [method, args]);
      pages.push(Object.fromEntries(["progress", "change", "close", "testimony"].map((method) => [method, call(method)])));
    }
    return pages;
  }),
);
