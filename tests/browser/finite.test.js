// A stock EventSource in headless Chromium reads finite streams: it resumes where it was, and stops at the end.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { freePort, startBrowser, startNode } from "./dev.js";

const type = { "content-type": "text/plain" };

let node;
let browser;

before(async () => {
  // Each response is short, so the browser comes back several times.
  node = await startNode(await freePort(), { FANFARE_FINITE__LIVE_AGE: "1s" });
  browser = await startBrowser();
});

after(async () => {
  await browser?.stop();
  await node?.stop();
});

async function call(method, name, body, headers = {}) {
  const response = await fetch(`${node.url}/v1/stream/${name}`, { method, body, headers: { ...type, ...headers } });
  assert.ok(response.ok, await response.text());
}

/** The script of the page about finite streams, which shows the text of a stream. */
async function script() {
  const page = await readFile(join(import.meta.dirname, "../../docs/finite-streams.md"), "utf8");
  return page.match(/```js\n(.*?)```/s)[1];
}

/** A page that reads a stream; `requests` has the `Last-Event-ID` and the status of each of its connections. */
async function reading(name) {
  const { page } = await browser.page();
  const requests = [];
  page.on("response", async (response) => {
    if (!response.url().includes("live=sse")) return;
    requests.push([(await response.request().allHeaders())["last-event-id"], response.status()]);
  });
  await page.goto(`${node.url}/healthz`);
  await page.evaluate(`document.body.textContent = ""; ${(await script()).replace("chat-7", name).replace("const source", "window.source")}`);
  return { page, requests, shows: (text) => page.waitForFunction((text) => document.body.textContent === text, text) };
}

test("an EventSource gets each byte once over several connections, and stops at the end", async () => {
  await call("PUT", "answer", "one ");
  const { page, requests, shows } = await reading("answer");
  await shows("one ");
  let text = "one ";
  for (let n = 0; requests.length < 4; n += 1) {
    await call("POST", "answer", `${n} `);
    text += `${n} `;
    await shows(text);
  }
  await call("POST", "answer", "end", { "stream-closed": "true" });
  await shows(`${text}end`);
  await page.waitForFunction("source.readyState === EventSource.CLOSED");
  assert.equal(requests[0][0], undefined, "the first connection has no id");
  assert.ok(requests.slice(1).every(([id]) => /^\d{16}_\d{16}$/.test(id)), JSON.stringify(requests));
  assert.deepEqual(requests.map(([, status]) => status), [...requests.slice(1).map(() => 200), 204]);
});

test("an EventSource stops after a stream that had ended before, and after an empty one", async () => {
  await call("PUT", "over", "all", { "stream-closed": "true" });
  await call("PUT", "empty", "", { "stream-closed": "true" });
  for (const [name, text] of [["over", "all"], ["empty", ""]]) {
    const { page, requests, shows } = await reading(name);
    await page.waitForFunction("source.readyState === EventSource.CLOSED");
    await shows(text);
    assert.deepEqual(requests.map(([, status]) => status), [200, 204], name);
  }
});
