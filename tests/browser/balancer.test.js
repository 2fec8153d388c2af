// A stock EventSource of another origin behind each balancer, while no node is there and when one is back.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { freePort, startBrowser, startDev, startNode } from "./dev.js";

const deploy = resolve(import.meta.dirname, "../../deploy");
const files = {
  nginx: { name: "nginx.conf", listen: "listen 8080", args: (file) => ["-e", "stderr", "-g", "daemon off;", "-c", file] },
  haproxy: { name: "haproxy.cfg", listen: "bind :8080", args: (file) => ["-db", "-f", file] },
};

let page;
let browser;

before(async () => {
  // Its pages are of another origin than the balancer's.
  page = await startDev();
  browser = await startBrowser();
});

after(async () => {
  await browser?.stop();
  await page?.stop();
});

async function startBalancer(kind, node) {
  const { name, listen, args } = files[kind];
  const dir = await mkdtemp(join(tmpdir(), "fanfare-balancer-"));
  const port = await freePort();
  const text = (await readFile(join(deploy, name), "utf8"))
    .replaceAll(/node-[abc]:8080/g, `127.0.0.1:${node}`)
    .replace(listen, listen.replace(/:?8080/, `127.0.0.1:${port}`))
    .replaceAll("/tmp/nginx", join(dir, "nginx"));
  await writeFile(join(dir, "config"), text);
  const child = spawn(kind, args(join(dir, "config")), {
    env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
    stdio: "ignore",
  });
  return {
    url: `http://127.0.0.1:${port}`,
    async stop() {
      child.kill("SIGTERM");
      await once(child, "exit");
      await rm(dir, { recursive: true, force: true });
    },
  };
}

for (const kind of ["nginx", "haproxy"]) {
  test(`a page of another origin outlives ${kind} without a node, keeps its position, and is served when one is there`, async () => {
    const port = await freePort();
    const balancer = await startBalancer(kind, port);
    let node;
    try {
      const { page: tab } = await browser.page();
      await tab.goto(`${page.url}/healthz`);
      await tab.evaluate((url) => {
        window.got = [];
        window.source = new EventSource(url, { withCredentials: true });
        for (const type of ["overloaded", "connected"]) {
          source.addEventListener(type, (event) => got.push({ type, id: event.lastEventId }));
        }
      }, `${balancer.url}/v1/events?user=7&after=17-3`);
      await tab.waitForFunction(() => got.filter((event) => event.type === "overloaded").length >= 2, null, {
        timeout: 60_000,
      });
      assert.notEqual(await tab.evaluate("source.readyState"), 2, "it has not given up");
      assert.deepEqual(new Set(await tab.evaluate("got.map((event) => event.id)")), new Set(["17-3"]));
      node = await startNode(port, {
        FANFARE_HTTP__ALLOWED_ORIGINS: page.url,
        FANFARE_DRAIN__NOTICE: "0s",
        FANFARE_DRAIN__WINDOW: "0s",
      });
      await tab.waitForFunction(() => got.some((event) => event.type === "connected"), null, { timeout: 60_000 });
      await tab.close();
    } finally {
      await balancer.stop();
      await node?.stop();
    }
  });
}
