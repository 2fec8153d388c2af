// The admin page in headless Chromium: three nodes, two thousand streams, hostile texts, a keyboard, two widths, two colour schemes.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { openStreams, startCluster, token, until } from "./cluster.js";
import { startBrowser } from "./dev.js";

const STREAMS = 2000;
const HOSTILE = `<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>\u202e'"\`\${1}`;
const ADMIN = token("ops", { admin: true });
const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

let cluster;
let browser;

before(async () => {
  cluster = await startCluster(3, { FANFARE_SESSION__PRESENCE_CHANNELS: "room:*", FANFARE_RETENTION__RULES: "room:* events=100 age=10m" });
  browser = await startBrowser();
});

after(async () => {
  await browser?.stop();
  await cluster?.stop();
});

afterEach(() => browser.closePages());

/** A page of the first node, with what it violates; signed in with a token, unless that is null. */
async function opened({ width = 1280, colorScheme = "light", as = ADMIN } = {}) {
  const { page, failures } = await browser.page();
  await page.setViewportSize({ width, height: 900 });
  await page.emulateMedia({ colorScheme });
  await page.addInitScript(() => {
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
  });
  await page.goto(cluster.nodes[0].admin);
  if (as !== null) {
    await page.fill('#enter [name="token"]', as);
    await page.click("#enter button");
    await page.waitForSelector("#inside:not([hidden])");
    await page.waitForFunction(() => document.querySelectorAll("#nodes tbody tr").length === 3);
  }
  return { page, failures };
}

/** Nothing ran that should not, and nothing failed. */
async function isClean({ page, failures }) {
  assert.deepEqual(await page.evaluate("window.violations"), []);
  assert.equal(await page.evaluate("window.hacked"), undefined);
  assert.deepEqual(failures, []);
}

/** The cells of a node's row by their heads. */
const row = (page, id) =>
  page.$eval(`#nodes tr[data-node="${id}"]`, (row) =>
    Object.fromEntries([...row.cells].map((cell) => [cell.dataset.label, cell.textContent])),
  );

/** A number at the beginning of a figure, with its unit. */
function figure(text) {
  const [, number, unit] = /^([\d,.]+) ?(\S*)/.exec(text);
  return Number(number.replaceAll(",", "")) * ({ kB: 1e3, MB: 1e6, GB: 1e9 }[unit] ?? 1);
}

