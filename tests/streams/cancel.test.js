// The grant `cancel`: whoever has it may end a stream as cancelled, and nothing else.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Node, secret, startRedis, token } from "../../clients/typescript/test/support/nodes.js";
import { call, plain, settings } from "./support.js";

let redis;
let node;

before(async () => {
  redis = await startRedis();
  node = await new Node({ ...settings(redis), FANFARE_AUTH__MODE: "jwt", FANFARE_AUTH__JWT__SECRET: secret }).start();
});

after(async () => {
  await node.stop();
  await redis.stop();
});

const bearer = (grants) => ({ authorization: `Bearer ${token("7", 60, grants)}` });
const writes = bearer({ publish: ["stream:chat-*"] });
const cancels = bearer({ cancel: ["stream:chat-*"] });
const cancelled = { ...plain, "stream-closed": "true", "stream-end": "cancelled" };

test("a grant to cancel ends a stream with its last bytes, and does nothing else", async () => {
  const ask = async (method, name, headers, body) => {
    const answer = await call(method, `${node.url}/v1/stream/${name}`, { headers, body });
    return answer.status === 403 ? JSON.parse(answer.text).code : answer.status;
  };
  assert.equal(await ask("PUT", "chat-1", { ...writes, ...plain }, "one "), 201);
  for (const [method, headers] of [
    ["PUT", plain],
    ["PUT", cancelled],
    ["POST", plain],
    ["POST", { ...plain, "stream-closed": "true" }],
    ["POST", { ...cancelled, "stream-end": "complete" }],
    ["POST", { ...cancelled, "stream-end": "error" }],
    ["POST", { ...cancelled, "stream-closed": "false" }],
    ["POST", { ...cancelled, "stream-end": "CANCELLED" }],
    ["POST", { ...cancelled, "stream-end-reason": "x".repeat(300) }],
    ["GET", {}],
    ["DELETE", {}],
  ]) {
    const body = method === "GET" || method === "DELETE" ? undefined : "x";
    assert.equal(await ask(method, "chat-1", { ...headers, ...cancels }, body), "no-grant", `${method} ${JSON.stringify(headers)}`);
  }
  assert.equal((await call("HEAD", `${node.url}/v1/stream/chat-1`, { headers: cancels })).status, 403);
  for (const grants of [{ cancel: ["*"] }, { cancel: ["stream:other"] }, { subscribe: ["stream:*"] }]) {
    assert.equal(await ask("POST", "chat-1", { ...cancelled, ...bearer(grants) }, "x"), "no-grant", JSON.stringify(grants));
  }
  assert.equal(await ask("POST", "chat-1", { ...cancelled, ...cancels }, "bye"), 204);
  assert.equal(await ask("POST", "chat-1", { ...cancelled, ...cancels }, "late"), 409);
  assert.equal(await ask("POST", "chat-2", { ...cancelled, ...cancels }), 404);
  const end = await call("GET", `${node.url}/v1/stream/chat-1`, { headers: bearer({ subscribe: ["stream:*"] }) });
  assert.deepEqual([end.text, end.headers.get("stream-end")], ["one bye", "cancelled"]);
});

test("a cancellation of unknown length is one step: bytes without an end are not appended", async () => {
  const name = `${node.url}/v1/stream/chat-3`;
  await call("PUT", name, { headers: { ...writes, ...plain } });
  const broken = new ReadableStream({
    start(controller) {
      controller.enqueue(new TextEncoder().encode("some bytes"));
    },
    pull(controller) {
      controller.error(new Error("the end of the test's body"));
    },
  });
  await assert.rejects(fetch(name, { method: "POST", headers: { ...cancelled, ...cancels }, body: broken, duplex: "half" }));
  const head = await call("GET", name, { headers: bearer({ subscribe: ["stream:*"] }) });
  assert.deepEqual([head.text, head.headers.get("stream-closed")], ["", null]);
});
