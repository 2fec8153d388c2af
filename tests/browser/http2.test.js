// Stock EventSources in headless Chromium over HTTP/2: many of them on one connection.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startBrowser, startTls } from "./dev.js";

/** More than the six connections that a browser opens to a server by HTTP/1.1, in each of the pages. */
const SOURCES = 8;
const PAGES = 3;

let node;
let browser;

before(async () => {
  node = await startTls();
  browser = await startBrowser();
});

after(async () => {
  await browser?.stop();
  await node?.stop();
});

/** A page with so many EventSources, each of a user of its own; answers when all are open. */
async function listening(name) {
  const { page } = await browser.page();
  await page.goto(`${node.url}/healthz`);
  await page.evaluate(
    ([name, count]) => {
      window.got = Array.from({ length: count }, () => []);
      window.opened = 0;
      got.forEach((list, n) => {
        const source = new EventSource(`/v1/events?user=${name}-${n}&channel=room:1`);
        source.addEventListener("open", () => (window.opened += 1));
        source.onmessage = (event) => list.push(event.data);
      });
    },
    [name, SOURCES],
  );
  await page.waitForFunction(`opened === ${SOURCES}`, null, { timeout: 20_000 });
  return page;
}

const sockets = (page) =>
  page.evaluate(async () => {
    const text = await (await fetch("/metrics")).text();
    return Number(text.match(/^fanfare_http_connections_total (\d+)$/m)[1]);
  });

const send = (page, data) =>
  page.evaluate(async (data) => {
    const body = JSON.stringify({ channel: "room:1", data });
    const headers = { "content-type": "application/json" };
    const answer = await fetch("/v1/publish", { method: "POST", headers, body });
    if (!answer.ok) throw new Error(await answer.text());
  }, data);

const arrived = (pages, count) =>
  Promise.all(pages.map((page) => page.waitForFunction(`got.every((list) => list.length === ${count})`)));

test("many streams in several pages share one connection, and calls go beside them", async () => {
  const first = await listening("page-0");
  assert.equal(
    await first.evaluate(() => performance.getEntriesByType("navigation")[0].nextHopProtocol),
    "h2",
  );
  const before = await sockets(first);
  const pages = [first];
  for (let n = 1; n < PAGES; n += 1) pages.push(await listening(`page-${n}`));
  await send(first, "a");
  await arrived(pages, 1);
  assert.equal(await sockets(first), before, "no further connection was made");

  // All are ended and come back by themselves.
  for (let n = 0; n < PAGES; n += 1) {
    await first.evaluate(
      async ([n, count]) => {
        for (let k = 0; k < count; k += 1) await fetch(`/v1/users/page-${n}-${k}/sessions`, { method: "DELETE" });
      },
      [n, SOURCES],
    );
  }
  await send(first, "b");
  await Promise.all(pages.map((page) => page.waitForFunction(`opened === ${2 * SOURCES}`)));
  await send(first, "c");
  await arrived(pages, 3);
  for (const page of pages) {
    const lists = await page.evaluate("got");
    assert.deepEqual(lists, Array.from({ length: SOURCES }, () => ["a", "b", "c"]));
  }
});
