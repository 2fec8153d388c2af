// A stock EventSource in Chromium with a ticket in its URL: it comes back by itself, and no other uses its URL.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { publish, startBrowser, startNode } from "./dev.js";

let node;
let browser;

before(async () => {
  node = await startNode(0, { FANFARE_DRAIN__NOTICE: "0s", FANFARE_DRAIN__WINDOW: "0s" });
  browser = await startBrowser();
});

after(async () => {
  await browser?.stop();
  await node?.stop();
});

test("an EventSource with a ticket resumes its session, and another with its URL ends for good", async () => {
  const { page } = await browser.page();
  await page.goto(`${node.url}/healthz`);
  await page.evaluate(async () => {
    const { ticket } = await (await fetch("/v1/tickets?user=7", { method: "POST" })).json();
    window.url = `/v1/events?channel=room:1&ticket=${ticket}`;
    window.sessions = [];
    window.data = [];
    window.source = new EventSource(window.url);
    window.source.addEventListener("connected", (event) => window.sessions.push(JSON.parse(event.data).session));
    window.source.addEventListener("note", (event) => window.data.push(event.data));
  });
  for (let round = 1; round <= 3; round += 1) {
    await page.waitForFunction((round) => window.sessions.length === round, round);
    const response = await fetch(`${node.url}/v1/users/7/sessions`, { method: "DELETE" });
    assert.deepEqual(await response.json(), { disconnected: 1 });
    await publish(node.url, { channel: "room:1", type: "note", data: `${round}` });
    await page.waitForFunction((round) => window.data.length === round, round);
  }
  await page.waitForFunction(() => window.sessions.length === 4);
  const sessions = await page.evaluate(() => window.sessions);
  assert.equal(new Set(sessions).size, 1, `one session: ${sessions}`);
  assert.deepEqual(await page.evaluate(() => window.data), ["1", "2", "3"]);
  const ended = await page.evaluate(
    () =>
      new Promise((resolve) => {
        const other = new EventSource(window.url);
        other.onopen = () => resolve("open");
        other.onerror = () => resolve(other.readyState === EventSource.CLOSED ? "closed" : "retries");
      }),
  );
  assert.equal(ended, "closed");
  assert.equal(await page.evaluate(() => window.source.readyState), 1, "the first is still open");
});