async function call(method, path, body) {
  const headers = { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" };
  const response = await fetch(`${cluster.nodes[1].admin}${path}`, { method, headers, body: body && JSON.stringify(body) });
  const answer = await response.json();
  assert.ok(response.ok, JSON.stringify(answer));
  return answer;
}

/** Leaves an entry that cannot be published, and waits until it is dead. */
async function poison(fields) {
  await cluster.redis.send("XADD", "fanfare:ingest", "*", ...fields.flat());
  await until("the intake is settled", async () => (await cluster.redis.send("XLEN", "fanfare:ingest")) === ":0\r\n");
}

const said = (page, text) => page.waitForFunction((text) => document.querySelector("#said").textContent.includes(text), text);

test("the figures of three nodes with two thousand streams are those of /metrics", async (context) => {
  const streams = await Promise.all(
    cluster.nodes.map((node, index) => openStreams(node, index === 0 ? STREAMS - 2 * 600 : 600, "load")),
  );
  const stage = await opened();
  const { page } = stage;
  try {
    let slowest = 0;
    for (const end of [0, 57, 113]) {
      for (const one of streams) one.close(end);
      for (const [index, node] of cluster.nodes.entries()) {
        const gone = { 0: 0, 57: 57, 113: 170 }[end];
        // The page's own stream is one of the first node's.
        const expected = (index === 0 ? STREAMS - 2 * 600 + 1 : 600) - gone;
        await until(`${node.id} has ${expected} streams`, async () => (await node.metric("sse_active_connections")) === expected);
        const begun = performance.now();
        await page.waitForFunction(
          ([id, text]) => document.querySelector(`tr[data-node="${id}"] [data-label="Streams"]`).textContent.startsWith(`${text} of `),
          [node.id, expected.toLocaleString("en")],
        );
        slowest = Math.max(slowest, performance.now() - begun);
      }
    }
    context.diagnostic(`a figure was on the page at most ${Math.round(slowest)} ms after /metrics had it`);
    const total = STREAMS + 1 - 3 * 170;
    await page.waitForFunction((text) => document.querySelector("#charts output").textContent === text, total.toLocaleString("en"));

    let sent = 0;
    const publishing = setInterval(() => call("POST", "/v1/publish", { channel: "load", type: "tick", data: `${(sent += 1)}` }), 500);
    try {
      for (const node of cluster.nodes) {
        await page.waitForFunction((id) => parseFloat(document.querySelector(`tr[data-node="${id}"] [data-label="Events/s"]`).textContent) > 0, node.id);
      }
      const [before, begun] = [await Promise.all(cluster.nodes.map((node) => node.metric("sse_events_sent_total"))), performance.now()];
      const shown = cluster.nodes.map(() => []);
      while (performance.now() - begun < 5000) {
        for (const [index, node] of cluster.nodes.entries()) shown[index].push(figure((await row(page, node.id))["Events/s"]));
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      const now = await Promise.all(cluster.nodes.map((node) => node.metric("sse_events_sent_total")));
      const seconds = (performance.now() - begun) / 1000;
      for (const [index, node] of cluster.nodes.entries()) {
        const rate = (now[index] - before[index]) / seconds;
        const mean = shown[index].reduce((sum, value) => sum + value, 0) / shown[index].length;
        assert.ok(Math.abs(mean / rate - 1) < 0.3, `${node.id}: ${mean} events/s shown, ${rate} counted`);
      }
    } finally {
      clearInterval(publishing);
    }

    let leaders = 0;
    for (const node of cluster.nodes) {
      const cells = await row(page, node.id);
      const memory = await node.metric("process_resident_memory_bytes");
      assert.ok(Math.abs(figure(cells.Memory) / memory - 1) < 0.1, `${cells.Memory} ${memory}`);
      const files = await node.metric("process_open_fds");
      assert.ok(Math.abs(figure(cells.Files) - files) < 20, `${cells.Files} ${files}`);
      assert.match(cells.Version, /^\d+\.\d+\.\d+/);
      assert.match(cells.CPU, /^[\d.]+ %$/);
      assert.match(cells.Redis, /^[\d.]+ ms$/);
      assert.match(cells.State, /^ready/);
      const leads = await node.metric("fanfare_intake_leader");
      assert.equal(cells.State.includes("leader"), leads === 1);
      leaders += leads;
    }
    assert.equal(leaders, 1);
    await isClean(stage);
  } finally {
    for (const one of streams) one.stop();
  }
});

test("what clients, publishers and nodes say is shown as text, and runs nothing", async () => {
  const session = "0b5c0f9e-3c58-4f0e-9c43-0b6a3f2f8f11";
  // The worst that their alphabet allows.
  const [named, room] = ["a|&lt;=/$!#", "room:&lt;%3Cb%3E#$!"];
  const following = await fetch(`${cluster.nodes[1].url}/v1/events?session=${session}&channel=${encodeURIComponent(room)}`, {
    headers: { authorization: `Bearer ${token(named, { subscribe: ["room:*"] })}` },
  });
  assert.equal(following.status, 200);
  await call("POST", "/v1/publish", { channel: room, type: HOSTILE, data: HOSTILE });
  await poison([["channel", HOSTILE], ["data", HOSTILE], [HOSTILE, HOSTILE]]);
  // What a Redis user with the rights of a node could send.
  const forged = { node: HOSTILE, version: HOSTILE, address: HOSTILE, since: HOSTILE, streams: HOSTILE, cpu: [1], redis_ms: "x" };
  const stage = await opened();
  const { page } = stage;
  const topic = "fanfare:{fanfare:stats}:nodes";
  await cluster.redis.send("PUBLISH", topic, JSON.stringify({ type: "stats", data: JSON.stringify(forged) }));
  await page.waitForFunction((text) => [...document.querySelectorAll("#nodes th")].some((cell) => cell.textContent === text), HOSTILE.slice(0, 200));

  await page.fill('#search [name="name"]', room);
  await page.click("#search button");
  await page.waitForFunction(() => document.querySelector("#found").textContent.includes("1 sessions of 1 users"));
  const found = await page.textContent("#found");
  assert.ok(found.includes(`Channel ${room}`) && found.includes("100 events, 10 m") && found.includes("rule room:*"), found);
  // A user of the list leads to that user, whose session has the client's id.
  await page.click(`#found article:first-child li button`);
  await page.waitForFunction((text) => document.querySelector("#found").textContent.includes(text), session);
  assert.ok((await page.textContent("#found")).includes(`User ${named}`));

  await page.fill('#search [name="name"]', room);
  await page.click("#search button");
  await page.click('#found article:first-child .buttons button:has-text("Trace")');
  await page.waitForSelector("#events li");
  const cells = await page.$eval("#events li", (line) => [line.querySelector(".type").textContent, line.querySelector(".data").textContent]);
  assert.deepEqual(cells, [HOSTILE, HOSTILE]);
  await call("POST", "/v1/publish", { channel: room, type: "typing", data: "now", ephemeral: true });
  await page.waitForFunction(() => document.querySelector("#events .type").textContent === "typing");

  await page.click('#dead li:last-child button:has-text("Show")');
  await page.waitForSelector("#dead li:last-child dl:not([hidden])");
  assert.ok((await page.textContent("#dead li:last-child dl")).includes(HOSTILE));
  assert.equal(await page.locator("#inside img, #inside script").count(), 0);
  await isClean(stage);
  await following.body.cancel();
});

test("operators disconnect, publish, requeue and drop through the page", async () => {
  await cluster.redis.send("SET", "fanfare:{room:9}:log", "of another type");
  await poison([["channel", "room:9"], ["type", "order"], ["data", "again"]]);
  await poison([["channel", "no such channel"], ["data", "x"]]);
  await cluster.redis.send("DEL", "fanfare:{room:9}:log");
  const stage = await opened();
  const { page } = stage;
  const letters = () => page.locator("#dead li").count();
  const count = await letters();
  assert.ok(count >= 2);

  await page.click('#dead li:last-child button:has-text("Drop")');
  await page.waitForSelector("dialog[open]");
  await page.click("#confirm-no");
  assert.equal(await letters(), count, "it was asked for and not confirmed");
  await page.click('#dead li:last-child button:has-text("Drop")');
  await page.click("#confirm-yes");
  await said(page, "is dropped");
  await page.click('#dead li:last-child button:has-text("Requeue")');
  await said(page, "back in the intake");
  assert.equal(await letters(), count - 2);
  await until("it is published", async () => {
    const { events } = await call("GET", "/v1/channels/room:9/events");
    return events.length === 1 && events[0].data === "again";
  });
  const { dead_letters: left } = await call("GET", "/v1/dead-letters");
  assert.equal(left.length, count - 2);

  await page.fill('#publish [name="channel"]', "room:9");
  await page.fill('#publish [name="type"]', "note");
  await page.fill('#publish [name="data"]', '{"n":1}');
  await page.click("#publish button");
  await page.waitForFunction(() => /^published at \d+-\d+$/.test(document.querySelector("#published").textContent));
  const { events } = await call("GET", "/v1/channels/room:9/events");
  assert.deepEqual([events.at(-1).type, events.at(-1).data], ["note", '{"n":1}']);
  await page.fill('#publish [name="channel"]', "fanfare:stats");
  await page.click("#publish button");
  await page.waitForFunction(() => document.querySelector("#published").textContent.includes("only nodes publish"));

  const stream = await fetch(`${cluster.nodes[2].url}/v1/events`, { headers: { authorization: `Bearer ${token("cyd", {})}` } });
  await page.fill('#search [name="name"]', "cyd");
  await page.click("#search button");
  await page.click('#found article:last-child li button:has-text("Disconnect")');
  await page.click("#confirm-yes");
  await said(page, "is disconnected");
  assert.match(await stream.text(), /event: disconnected/);
  // The refused publication is the only failure, which the browser reports by its status.
  stage.failures.splice(0, stage.failures.length, ...stage.failures.filter((text) => !text.includes("403")));
  await isClean(stage);
});

test("a keyboard is enough", async () => {
  await poison([["channel", "no such channel"], ["data", "x"]]);
  const stage = await opened({ as: null });
  const { page } = stage;
  // Presses Tab until the focus is there.
  const reach = async (what) => {
    for (let step = 0; step < 60; step += 1) {
      if (await page.evaluate((what) => document.activeElement.matches(what), what)) return;
      await page.keyboard.press("Tab");
    }
    throw new Error(`Tab does not reach ${what}`);
  };
  await reach('#enter [name="token"]');
  await page.keyboard.type(ADMIN);
  await page.keyboard.press("Enter");
  await page.waitForSelector("#inside:not([hidden])");
  await reach('#search [name="name"]');
  await page.keyboard.type("room:1");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#found article");
  await reach("#found article:first-child .buttons button");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelector("#trace-state").textContent === "live");
  assert.equal(await page.evaluate("document.activeElement.id"), "trace-title");
  await reach('#publish [name="channel"]');
  await page.keyboard.type("room:1");
  await page.keyboard.press("Tab");
  await page.keyboard.type("note");
  await page.keyboard.press("Tab");
  await page.keyboard.type("by hand");
  await reach("#publish button");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelector("#events .data")?.textContent === "by hand");
  await reach("#dead .danger");
  await page.keyboard.press("Enter");
  await page.waitForSelector("dialog[open]");
  assert.equal(await page.evaluate("document.activeElement.id"), "confirm-no", "what is safe has the focus");
  await page.keyboard.press("Escape");
  await page.waitForSelector("dialog:not([open])", { state: "attached" });
  await reach("#dead .danger");
  await page.keyboard.press("Enter");
  await reach("#confirm-yes");
  await page.keyboard.press("Enter");
  await said(page, "is dropped");
  assert.equal(await page.evaluate("document.activeElement.id"), "dead-title", "the focus is not lost with the entry");
  await isClean(stage);
});

