// Clients that need a browser, in headless Chromium: the native EventSource, and sse.js.

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { print, types } from "./line.js";

const [which, url] = process.argv.slice(2);

const sources = {
  EventSource: "new EventSource(url)",
  "sse.js": "new SSE(url, { autoReconnect: true, useLastEventId: true })",
};

const context = await chromium.launchPersistentContext("", {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
  ],
});
const page = await context.newPage();
page.on("pageerror", (error) => console.error(error));
await page.exposeFunction("print", print);
// Of the same origin as the stream.
await page.goto(new URL("/healthz", url).href);
const library = fileURLToPath(import.meta.resolve("sse.js"));
await page.addScriptTag({ type: "module", content: `${await readFile(library, "utf8")}\nwindow.SSE = SSE;` });
await page.waitForFunction("window.SSE");
await page.evaluate(`{
  const url = ${JSON.stringify(url)};
  const source = ${sources[which]};
  for (const type of ${JSON.stringify(types)}) {
    source.addEventListener(type, (event) => print({ type, id: event.lastEventId, data: event.data }));
  }
}`);
