// Compressed streams in the clients that people use: headless Chromium, Node's fetch, the package eventsource.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { EventSource } from "eventsource";
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

afterEach(() => browser.closePages());

/** Data of about so many bytes: some is stored, some compressed. */
const sizes = [0, 100, 299, 300, 1000, 20_000, 50_000, 10];
const order = (id, bytes) => ({
  id,
  items: Array.from({ length: bytes / 40 }, (_, n) => ({ sku: `${(n * 7919) % 1_000_000}`, name: "flange", quantity: n % 20 })),
});

async function disconnect(user) {
  const response = await fetch(`${dev.url}/v1/users/${user}/sessions`, { method: "DELETE" });
  assert.deepEqual(await response.json(), { disconnected: 1 });
}

async function figure(name) {
  const text = await (await fetch(`${dev.url}/metrics`)).text();
  return Number(text.match(new RegExp(`^${name} (\\S+)$`, "m"))[1]);
}

/** Publishes one event after another, each once the one before was seen: none may wait for those behind it. */
async function oneByOne(channel, seen) {
  for (const [id, bytes] of sizes.entries()) {
    const data = order(id, bytes);
    await publish(dev.url, { channel, data });
    assert.deepEqual(JSON.parse(await seen()), data);
  }
}

/** A promise that gives up in time. */
const soon = (promise, what) => {
  let timer;
  const late = new Promise((_, fail) => (timer = setTimeout(() => fail(new Error(`no ${what}`)), 20_000)));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
};

/** What comes one at a time, for who waits for it. */
class Mailbox {
  #items = [];
  #waiting = [];
  put(item) {
    const next = this.#waiting.shift();
    if (next) next(item);
    else this.#items.push(item);
  }
  take(what) {
    if (this.#items.length) return Promise.resolve(this.#items.shift());
    return soon(new Promise((found) => this.#waiting.push(found)), what);
  }
}

test("Chromium shows each event at once, and the end of a stream is no fault", async () => {
  const { page } = await browser.page();
  const streams = [];
  page.on("response", (response) => {
    if (response.url().includes("/v1/events")) streams.push(response);
  });
  const faults = [];
  page.on("requestfailed", (request) => faults.push(`${request.url()} ${request.failure()?.errorText}`));
  page.on("console", (message) => {
    if (message.type() === "error" && message.location().url.includes("/v1/events")) faults.push(message.text());
  });
  const before = await figure("sse_gzip_connections_total");
  await page.goto(`${dev.url}/healthz`);
  await page.evaluate(() => {
    window.got = [];
    window.opened = 0;
    window.states = [];
    window.source = new EventSource("/v1/events?user=gil&channel=gzip:1");
    source.addEventListener("message", (event) => got.push(event.data));
    source.addEventListener("open", () => (window.opened += 1));
    source.addEventListener("error", () => states.push(source.readyState));
  });
  await page.waitForFunction("opened === 1");
  let count = 0;
  const seen = async () => {
    count += 1;
    await page.waitForFunction((count) => got.length === count, count, { timeout: 20_000 });
    return page.evaluate("got.at(-1)");
  };
  await oneByOne("gzip:1", seen);
  assert.equal(await page.evaluate("source.readyState"), 1, "still open");

  await disconnect("gil");
  await page.waitForFunction("opened === 2", null, { timeout: 20_000 });
  assert.deepEqual(await page.evaluate("states"), [0], "one error event, after which it connects again by itself");
  await oneByOne("gzip:1", seen);
  assert.deepEqual(faults, []);
  assert.equal(streams.length, 2);
  for (const response of streams) {
    assert.equal((await response.allHeaders())["content-encoding"], "gzip");
  }
  assert.equal((await figure("sse_gzip_connections_total")) - before, 2);
});

test("fetch in Chromium reads a stream to its end", async () => {
  const { page } = await browser.page();
  await page.goto(`${dev.url}/healthz`);
  await page.evaluate(() => {
    window.text = "";
    window.end = (async () => {
      const response = await fetch("/v1/events?user=hal&channel=gzip:2");
      const decoder = new TextDecoder();
      for await (const bytes of response.body) text += decoder.decode(bytes, { stream: true });
      return response.headers.get("content-encoding");
    })();
  });
  await page.waitForFunction(() => text.includes("event: connected"));
  const data = JSON.stringify(order(1, 5000));
  await publish(dev.url, { channel: "gzip:2", data });
  await page.waitForFunction((data) => text.includes(`data: ${data}\n\n`), data);
  await disconnect("hal");
  assert.equal(await page.evaluate("end"), "gzip");
  assert.match(await page.evaluate("text"), /event: disconnected\n.*\n\n$/);
});

test("Node's fetch shows each event at once, and reads a stream to its end", async () => {
  const response = await fetch(`${dev.url}/v1/events?user=ida&channel=gzip:3`);
  assert.equal(response.headers.get("content-encoding"), "gzip");
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  const until = async (wanted) => {
    for (;;) {
      const match = text.match(wanted);
      if (match) {
        text = text.slice(match.index + match[0].length);
        return match[1];
      }
      const { value, done } = await soon(reader.read(), wanted);
      assert.ok(!done, `it ended before ${wanted}: ${text}`);
      text += value;
    }
  };
  await until(/event: connected\n.*\n\n/);
  await oneByOne("gzip:3", () => until(/data: (.*)\n\n/));
  await disconnect("ida");
  await until(/event: disconnected\n.*\n\n/);
  assert.deepEqual(await soon(reader.read(), "end"), { value: undefined, done: true });
});

test("the package eventsource shows each event at once, and comes back after the end of a stream", async () => {
  const codings = [];
  const source = new EventSource(`${dev.url}/v1/events?user=jon&channel=gzip:4`, {
    fetch: async (url, init) => {
      const response = await fetch(url, init);
      codings.push(response.headers.get("content-encoding"));
      return response;
    },
  });
  try {
    const [messages, opened] = [new Mailbox(), new Mailbox()];
    source.addEventListener("message", (event) => messages.put(event.data));
    source.addEventListener("connected", () => opened.put(null));
    await opened.take("stream");
    await oneByOne("gzip:4", () => messages.take("event"));
    await disconnect("jon");
    await opened.take("second stream");
    await oneByOne("gzip:4", () => messages.take("event"));
    assert.deepEqual(codings, ["gzip", "gzip"]);
  } finally {
    source.close();
  }
});
