// The public test cases of npm resumable-stream 2.2.13, against nodes of Fanfare.
//
// Rewritten for node:test from src/__tests__/tests.ts (16 cases) and src/__tests__/generic.test.ts (4 cases) of
// https://github.com/vercel/resumable-stream at aa490f2 (MIT), since the npm package does not contain them. The names and what
// they expect are unchanged. The 16 run with each entry point, against one node and behind nginx, where each request is for the
// next of two nodes.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import * as main from "@fanfare/resumable";
import * as ioredis from "@fanfare/resumable/ioredis";
import * as redis from "@fanfare/resumable/redis";
import * as generic from "../../dist/generic.js";
import { Cluster, within } from "../support/cluster.js";
import { read, testingStream } from "../support/source.js";

const cluster = new Cluster();
before(() => cluster.start({ balanced: true }));
after(() => cluster.stop());

const never = () => {
  throw new Error("Should never be called");
};
const take = (stream, chunks) => within(10, "a read", read(stream, chunks));

/** A stream of strings as that of the cases, whose writes are not awaited. */
function source() {
  const { readable, write, close } = testingStream();
  return { readable, writer: { write, close } };
}

const cases = {
  "should act like a normal stream": async (resume) => {
    const { readable, writer } = source();
    const stream = await resume.resumableStream("test", () => readable);
    for (const chunk of ["1\n", "2\n", "3\n"]) writer.write(chunk);
    writer.close();
    assert.equal(await take(stream), "1\n2\n3\n");
  },
  "should resume a done stream": async (resume) => {
    const { readable, writer } = source();
    const stream = await resume.resumableStream("test", () => readable);
    const stream2 = await resume.resumableStream("test", () => readable);
    for (const chunk of ["1\n", "2\n"]) writer.write(chunk);
    writer.close();
    assert.equal(await take(stream), "1\n2\n");
    assert.equal(await take(stream2), "1\n2\n");
  },
  hasExistingStream: async (resume) => {
    const { readable, writer } = source();
    assert.equal(await resume.hasExistingStream("test"), null);
    const stream = await resume.resumableStream("test", () => readable);
    assert.equal(await resume.hasExistingStream("test"), true);
    assert.equal(await resume.hasExistingStream("test2"), null);
    const stream2 = await resume.resumableStream("test", () => readable);
    assert.equal(await resume.hasExistingStream("test"), true);
    for (const chunk of ["1\n", "2\n"]) writer.write(chunk);
    writer.close();
    assert.equal(await take(stream), "1\n2\n");
    assert.equal(await take(stream2), "1\n2\n");
    assert.equal(await resume.hasExistingStream("test"), "DONE");
  },
  "should resume a done stream reverse read": async (resume) => {
    const { readable, writer } = source();
    const stream = await resume.resumableStream("test", () => readable);
    const stream2 = await resume.resumableStream("test", () => readable);
    for (const chunk of ["1\n", "2\n"]) writer.write(chunk);
    writer.close();
    assert.equal(await take(stream2), "1\n2\n");
    assert.equal(await take(stream), "1\n2\n");
  },
  "should resume an in-progress stream": async (resume) => {
    const { readable, writer } = source();
    const stream = await resume.resumableStream("test", () => readable);
    writer.write("1\n");
    const stream2 = await resume.resumableStream("test", () => readable);
    writer.write("2\n");
    writer.close();
    assert.equal(await take(stream), "1\n2\n");
    assert.equal(await take(stream2), "1\n2\n");
  },
  "should actually stream": async (resume) => {
    const { readable, writer } = source();
    const stream = await resume.resumableStream("test", () => readable);
    writer.write("1\n");
    const stream2 = await resume.resumableStream("test", () => readable);
    assert.equal(await take(stream, 1), "1\n");
    assert.equal(await take(stream2, 1), "1\n");
    writer.write("2\n");
    writer.close();
    assert.equal(await take(stream), "2\n");
    assert.equal(await take(stream2), "2\n");
  },
  "should actually stream producer first": async (resume) => {
    const { readable, writer } = source();
    const stream = await resume.resumableStream("test", () => readable);
    writer.write("1\n");
    const stream2 = await resume.resumableStream("test", () => readable);
    assert.equal(await take(stream, 1), "1\n");
    writer.write("2\n");
    writer.close();
    assert.equal(await take(stream), "2\n");
    assert.equal(await take(stream2), "1\n2\n");
  },
  "should actually stream consumer first": async (resume) => {
    const { readable, writer } = source();
    const stream = await resume.resumableStream("test", () => readable);
    writer.write("1\n");
    const stream2 = await resume.resumableStream("test", () => readable);
    assert.equal(await take(stream2, 1), "1\n");
    writer.write("2\n");
    writer.close();
    assert.equal(await take(stream), "1\n2\n");
    assert.equal(await take(stream2), "2\n");
  },
  "should resume multiple streams": async (resume) => {
    const { readable, writer } = source();
    const stream = await resume.resumableStream("test", () => readable);
    writer.write("1\n");
    const stream2 = await resume.resumableStream("test", () => readable);
    writer.write("2\n");
    const stream3 = await resume.resumableStream("test", () => readable);
    writer.close();
    for (const one of [stream, stream2, stream3]) assert.equal(await take(one), "1\n2\n");
  },
  "should differentiate between streams": async (resume) => {
    const [one, two] = [source(), source()];
    const stream1 = await resume.resumableStream("test", () => one.readable);
    const stream2 = await resume.resumableStream("test2", () => two.readable);
    const stream12 = await resume.resumableStream("test", () => one.readable);
    const stream22 = await resume.resumableStream("test2", () => two.readable);
    for (const chunk of ["1\n", "2\n"]) one.writer.write(chunk);
    one.writer.close();
    two.writer.write("writer2\n");
    two.writer.close();
    assert.equal(await take(stream1), "1\n2\n");
    assert.equal(await take(stream2), "writer2\n");
    assert.equal(await take(stream12), "1\n2\n");
    assert.equal(await take(stream22), "writer2\n");
  },
  ...Object.fromEntries(
    [
      ["should respect skipCharacters", 2, "2\n"],
      ["should respect skipCharacters 2", 4, ""],
      ["should respect skipCharacters 0", 0, "1\n2\n"],
    ].map(([title, skip, rest]) => [
      title,
      async (resume) => {
        const { readable, writer } = source();
        const stream = await resume.resumableStream("test", () => readable);
        for (const chunk of ["1\n", "2\n"]) writer.write(chunk);
        const stream2 = await resume.resumableStream("test", () => readable, skip);
        writer.close();
        assert.equal(await take(stream), "1\n2\n");
        assert.equal(await take(stream2), rest);
      },
    ]),
  ),
  "should return null if stream is done": async (resume) => {
    const { readable, writer } = source();
    const stream = await resume.resumableStream("test", () => readable);
    for (const chunk of ["1\n", "2\n"]) writer.write(chunk);
    writer.close();
    const result = await take(stream);
    assert.equal(await resume.resumableStream("test", never), null);
    assert.equal(result, "1\n2\n");
  },
  "should support the decronstructed APIs": async (resume) => {
    const { readable, writer } = source();
    const stream = await resume.createNewResumableStream("test", () => readable);
    const stream2 = await resume.resumeExistingStream("test");
    for (const chunk of ["1\n", "2\n"]) writer.write(chunk);
    writer.close();
    assert.equal(await take(stream), "1\n2\n");
    assert.equal(await take(stream2), "1\n2\n");
  },
  "should return null if stream is done explicit APIs": async (resume) => {
    const { readable, writer } = source();
    const stream = await resume.createNewResumableStream("test", () => readable);
    for (const chunk of ["1\n", "2\n"]) writer.write(chunk);
    writer.close();
    const result = await take(stream);
    assert.equal(await resume.resumeExistingStream("test"), null);
    assert.equal(result, "1\n2\n");
  },
};

