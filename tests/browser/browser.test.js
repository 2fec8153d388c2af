// A stock EventSource in headless Chromium against `fanfare dev`.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { publish, startBrowser, startDev } from "./dev.js";

let dev;
let browser;

before(async () => {
  dev = await startDev();
  browser = await startBrowser();
});

after(async () => {
  await browser?.stop();
  assert.equal(await dev?.stop(), 0, "fanfare dev ends cleanly");
});

// A browser opens six connections to a server at most, and each page holds one.
afterEach(() => browser.closePages());

/** A page with nothing but a stock EventSource, which writes down all it gets. */
async function listening(query, types = []) {
  const { page } = await browser.page();
  await page.goto(`${dev.url}/healthz`);
  await page.evaluate(
    ([query, types]) => {
      window.got = [];
      window.errors = 0;
      window.opened = 0;
      window.source = new EventSource(`/v1/events?${query}`);
      const note = (event) => got.push({ type: event.type, data: event.data, id: event.lastEventId });
      for (const type of ["message", "connected", "gap", "disconnected", "overloaded", ...types]) {
        source.addEventListener(type, note);
      }
      source.addEventListener("open", () => (window.opened += 1));
      source.addEventListener("error", () => (window.errors += 1));
    },
    [query, types],
  );
  await arrived(page, (got) => got.some((event) => event.type === "connected"));
  return page;
}

/** Waits until what the page has got fits. */
async function arrived(page, fits) {
  await page.waitForFunction(`(${fits})(got)`, null, { timeout: 20_000 });
  return page.evaluate("got");
}

const plain = (events) => events.filter((event) => event.type === "message").map((event) => event.data);

async function disconnect(user) {
  const response = await fetch(`${dev.url}/v1/users/${user}/sessions`, { method: "DELETE" });
  assert.deepEqual(await response.json(), { disconnected: 1 });
}

test("the page shows what is published", async () => {
  const { page, failures } = await browser.page();
  await page.goto(`${dev.url}/?demo=off`);
  await page.waitForSelector('#state[data-state="live"]');

  await publish(dev.url, { channel: "demo", type: "order.paid", data: { id: 7 } });
  await publish(dev.url, { channel: "user:dev", data: "for you\nalone" });
  await publish(dev.url, { channel: "broadcast", type: "<b>bold</b>", data: "<img src=x onerror=alert(1)>" });
  await publish(dev.url, { channel: "demo", type: "typing", data: "…", ephemeral: true });
  await page.waitForFunction(() => document.querySelectorAll("#events li").length === 4);
  const rows = await page.$$eval("#events li", (rows) =>
    rows.map((row) => [".channel", ".type", ".data"].map((cell) => row.querySelector(cell).textContent)),
  );
  assert.deepEqual(rows.reverse(), [
    ["demo", "order.paid", '{"id":7}'],
    ["user:dev", "message", "for you\nalone"],
    ["broadcast", "<b>bold</b>", "<img src=x onerror=alert(1)>"],
    ["demo", "typing", "…"],
  ]);

  await page.fill('#publish [name="type"]', "from.the.form");
  await page.click("#publish button");
  await page.waitForFunction(() => document.querySelector("#events .type").textContent === "from.the.form");
  assert.match(await page.textContent("#answer"), /^published at \d+-\d+$/);
  assert.deepEqual(failures, []);
});

test("the page's demos are drawn from the stream", async () => {
  const { page, failures } = await browser.page();
  await page.goto(dev.url);
  await page.waitForFunction(() => document.querySelector("#progress").value === 100);
  await page.waitForFunction(() => document.querySelector("#reply").textContent.endsWith("once and in order."));
  // The picture in README.md: SCREENSHOT=../../docs/images/dev.png npm test
  if (process.env.SCREENSHOT) await page.screenshot({ path: process.env.SCREENSHOT });
  assert.deepEqual(failures, []);
});

