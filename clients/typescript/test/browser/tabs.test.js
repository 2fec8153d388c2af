// Eight tabs of headless Chromium with one stream of a real node: whatever happens to the tab that leads, every tab has every event
// once.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { bundle, startBrowser } from "../support/browser.js";
import { Node, publish, until } from "../support/nodes.js";

const TABS = 8;
/** Seconds after which something hangs, also on a busy machine. */
const PATIENCE = 120;

let node;
let browser;
let code;

before(async () => {
  node = await new Node({
    FANFARE_AUTH__MODE: "none",
    FANFARE_DRAIN__NOTICE: "0s",
    FANFARE_DRAIN__WINDOW: "0s",
    FANFARE_LOG__LEVEL: "error",
  }).start();
  code = await bundle("test/support/page.js", "fanfare");
  browser = await startBrowser();
});

after(async () => {
  await browser?.stop();
  await node?.stop();
});

afterEach(() => browser.closePages());

/** Connections that the node has at the moment. */
async function connections() {
  const text = await (await fetch(`${node.url}/metrics`)).text();
  return Number(text.match(/^sse_active_connections (\d+)/m)[1]);
}

/** One tab with a client that shares the stream of `user`. */
class Tab {
  constructor(page, user, n) {
    this.page = page;
    this.user = user;
    this.lock = `tab ${user} ${n}`;
  }

  /** @param options those of the client; `ticks: false` takes the interval timer from the page */
  async open({ ticks = true, ...options } = {}) {
    await this.page.goto(`${node.url}/healthz`);
    await this.page.evaluate(code);
    await this.page.evaluate(
      ([user, lock, ticks, options]) => {
        if (!ticks) window.setInterval = () => 0;
        // Shows which tab has which lock.
        navigator.locks.request(lock, () => new Promise(() => {}));
        window.got = [];
        window.states = [];
        window.client = fanfare.connect(`/v1/events?user=${user}`, { ...options, share: fanfare.tabs() });
        client.onState(({ name }) => states.push(name));
        client.onGap((gap) => got.push({ gap, at: Date.now() }));
        client.onEvent(({ channel, data }) => got.push({ channel, data, at: Date.now() }));
      },
      [this.user, this.lock, ticks, options],
    );
    return this;
  }

  live() {
    return this.page.waitForFunction(() => client.state.name === "live", null, { timeout: PATIENCE * 1000 });
  }

  got() {
    return this.page.evaluate(() => got);
  }

  /** Whether this tab leads. */
  leads() {
    return this.page.evaluate(async (lock) => {
      const { held } = await navigator.locks.query();
      const client = (name) => held.find((lock) => lock.name.startsWith(name))?.clientId;
      return client("fanfare ") === client(lock);
    }, this.lock);
  }
}

/** Opens tabs, and waits until all are live. */
async function openTabs(user, options, count = TABS) {
  const open = async (n) => new Tab(await browser.page("about:blank"), user, n).open(options);
  const tabs = await Promise.all(Array.from({ length: count }, (_, n) => open(n)));
  for (const tab of tabs) await tab.live();
  return tabs;
}

async function leaderOf(tabs) {
  for (const tab of tabs) if (await tab.leads()) return tab;
  throw new Error("no tab leads");
}

/** Publishes numbers to a channel until it is stopped; `stop` returns the last one. */
function number(channel) {
  let running = true;
  let n = 0;
  const done = (async () => {
    while (running) {
      n += 1;
      await publish([node], { channel, data: n });
      await sleep(25);
    }
  })();
  return {
    reaches: (more) => {
      const from = n;
      return until(() => n >= from + more, PATIENCE, "events published");
    },
    async stop() {
      running = false;
      await done;
      return n;
    },
  };
}

/** Each tab gets the numbers up to the last, once and in order. Returns the longest time without an event. */
async function judge(tabs, channel, last) {
  let pause = 0;
  for (const { page, lock, got } of tabs) {
    const wanted = Array.from({ length: last }, (_, n) => n + 1);
    const ofChannel = async () => (await got.call({ page })).filter((item) => item.gap || item.channel === channel);
    await until(
      async () => (await ofChannel()).length >= last,
      PATIENCE,
      async () => `${lock}: ${(await ofChannel()).length} of ${last}`,
    );
    const events = await ofChannel();
    assert.deepEqual(
      events.map(({ data, gap }) => gap ?? data),
      wanted,
      lock,
    );
    for (let n = 1; n < events.length; n += 1) pause = Math.max(pause, events[n].at - events[n - 1].at);
  }
  return pause;
}

