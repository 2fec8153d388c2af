// Clients that need a browser, in headless Chromium: the native EventSource, sse.js, and libraries that put messages into the page.

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { print, types } from "./line.js";

const [which, url] = process.argv.slice(2);

/** Attributes that htmx reads. */
const connect = `"${url.replaceAll("&", "&amp;")}"`;

/**
 * For each client: the files that its documentation says to load, what the page has, and what begins to listen. `listen` prints the
 * events of an EventSource.
 */
const clients = {
  EventSource: { run: "listen(new EventSource(url))" },
  "sse.js": {
    modules: { SSE: "sse.js" },
    run: "listen(new SSE(url, { autoReconnect: true, useLastEventId: true }))",
  },
  // Renders plain messages. What is printed is what it has put into the page.
  turbo: {
    modules: { renderStreamMessage: "@hotwired/turbo/dist/turbo.es2017-esm.js" },
    body: '<div id="log"></div>',
    run: `
      const received = new Map();
      new MutationObserver((changes) => {
        for (const { textContent } of changes.flatMap(({ addedNodes }) => [...addedNodes])) send(received.get(textContent));
      }).observe(document.getElementById("log"), { childList: true });
      const element = document.createElement("turbo-stream-source");
      element.setAttribute("src", url);
      document.body.append(element);
      element.streamSource.addEventListener("message", (event) => received.set(String(JSON.parse(event.data).n), event));
      listen(element.streamSource, types.filter((type) => type !== "message"));`,
  },
  "htmx-2": {
    scripts: ["htmx.org/dist/htmx.min.js", "htmx-ext-sse/sse.js"],
    body: `<div hx-ext="sse" sse-connect=${connect}><p sse-swap="${types}"></p></div>`,
    run: `
      document.body.addEventListener("htmx:sseMessage", ({ detail }) => send(detail));
      htmx.process(document.body);`,
  },
  // Swaps plain messages, and dispatches the others as events of the element.
  "htmx-4": {
    scripts: ["htmx-4/dist/htmx.min.js", "htmx-4/dist/ext/hx-sse.min.js"],
    body: `<div hx-sse:connect=${connect}></div>`,
    run: `
      document.body.addEventListener("htmx:sse:after:message", ({ detail: { message: { event, id, data } } }) => {
        if (!event) print({ type: "message", id, data });
      });
      for (const type of types.filter((type) => type !== "message")) {
        document.body.addEventListener(type, ({ detail: { id, data } }) => print({ type, id, data }));
      }
      htmx.process(document.body);`,
  },
};

const { modules = {}, scripts = [], body = "", run } = clients[which];
const text = (file) => readFile(fileURLToPath(import.meta.resolve(file)), "utf8");
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
for (const file of scripts) await page.addScriptTag({ content: await text(file) });
for (const [name, file] of Object.entries(modules)) {
  await page.addScriptTag({ type: "module", content: `${await text(file)}\nwindow[${JSON.stringify(name)}] = ${name};` });
  await page.waitForFunction((name) => name in window, name);
}
// After the libraries, which would look at it before they are complete.
await page.evaluate((body) => document.body.insertAdjacentHTML("beforeend", body), body);
await page.evaluate(`{
  const url = ${JSON.stringify(url)};
  const types = ${JSON.stringify(types)};
  const send = (event) => print({ type: event.type, id: event.lastEventId, data: event.data });
  const listen = (source, names = types) => names.forEach((name) => source.addEventListener(name, send));
  ${run}
}`);