test("a page that was disconnected says so and comes back when asked", async () => {
  const { page } = await browser.page();
  await page.goto(`${dev.url}/?demo=off`);
  await page.waitForSelector('#state[data-state="live"]');
  const session = await page.textContent("#session");
  const response = await fetch(`${dev.url}/v1/users/dev/sessions/${session}`, { method: "DELETE" });
  assert.deepEqual(await response.json(), { disconnected: 1 });
  await page.waitForSelector('#state[data-state="ended"]');
  await publish(dev.url, { channel: "demo", type: "meanwhile", data: "x" });
  await page.click("#again");
  await page.waitForFunction(() => document.querySelector("#events .type")?.textContent === "meanwhile");
});

test("the page can be disconnected and subscribed to other channels, and misses nothing", async () => {
  const { page, failures } = await browser.page();
  await page.goto(`${dev.url}/?demo=off`);
  await page.waitForSelector('#state[data-state="live"]');
  await page.click("#unplug");
  await page.waitForFunction(() => document.querySelector("#state").textContent === "unplugged");
  await publish(dev.url, [1, 2, 3].map((n) => ({ channel: "demo", data: `${n}` })));
  await page.waitForFunction(() => document.querySelectorAll("#events li").length === 3);
  await page.fill('#follow [name="channels"]', "demo, room:9");
  await page.click("#follow button");
  await page.waitForSelector('#state[data-state="live"]');
  await publish(dev.url, { channel: "room:9", data: "4" });
  await page.waitForFunction(() => document.querySelectorAll("#events li").length === 4);
  const data = await page.$$eval("#events .data", (cells) => cells.map((cell) => cell.textContent));
  assert.deepEqual(data, ["4", "3", "2", "1"]);
  assert.deepEqual(failures, []);
});

test("types and lines arrive as they were published", async () => {
  const page = await listening("user=ann&channel=room:1", ["order.paid"]);
  await publish(dev.url, { channel: "room:1", type: "order.paid", data: { id: 7 } });
  await publish(dev.url, { channel: "room:1", data: "one\ntwo\r\nthree\rfour\n\nid: 9\nevent: x" });
  await publish(dev.url, { channel: "room:1", data: "" });
  await publish(dev.url, { channel: "room:1", data: " {ü} 🎺 " });
  const got = await arrived(page, (got) => got.length === 5);
  assert.deepEqual(
    got.slice(1).map(({ type, data }) => [type, data]),
    [
      ["order.paid", '{"id":7}'],
      ["message", "one\ntwo\nthree\nfour\n\nid: 9\nevent: x"],
      ["message", ""],
      ["message", " {ü} 🎺 "],
    ],
  );
});

test("a stream that was ended resumes by Last-Event-ID and loses nothing", async () => {
  const page = await listening("user=bob&channel=room:2&channel=room:3&session=0b5c0f9e-3c58-4f0e-9c43-0b6a3f2f8f11");
  const batch = (from, to) =>
    publish(
      dev.url,
      Array.from({ length: to - from }, (_, n) => ({ channel: `room:${2 + (n % 2)}`, data: `${from + n}` })),
    );
  const inOrder = (events, channel) => plain(events).map(Number).filter((n) => n % 2 === channel);
  await batch(0, 10);
  await arrived(page, (got) => got.filter((event) => event.type === "message").length === 10);
  await disconnect("bob");
  await page.waitForFunction("errors === 1");
  // The browser waits out `retry:` before it comes back; these are published meanwhile.
  await batch(10, 200);
  const got = await arrived(page, (got) => got.filter((event) => event.type === "message").length >= 200);
  await page.waitForFunction("opened === 2");
  assert.equal(new Set(plain(got)).size, 200, "each once");
  for (const channel of [0, 1]) {
    const numbers = inOrder(got, channel);
    assert.deepEqual(numbers, numbers.toSorted((a, b) => a - b), "in order");
  }
  assert.deepEqual(got.filter((event) => event.type === "gap"), []);
});

test("a stream that never got an event loses nothing either", async () => {
  const page = await listening("user=cyd&channel=room:4");
  await disconnect("cyd");
  await page.waitForFunction("errors === 1");
  await publish(dev.url, [{ channel: "room:4", data: "a" }, { channel: "room:4", data: "b" }]);
  const got = await arrived(page, (got) => got.filter((event) => event.type === "message").length === 2);
  assert.deepEqual(plain(got), ["a", "b"]);
});