const oneConnection = () =>
  until(
    async () => (await connections()) === 1,
    PATIENCE,
    async () => `${await connections()} connections`,
  );

/** Events arrive while something is done to the leader. Returns the other tabs. */
async function leaderMeets(t, name, options, what) {
  const tabs = await openTabs(name, { channels: ["room:1"], ...options });
  await oneConnection();
  const numbers = number(`user:${name}`);
  await numbers.reaches(20);
  const leader = await leaderOf(tabs);
  const others = tabs.filter((tab) => tab !== leader);
  await what(leader, numbers, others);
  await numbers.reaches(40);
  const last = await numbers.stop();
  const pause = await judge(others, `user:${name}`, last);
  await oneConnection();
  t.diagnostic(`${last} events in ${others.length} tabs, each once; longest time without an event ${pause} ms`);
  return { leader, others, last };
}

// The lock passes to the next tab by itself: no timer may be needed.
const quick = { ticks: false };

test("the leader is closed", { timeout: 600_000 }, (t) => leaderMeets(t, "closed", quick, ({ page }) => page.close()));

test("the leader navigates away", { timeout: 600_000 }, (t) =>
  leaderMeets(t, "away", quick, ({ page }) => page.goto(`${node.url}/readyz`)),
);

test("the leader is frozen by the browser, and comes back", { timeout: 600_000 }, async (t) => {
  const { leader, last } = await leaderMeets(t, "lifecycle", quick, async ({ page }, numbers) => {
    const session = await page.context().newCDPSession(page);
    await session.send("Page.setWebLifecycleState", { state: "frozen" });
    await numbers.reaches(40);
    await session.send("Page.setWebLifecycleState", { state: "active" });
  });
  await judge([leader], "user:lifecycle", last);
});

test("the leader stands still, and another tab takes the lead after the time-out", { timeout: 600_000 }, async (t) => {
  const { leader, others, last } = await leaderMeets(t, "still", {}, async ({ page }, numbers, others) => {
    // A dialog stops all that the page does.
    const opened = new Promise((resolve) => page.once("dialog", resolve));
    page.evaluate(() => alert("stop")).catch(() => {});
    const dialog = await opened;
    await until(async () => (await Promise.all(others.map((tab) => tab.leads()))).includes(true), PATIENCE, "another leader");
    await numbers.reaches(40);
    await dialog.dismiss();
  });
  await judge([leader], "user:still", last);
  assert.equal((await Promise.all(others.map((tab) => tab.leads()))).filter(Boolean).length, 1);
});

test("tabs with channels of their own, and one that begins with old events, end up with one stream", {
  timeout: 600_000,
}, async () => {
  const publishTo = (channel, data) => publish([node], { channel, data });
  for (const n of [1, 2, 3]) await publishTo("room:old", n);
  const [first] = await openTabs("own", { channels: ["room:2"] }, 1);
  await publishTo("room:2", 1);
  const rest = [
    ["room:3", { channels: ["room:3"] }],
    ["room:old", { channels: ["room:old"], last: 2 }],
  ];
  const all = [["room:2", first]];
  for (const [n, [channel, options]] of rest.entries()) {
    const tab = await new Tab(await browser.page("about:blank"), "own", n + 1).open(options);
    await tab.live();
    all.push([channel, tab]);
    await publishTo("room:2", n + 2);
  }
  await oneConnection();
  await publishTo("room:3", 1);
  await publishTo("room:old", 4);
  const wanted = [[1, 2, 3], [1], [2, 3, 4]];
  for (const [n, [channel, tab]] of all.entries()) {
    await until(async () => (await tab.got()).length >= wanted[n].length, PATIENCE, channel);
    assert.deepEqual(
      (await tab.got()).map((event) => [event.channel, event.data]),
      wanted[n].map((data) => [channel, data]),
    );
  }
});