const client = {};
for (const [entry, { createResumableStreamContext }] of Object.entries({ main, redis, ioredis, generic })) {
  for (const where of ["one node", "nginx"]) {
    describe(`resumable stream: ${entry}, ${where}`, () => {
      for (const [title, run] of Object.entries(cases)) {
        test(title, () => {
          const url = where === "nginx" ? cluster.balancer.url : cluster.nodes[0].url;
          const keyPrefix = `test-resumable-stream-${crypto.randomUUID()}`;
          return run(
            createResumableStreamContext({
              waitUntil: () => Promise.resolve(),
              publisher: client,
              subscriber: client,
              keyPrefix,
              url,
            }),
          );
        });
      }
    });
  }
}

describe("generic interface", () => {
  const create = () =>
    generic.createResumableStreamContext({
      waitUntil: null,
      publisher: client,
      subscriber: client,
      keyPrefix: `test-generic-${crypto.randomUUID()}`,
      url: cluster.nodes[0].url,
    });

  test("should work with custom publisher/subscriber implementations", async () => {
    const { readable, writer } = source();
    const stream = await create().resumableStream("test-stream", () => readable);
    for (const chunk of ["Hello ", "World!"]) writer.write(chunk);
    writer.close();
    assert.equal(await take(stream), "Hello World!");
  });

  test("should resume streams with custom implementations", async () => {
    const ctx = create();
    const { readable, writer } = source();
    const stream1 = await ctx.resumableStream("test-stream-2", () => readable);
    const stream2 = await ctx.resumableStream("test-stream-2", never);
    for (const chunk of ["Part 1 ", "Part 2"]) writer.write(chunk);
    writer.close();
    assert.equal(await take(stream1), "Part 1 Part 2");
    assert.equal(await take(stream2), "Part 1 Part 2");
  });

  test("should return null if stream is done", async () => {
    const ctx = create();
    const { readable, writer } = source();
    const stream = await ctx.resumableStream("test-stream-3", () => readable);
    writer.write("Done");
    writer.close();
    await take(stream);
    assert.equal(await ctx.resumableStream("test-stream-3", never), null);
  });

  test("should throw error if publisher is not provided", () => {
    assert.throws(() => generic.createResumableStreamContext({ waitUntil: null }));
  });
});
