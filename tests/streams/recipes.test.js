// The recipes of docs/finite-streams.md, as they are printed, with a node of the test in the place of 127.0.0.1:8080.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, before, test } from "node:test";
import { Node, startRedis, within } from "../../clients/typescript/test/support/nodes.js";

const page = await readFile(join(import.meta.dirname, "../../docs/finite-streams.md"), "utf8");
let redis;
let node;

before(async () => {
  redis = await startRedis();
  node = await new Node({ FANFARE_REDIS__URL: redis.url, FANFARE_AUTH__MODE: "none" }).start();
});

after(async () => {
  await node.stop();
  await redis.stop();
});

/** Returns the block of a recipe. */
function recipe(heading, language) {
  const [, block] = page.match(new RegExp(`\n### ${heading}\n.*?\n\`\`\`${language}\n(.*?)\`\`\``, "s"));
  return block.replaceAll("http://127.0.0.1:8080", node.url);
}

/** Runs a program; returns what it prints. */
async function run(command, ...args) {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(child, "exit");
  const printed = await within(30, command, text(child.stdout));
  assert.deepEqual(await exited, [0, null], printed);
  return printed;
}

const call = async (method, url, headers = {}, body = undefined) => {
  const response = await fetch(url, { method, headers, body });
  return { status: response.status, headers: response.headers, text: await response.text() };
};

test("fetch reads what is there, what comes, and the end, over a node that restarts", async () => {
  const url = `${node.url}/v1/stream/chat-7`;
  const plain = { "content-type": "text/plain" };
  await call("PUT", url, plain, "one");
  const program = recipe("fetch", "js");
  const child = spawn(process.execPath, ["--input-type=module", "--eval", program], { stdio: ["ignore", "pipe", "inherit"] });
  const printed = [];
  const waiting = [];
  child.stdout.setEncoding("utf8").on("data", (part) => {
    printed.push(part);
    for (const wake of waiting.splice(0)) wake();
  });
  const prints = async (wanted) => {
    while (printed.join("") !== wanted) await within(15, wanted, new Promise((wake) => waiting.push(wake)));
  };
  await prints("one\n");
  await node.stop("SIGKILL");
  await node.start();
  await call("POST", url, plain, "é");
  await prints("one\né\n");
  await call("POST", url, { ...plain, "stream-closed": "true", "stream-end": "cancelled" }, "!");
  await within(15, "the end", once(child, "exit"));
  assert.equal(printed.join(""), "one\né\n!\nthe end: cancelled\n");
  await call("DELETE", url);
});

test("the Python producer writes, and ends its stream", async () => {
  await run("python3", "-c", recipe("Python", "python"));
  const { headers, text } = await call("GET", `${node.url}/v1/stream/chat-7`);
  assert.deepEqual([text, headers.get("stream-end")], ["Hello, world", "complete"]);
  await call("DELETE", `${node.url}/v1/stream/chat-7`);
});

test("curl writes the log of a job, ends it, and prints it", async () => {
  const printed = await run("bash", "-euc", recipe("curl", "sh").replaceAll("curl ", "curl -s "));
  assert.equal(printed, "step one\nstep two\nstep three\n");
});
