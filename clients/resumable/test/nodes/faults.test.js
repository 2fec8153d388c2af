// Connections that break and nodes that are killed, while streams are written and read.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createResumableStreamContext } from "../../dist/index.js";
import { Cluster, within } from "../support/cluster.js";
import { CuttingProxy } from "../support/cutting.js";
import { read } from "../support/source.js";

const cluster = new Cluster();
before(() => cluster.start({ balanced: true }));
after(() => cluster.stop());

const context = (url) => createResumableStreamContext({ waitUntil: null, url, replayDone: true });
/** Text with characters of all lengths and line ends, and none of it twice. */
const textOf = (from, to) => {
  let text = "";
  for (let n = from; n < to; n += 1) text += `${n}:é€😀\r\n\n`;
  return text;
};

/** A source that gives a text in chunks, cut anywhere, with this many milliseconds between them. */
function slowly(text, chunk, delay) {
  let at = 0;
  return new ReadableStream({
    async pull(controller) {
      await sleep(delay);
      if (at >= text.length) return controller.close();
      controller.enqueue(text.slice(at, at + chunk));
      at += chunk;
    },
  });
}

test("readers whose connections are cut go on at the byte, and get the end", async () => {
  // Each answer has some 350 bytes of headers.
  const proxy = await new CuttingProxy(cluster.nodes[1], () => 500 + Math.floor(Math.random() * 600)).start();
  try {
    const text = textOf(0, 300);
    const direct = context(cluster.nodes[0].url);
    const cut = context(proxy.url);
    await Promise.all(
      ["a", "b", "c"].map(async (id) => {
        const own = await direct.createNewResumableStream(id, () => slowly(text, 13, 2));
        const readers = await Promise.all([0, 0, 7].map((skip) => cut.resumeExistingStream(id, skip)));
        const texts = await within(25, "the texts", Promise.all(readers.map((reader) => read(reader))));
        assert.deepEqual(texts, [text, text, text.slice(7)]);
        assert.equal(await read(own), text);
      }),
    );
    assert.ok(proxy.cuts > 20, `${proxy.cuts} cuts`);
  } finally {
    await proxy.stop();
  }
});

test("a producer whose connections are cut loses nothing, stores nothing twice, and stores the end", async () => {
  let n = 0;
  // Whole answers, and answers that are cut before their first byte or within their headers.
  const proxy = await new CuttingProxy(cluster.nodes[1], () => [2000, 1, 100, 700][n++ % 4]).start();
  try {
    const text = textOf(0, 200);
    const direct = context(cluster.nodes[0].url);
    const cut = context(proxy.url);
    const ids = ["d", "e", "f", "g"];
    for (const own of await Promise.all(ids.map((id) => cut.createNewResumableStream(id, () => slowly(text, 7, 2))))) {
      assert.equal(await within(25, "the caller's text", read(own)), text);
    }
    for (const id of ids) assert.equal(await read(await direct.resumeExistingStream(id)), text);
    assert.ok(proxy.cuts > 20, `${proxy.cuts} cuts`);
  } finally {
    await proxy.stop();
  }
});

test("a node that is killed takes nothing with it", async () => {
  const text = textOf(0, 400);
  const balanced = context(cluster.balancer.url);
  const streams = await Promise.all(
    Array.from({ length: 6 }, async (_, n) => {
      const own = await balanced.createNewResumableStream(`killed-${n}`, () => slowly(text, 11, 5));
      return [own, await balanced.resumeExistingStream(`killed-${n}`), await balanced.resumeExistingStream(`killed-${n}`)];
    }),
  );
  const reading = Promise.all(streams.flat().map((stream) => read(stream)));
  for (const node of [cluster.nodes[1], cluster.nodes[0]]) {
    await sleep(300);
    await node.stop("SIGKILL");
    await sleep(200);
    await node.start();
  }
  for (const one of await within(25, "the texts", reading)) assert.equal(one, text);
});
