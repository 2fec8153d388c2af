// Pages of another origin in Chromium: what they can make a node do with what the browser adds by itself.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startBrowser, startDev, startNode } from "./dev.js";

let page;
let node;
let browser;

before(async () => {
  // Its pages are of another origin than the node's.
  page = await startDev();
  node = await startNode(0, { FANFARE_DRAIN__NOTICE: "0s", FANFARE_DRAIN__WINDOW: "0s" });
  browser = await startBrowser();
});

after(async () => {
  await browser?.stop();
  await node?.stop();
  await page?.stop();
});

async function figure(name) {
  const text = await (await fetch(`${node.url}/metrics`)).text();
  const line = text.split("\n").find((line) => line.startsWith(`${name} `));
  return line ? Number(line.slice(name.length + 1)) : 0;
}

const refused = () => figure('fanfare_http_problems_total{code="foreign-origin"}');

test("a frame, an image and requests of another origin open no stream and publish nothing", async () => {
  let expected = 0;
  // Another port of the same site, and another site.
  for (const origin of [page.url, page.url.replace("127.0.0.1", "localhost")]) {
    const { page: tab } = await browser.page();
    await tab.goto(`${origin}/healthz`);
    await tab.evaluate(async (node) => {
      const done = (element, url) =>
        new Promise((resolve) => {
          element.onload = element.onerror = resolve;
          element.src = url;
          document.body.append(element);
        });
      await done(document.createElement("iframe"), `${node}/v1/events?user=7`);
      await done(document.createElement("img"), `${node}/v1/events?user=7`);
      await fetch(`${node}/v1/events?user=7`, { mode: "no-cors", credentials: "include" });
      const body = JSON.stringify({ channel: "room:1", data: "x" });
      await fetch(`${node}/v1/publish`, { method: "POST", mode: "no-cors", body });
      const form = document.createElement("form");
      Object.assign(form, { method: "POST", action: `${node}/v1/publish`, enctype: "text/plain", target: "sink" });
      const sink = document.createElement("iframe");
      sink.name = "sink";
      document.body.append(sink, form);
      const loaded = new Promise((resolve) => (sink.onload = resolve));
      form.submit();
      await loaded;
    }, node.url);
    expected += 5;
    assert.equal(await refused(), expected, origin);
    await tab.close();
  }
  assert.equal(await figure("sse_connections_total"), 0);
  assert.equal(await figure('fanfare_publishes_total{result="stored"}'), 0);
});

test("a page of the node's own origin opens a stream and publishes", async () => {
  const { page: tab } = await browser.page();
  await tab.goto(`${node.url}/healthz`);
  const status = await tab.evaluate(async () => {
    const source = new EventSource("/v1/events?user=7");
    await new Promise((resolve, fail) => Object.assign(source, { onopen: resolve, onerror: fail }));
    const headers = { "content-type": "application/json" };
    const body = JSON.stringify({ channel: "room:1", data: "x" });
    return (await fetch("/v1/publish", { method: "POST", headers, body })).status;
  });
  assert.equal(status, 200);
  assert.equal(await figure("sse_connections_total"), 1);
  await tab.close();
});
