// Runs the programs of docs/publishing.md as they are printed there. A node and a Redis of the test take the place of
// push.example.com and of 127.0.0.1:6379.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile, rm, writeFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { createClient } from "redis";
import { Node, secret, startRedis, token } from "../support/nodes.js";

const root = new URL("../../../../", import.meta.url);
const page = await readFile(new URL("docs/publishing.md", root), "utf8");
const marked = /<!-- block: tested by clients\/typescript\/test\/nodes\/docs\.test\.js -->\n```js\n(.*?)\n```/gs;
const programs = Array.from(page.matchAll(marked), ([, program]) => program);

let redis;
let node;
let client;

before(async () => {
  redis = await startRedis();
  node = await new Node({
    FANFARE_REDIS__URL: redis.url,
    FANFARE_AUTH__MODE: "jwt",
    FANFARE_AUTH__JWT__SECRET: secret,
    FANFARE_LOG__LEVEL: "error",
  }).start();
  client = await createClient({ url: redis.url }).connect();
});

after(async () => {
  client?.destroy();
  await node?.stop("SIGKILL");
  await redis?.stop();
});

/** Runs one of the page's programs, inside the package, so that its imports are those of an application. */
async function run(n) {
  const program = programs[n].replace("https://push.example.com", node.url).replace("redis://127.0.0.1:6379", redis.url);
  const file = new URL(`../../dist/docs-${process.pid}-${n}.mjs`, import.meta.url);
  await writeFile(file, program);
  const env = { ...process.env, FANFARE_TOKEN: token("backend", 60, { publish: ["user:*"] }) };
  try {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [file.pathname], { env, timeout: 60_000 });
    assert.equal(stderr, "");
    return stdout.trim();
  } finally {
    await rm(file);
  }
}

async function stored(channel) {
  const entries = await client.xRange(`fanfare:{${channel}}:log`, "-", "+");
  return entries.map(({ id, message: { t, d } }) => [id, t, d]);
}

test("the page has the programs", () => assert.equal(programs.length, 3));

test("over HTTP: the event is stored once, however often the program runs", async () => {
  const first = await run(0);
  const [[id, ...event], ...more] = await stored("user:42");
  assert.deepEqual(event, ["order.paid", '{"order":7}']);
  assert.equal(first, `stored ${id}`);
  assert.equal(await run(0), `was stored before ${id}`);
  assert.deepEqual(more, []);
});

test("over Redis: the events are stored in their order when the program ends", async () => {
  assert.equal(await run(1), "");
  assert.deepEqual(
    (await stored("room:7")).map(([, type, data]) => [type, data]),
    [
      ["word", "one"],
      ["word", "two"],
      ["word", "three"],
    ],
  );
});

test("over the intake: the program waits until the event is published, and prints its position", async () => {
  const position = await run(2);
  assert.deepEqual((await stored("room:7")).at(-1), [position, "", "by the intake"]);
});
