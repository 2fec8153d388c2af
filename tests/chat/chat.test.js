// The stock `useChat` of the AI SDK in headless Chromium: pages of examples/chat, of two servers, whose streams are on two nodes
// behind nginx.

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { Node, startRedis, until } from "../../clients/typescript/test/support/nodes.js";
import { startBrowser } from "../browser/dev.js";
import { balance } from "../streams/balancer.js";
import { App, Tab } from "./app.js";

const WORDS = 200;
const LEASE = 5;
const whole = Array.from({ length: WORDS }, (_, n) => `word${n + 1} `).join("");
/** Whether a text is the first words of the answer. */
const isBeginning = (text) => whole.startsWith(text) && text.length > 0 && text !== whole;

let redis;
let nodes;
let balancer;
let browser;
let data;
let apps;
let chats = 0;

before(async () => {
  redis = await startRedis();
  const settings = {
    FANFARE_REDIS__URL: redis.url,
    FANFARE_AUTH__MODE: "none",
    FANFARE_HTTP__ALLOWED_ORIGINS: "*",
    FANFARE_LOG__LEVEL: "warn",
  };
  nodes = await Promise.all([1, 2].map(() => new Node(settings).start()));
  balancer = await balance(nodes);
  data = await mkdtemp(join(tmpdir(), "fanfare-chat-"));
  apps = await Promise.all([1, 2].map(() => new App(environment()).start()));
  browser = await startBrowser();
});

after(async () => {
  await browser?.stop();
  await Promise.all((apps ?? []).map((app) => app.stop()));
  await balancer?.stop();
  await Promise.all(nodes.map((node) => node.stop()));
  await redis.stop();
  await rm(data, { recursive: true, force: true });
});

afterEach(() => browser.closePages());

const environment = () => ({ RESUMABLE_STREAM_URL: balancer.url, DATA: data, WORDS: `${WORDS}`, EVERY: "50", LEASE: `${LEASE}` });
const newChat = () => `chat-${(chats += 1)}`;

/** Two tabs with one chat, of different servers: the first one gets the answer, and the second one resumes it in the middle. */
async function twoTabs([here, there] = apps) {
  const chat = newChat();
  const first = await Tab.open(browser, here, chat);
  await first.say("Hello");
  await first.has("word5 ");
  const second = await Tab.open(browser, there, chat);
  await second.has("word8 ");
  return [first, second];
}

test("a page that is refreshed in the middle has the whole answer, and is ready", async () => {
  const [tab] = await twoTabs();
  assert.equal(await tab.status(), "streaming");
  await tab.page.reload();
  await tab.has("word12 ");
  assert.ok(isBeginning(await tab.answer()));
  assert.equal(await tab.status(), "streaming");
  await tab.reaches("ready");
  assert.deepEqual(await tab.answers(), [whole]);
  await tab.page.reload();
  await tab.reaches("ready");
  assert.deepEqual(await tab.answers(), [whole], "once, after the end");
});

test("a tab that comes in the middle has the whole answer, from another server and another node", async () => {
  const tabs = await twoTabs();
  for (const tab of tabs) {
    await tab.reaches("ready");
    assert.deepEqual(await tab.answers(), [whole]);
  }
  await tabs[1].say("Again");
  await tabs[1].has("word3 ");
  await tabs[1].reaches("ready");
  assert.deepEqual(await tabs[1].answers(), [whole, whole], "the next answer has a stream of its own");
});

test("Stop in a second tab ends the answer in both, and its model", async () => {
  apps[0].printed.length = 0;
  const [first, second] = await twoTabs();
  await second.page.click("#stop");
  for (const tab of [first, second]) {
    await tab.reaches("ready");
    assert.equal(await tab.error(), "");
    assert.ok(isBeginning(await tab.answer()), await tab.answer());
  }
  await until(() => apps[0].printed.includes("aborted"), 5, "the model is aborted");
  const texts = [await first.answer(), await second.answer()];
  await first.page.waitForTimeout(500);
  assert.deepEqual([await first.answer(), await second.answer()], texts, "no word more");
  for (const tab of [first, second]) {
    await tab.page.reload();
    await tab.reaches("ready");
    assert.equal(await tab.answer(), texts[0], "what was saved");
  }
});

test("pages do not hang when the server that gives the answer is killed", async () => {
  const server = await new App(environment()).start();
  const [first, second] = await twoTabs([server, apps[1]]);
  await server.stop("SIGKILL");
  // The connection is gone.
  await first.reaches("error");
  assert.ok(isBeginning(await first.answer()), await first.answer());
  // The lease of the producer.
  await second.reaches("error", LEASE + 10);
  assert.equal(await second.error(), "The answer is incomplete: producer-lost.");
  const text = await second.answer();
  assert.ok(isBeginning(text), text);
  await second.page.reload();
  await second.reaches("error");
  assert.equal(await second.answer(), text, "a refresh shows the same");
  await second.say("Again");
  await second.reaches("ready");
  assert.equal(await second.answer(), whole, "the chat goes on");
});

test("pages do not notice that nodes are killed", async () => {
  const tabs = await twoTabs();
  for (const node of nodes) {
    await node.stop("SIGKILL");
    await tabs[0].page.waitForTimeout(300);
    await node.start();
  }
  for (const tab of tabs) {
    await tab.reaches("ready");
    assert.deepEqual(await tab.answers(), [whole]);
  }
});

test("a page that resumes at Fanfare itself has the whole answer, and resumes again after its node was killed", async () => {
  const direct = await new App({ ...environment(), DIRECT: balancer.url }).start();
  try {
    const [first, second] = await twoTabs([direct, direct]);
    await first.page.reload();
    await first.has("word12 ");
    // Reloaded in the middle, both are served by Fanfare: one by each node.
    await nodes[0].stop("SIGKILL");
    await nodes[0].start();
    await nodes[1].stop("SIGKILL");
    await nodes[1].start();
    for (const tab of [first, second]) {
      await tab.reaches("error");
      assert.ok(isBeginning(await tab.answer()), await tab.answer());
    }
    // On its own, the SDK resumes when the page becomes visible; otherwise a refresh does.
    await first.page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
    await second.page.reload();
    for (const tab of [first, second]) {
      await tab.reaches("ready");
      assert.deepEqual(await tab.answers(), [whole]);
    }
    const chat = newChat();
    const third = await Tab.open(browser, direct, chat);
    await third.reaches("ready");
    assert.deepEqual(await third.answers(), [], "204: nothing to resume");
  } finally {
    await direct.stop();
  }
});