test("who may not look is told so, and the token stays in the tab until it is forgotten", async () => {
  const { page } = await opened({ as: null });
  for (const [text, why] of [
    [token("7", { subscribe: ["*"] }), "for operators"],
    [`${ADMIN}x`, "signature"],
    ["ünlesbar", "no such characters"],
    ["", "token"],
  ]) {
    await page.fill('#enter [name="token"]', text);
    await page.click("#enter button");
    await page.waitForFunction((why) => document.querySelector("#refused").textContent.includes(why), why);
    assert.ok(await page.isHidden("#inside"));
    assert.equal(await page.evaluate("sessionStorage.length"), 0);
  }
  await page.fill('#enter [name="token"]', ADMIN);
  await page.click("#enter button");
  await page.waitForSelector("#inside:not([hidden])");
  await page.reload();
  await page.waitForSelector("#inside:not([hidden])");
  assert.ok(!page.url().includes(ADMIN));
  const urls = await page.evaluate(() => performance.getEntriesByType("resource").map((entry) => entry.name));
  assert.ok(urls.length > 3 && urls.every((url) => !url.includes("token") && !url.includes(ADMIN)), urls.join("\n"));
  await page.click("#leave");
  assert.ok(await page.isHidden("#inside"));
  assert.equal(await page.evaluate("sessionStorage.length"), 0);
  await page.reload();
  assert.ok(await page.isVisible("#outside"));
});

