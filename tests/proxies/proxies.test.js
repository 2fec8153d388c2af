// docs/proxies.md, followed as it is printed: two nodes, a proxy, and Chromium behind it. `scripts/test-proxies` builds
// the proxies.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { promisify } from "node:util";
import { startBrowser } from "../browser/dev.js";
import { blocks, Reader } from "../browser/reader.js";

const PROXIES = {
  caddy: { files: ["Caddyfile"], starts: "serving initial configuration", port: 8443, scheme: "https", protocol: "h2" },
  traefik: {
    files: ["traefik.yml", "nodes.yml"],
    starts: "Starting provider *file.Provider",
    port: 8443,
    scheme: "https",
    protocol: "h2",
  },
};
const NODES = [8080, 8090];

let reader;
let browser;

afterEach(async () => {
  await browser?.stop();
  await reader?.end();
});

const serve = (port) => {
  const command = `exec fanfare serve --listen 127.0.0.1:${port} --redis redis://127.0.0.1:6379 --auth none`;
  return reader.shell(command, { env: { FANFARE_HTTP__TRUSTED_PROXIES: "127.0.0.1" } }).prints("listening on http://");
};

/** Sends a signal to the node on a printed port. */
const signal = (name, port) => reader.shell(`pkill -${name} -f -- '--listen 127.0.0.1:${port} '`).ends();

/** A node's own answer, without the proxy. */
const ask = (port, path, init) => fetch(`http://127.0.0.1:${reader.own(`${port}`)}${path}`, init);

async function streams(port) {
  const text = await (await ask(port, "/metrics")).text();
  return Number(text.match(/^sse_active_connections (\d+)$/m)[1]);
}

async function publish(port, data) {
  const headers = { "content-type": "application/json" };
  const body = JSON.stringify({ channel: "room:1", type: "note", data });
  const answer = await ask(port, "/v1/publish", { method: "POST", headers, body });
  assert.equal(answer.status, 200, await answer.text());
}

/** Starts what the page says; answers the proxy's address. */
async function follow(kind) {
  const { files, starts, port, scheme } = PROXIES[kind];
  reader = await Reader.begin(6379, ...NODES, 8443);
  const all = await blocks("proxies.md");
  const nodes = reader.shell(all[0].text);
  for (const port of NODES) await nodes.prints(`listening on http://127.0.0.1:${reader.own(`${port}`)}`);
  for (const name of files) {
    const { text } = all.find(({ file }) => file === name);
    await writeFile(join(reader.folder, name), reader.own(text));
  }
  const command = all.find(({ language, text }) => language === "sh" && text.includes(`exec ${kind} `));
  const proxy = reader.shell(command.text, { env: { HOME: reader.home, XDG_DATA_HOME: reader.home } });
  const address = `${scheme}://127.0.0.1:${reader.own(`${port}`)}`;
  await proxy.prints(starts);
  return address;
}

/** A page of the proxy's origin. */
async function open(address) {
  const { page } = await browser.page();
  // The proxy may not have seen the nodes yet.
  for (let tries = 0; (await page.goto(`${address}/healthz`))?.status() !== 200; tries += 1) {
    assert.ok(tries < 50, "the proxy does not pass /healthz");
    await setTimeout(200);
  }
  await page.evaluate(() => {
    window.listen = (user) => {
      const source = new EventSource(`/v1/events?user=${user}&channel=room:1`);
      const listener = { source, got: [], connected: 0, overloaded: 0 };
      source.addEventListener("note", (event) => listener.got.push(event.data));
      source.addEventListener("connected", () => (listener.connected += 1));
      source.addEventListener("overloaded", () => (listener.overloaded += 1));
      return listener;
    };
    window.main = listen("7");
  });
  await page.waitForFunction("main.connected === 1");
  return page;
}

const has = (page, ...texts) => page.waitForFunction((texts) => main.got.join() === texts, texts.join(), { timeout: 30_000 });

for (const kind of Object.keys(PROXIES)) {
  test(`${kind}: events come at once, a killed node costs none, a draining one gets no streams`, { timeout: 120_000 }, async () => {
    const address = await follow(kind);
    browser = await startBrowser();
    const page = await open(address);
    const protocol = await page.evaluate(() => performance.getEntriesByType("navigation")[0].nextHopProtocol);
    assert.equal(protocol, PROXIES[kind].protocol);
    await publish(NODES[0], "one");
    await has(page, "one");

    const counts = await Promise.all(NODES.map(streams));
    assert.equal(counts[0] + counts[1], 1);
    const [dead, other] = counts[0] === 1 ? NODES : NODES.toReversed();
    await signal("KILL", dead);
    await publish(other, "two");
    await has(page, "one", "two");
    assert.equal(await streams(other), 1);

    const paths = ["/metrics", "/readyz", "/ready", "/v1/nodes", "/v1/streams", "/v1/revocations", "/v1/dead-letters", "/v1/dead-letters/1-0"];
    for (const path of paths) {
      assert.equal(await page.evaluate(async (path) => (await fetch(path)).status, path), 404, path);
    }

    await serve(dead);
    // The proxies ask each second.
    await setTimeout(3_000);
    await signal("TERM", other);
    while ((await ask(other, "/ready")).status !== 503) await setTimeout(50);
    await setTimeout(2_500);
    await page.evaluate(() => (window.late = ["a", "b", "c", "d"].map((user) => listen(user))));
    await page.waitForFunction("late.every(({ connected }) => connected === 1)");
    assert.ok((await streams(dead)) >= 4, "the four are on the node that does not drain");
    await publish(dead, "three");
    await has(page, "one", "two", "three");
  });

  test(`${kind}: a silent stream stays open`, { timeout: 120_000 }, async () => {
    const address = await follow(kind);
    browser = await startBrowser();
    const page = await open(address);
    await setTimeout(66_000);
    await publish(NODES[0], "late");
    await has(page, "late");
    assert.equal(await page.evaluate("main.connected"), 1);
  });
}

test("caddy: an EventSource outlives the time in which no node is there", { timeout: 120_000 }, async () => {
  const address = await follow("caddy");
  browser = await startBrowser();
  const page = await open(address);
  await publish(NODES[0], "one");
  await has(page, "one");
  for (const port of NODES) await signal("KILL", port);
  await page.waitForFunction("main.overloaded >= 2", null, { timeout: 30_000 });
  assert.notEqual(await page.evaluate("main.source.readyState"), 2, "it has not given up");
  await serve(NODES[0]);
  await publish(NODES[0], "two");
  await has(page, "one", "two");
});

test("caddy: Chromium listens over HTTP/3", { timeout: 120_000 }, async () => {
  const address = await follow("caddy");
  const { host } = new URL(address);
  // Chromium accepts no certificate over QUIC that it does not know, but one whose key it is given.
  const show = `openssl s_client -connect ${host} -servername 127.0.0.1 </dev/null 2>/dev/null | openssl x509 -pubkey -noout`;
  const digest = "openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64";
  const { stdout } = await promisify(execFile)("bash", ["-c", `${show} | ${digest}`]);
  browser = await startBrowser({ quic: { host, key: stdout.trim() } });
  const page = await open(address);
  const protocol = await page.evaluate(() => performance.getEntriesByType("navigation")[0].nextHopProtocol);
  assert.equal(protocol, "h3");
  await publish(NODES[0], "one");
  await has(page, "one");
});
