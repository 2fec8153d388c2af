// Components of React (in StrictMode), Vue and Svelte in headless Chromium, with a real node.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { bundle, startBrowser } from "../support/browser.js";
import { Node, publish, until } from "../support/nodes.js";

/** Seconds after which something hangs, also on a busy machine. */
const PATIENCE = 120;
const patience = { timeout: PATIENCE * 1000 };

let node;
let browser;

before(async () => {
  node = await new Node({
    FANFARE_AUTH__MODE: "none",
    FANFARE_DRAIN__NOTICE: "0s",
    FANFARE_DRAIN__WINDOW: "0s",
    FANFARE_LOG__LEVEL: "error",
  }).start();
  browser = await startBrowser();
});

after(async () => {
  await browser?.stop();
  await node?.stop();
});

afterEach(() => browser.closePages());

async function figure(name) {
  const text = await (await fetch(`${node.url}/metrics`)).text();
  return Number(text.match(new RegExp(`^${name} (\\d+)`, "m"))?.[1] ?? 0);
}

const active = (count) => until(async () => (await figure("sse_active_connections")) === count, PATIENCE, `${count} connections`);

for (const library of ["react", "vue", "svelte"]) {
  test(`${library}: every event, one stream while a component needs it`, { timeout: 600_000 }, async () => {
    const page = await browser.page(`${node.url}/healthz`);
    await page.evaluate(await bundle(`test/support/${library}.js`, "app"));
    const user = `of-${library}`;
    const send = (...numbers) =>
      publish(
        [node],
        numbers.map((data) => ({ channel: `user:${user}`, type: "number", data })),
      );
    const got = () => page.evaluate(() => got);
    const arrived = (list, count) => until(async () => (await got())[list].length >= count, PATIENCE, `${count} of ${list}`);
    const shown = (id, text) =>
      page.waitForFunction(([id, text]) => document.getElementById(id)?.textContent === text, [id, text], patience);
    const before = await figure("sse_connections_total");

    await page.evaluate((url) => {
      window.got = { typed: [], all: [], counts: [], gaps: [] };
      window.parts = app.start(url, got);
    }, `/v1/events?user=${user}`);
    assert.equal(await page.evaluate(() => parts.client.state.name), "idle");
    await page.evaluate(() => parts.both());
    await shown("state", "live");
    await shown("count", "0");
    const numbers = Array.from({ length: 50 }, (_, n) => n + 1);
    await send(...numbers);
    await arrived("all", 50);
    await shown("count", "50");
    assert.deepEqual((await got()).typed, numbers);
    assert.equal(await figure("sse_connections_total"), before + 1, "two components have one stream");

    await send(51);
    await shown("count", "51");
    assert.equal((await got()).counts.at(-1), 50, "the listener is that of the last render");

    await page.evaluate(() => parts.one());
    await page.waitForFunction(() => !document.getElementById("count"), null, patience);
    await send(52);
    await arrived("all", 52);
    assert.equal((await got()).typed.length, 51, "a component that is gone gets nothing");
    await active(1);

    await page.evaluate(() => parts.none());
    await active(0);
    await send(53);
    await page.evaluate(() => parts.both());
    await arrived("all", 53);
    assert.deepEqual((await got()).all, [...numbers, 51, 52, 53], "the stream continues from its place");
    assert.deepEqual((await got()).gaps, []);
    await page.close();
    await active(0);
  });
}