for (const width of [1280, 390]) {
  for (const colorScheme of ["light", "dark"]) {
    test(`axe finds nothing at ${width} px in ${colorScheme}, and nothing is wider than the page`, async () => {
      const { page } = await opened({ width, colorScheme, as: null });
      const check = async (what) => {
        // Through the debugger, which the page's policy does not concern.
        await page.evaluate(axe);
        const { violations } = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
        const found = violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => node.html).join(" ")}`);
        assert.deepEqual(found, [], what);
        assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), `${what} is too wide`);
      };
      await check("signed out");
      await page.fill('#enter [name="token"]', ADMIN);
      await page.click("#enter button");
      await page.waitForFunction(() => document.querySelectorAll("#nodes tbody tr").length >= 3);
      await poison([["channel", "no such channel"], ["type", "order.paid"], ["data", '{"id":7}']]);
      await page.click("#dead-refresh");
      await page.waitForSelector("#dead li");
      await page.fill('#search [name="name"]', "room:7");
      await page.click("#search button");
      await page.click('#found article:first-child .buttons button:has-text("Trace")');
      await call("POST", "/v1/publish", { channel: "room:7", type: "order.paid", data: '{"id":7,"total":"12.50"}' });
      await page.waitForSelector("#events li");
      await page.waitForFunction(() => document.querySelectorAll("#found .facts dd").length > 3);
      await check("signed in");
      await page.click('#dead li:last-child button:has-text("Show")');
      await page.waitForSelector("#dead dl:not([hidden])");
      await page.click("#dead .danger");
      await check("with a question");
      await page.click("#confirm-no");
      // The pictures in the docs: SCREENSHOTS=../../docs/images node --test --test-name-pattern=axe admin.test.js
      if (process.env.SCREENSHOTS) {
        const load = await Promise.all(cluster.nodes.map((node, index) => openStreams(node, 60 + 40 * index, "load")));
        const publishing = setInterval(() => call("POST", "/v1/publish", { channel: "load", data: "x".repeat(200) }), 100 + 400 * Math.random());
        await page.waitForFunction(() => document.querySelector("#charts path").getAttribute("d").split("L").length > 12);
        await page.evaluate(() => window.scrollTo(0, 0));
        await page.screenshot({ path: join(process.env.SCREENSHOTS, `admin-${width}-${colorScheme}.png`) });
        clearInterval(publishing);
        for (const one of load) one.stop();
      }
    });
  }
}
