import assert from "node:assert/strict";
import { test } from "node:test";
import { Parser } from "../../dist/parser.js";

const LIMIT = 1000;

/** Parses pieces of a stream; returns its blocks, as `[type, data, id]`, and its retries, in order. */
function parse(...pieces) {
  const seen = [];
  const sink = { block: ({ type, data, id }) => seen.push([type, data, id]), retry: (wait) => seen.push(wait) };
  const parser = new Parser(sink, LIMIT);
  for (const piece of pieces) parser.push(typeof piece === "string" ? new TextEncoder().encode(piece) : piece);
  return seen;
}

test("fields, comments and blocks are read as the standard says", () => {
  assert.deepEqual(parse("data: YHOO\ndata: +2\ndata: 10\n\n"), [["", "YHOO\n+2\n10", ""]]);
  assert.deepEqual(parse(": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n"), [
    ["", "first event", "1"],
    ["", "second event", ""],
    ["", " third event", ""],
  ]);
  assert.deepEqual(parse("data\n\ndata\ndata\n\ndata:"), [
    ["", "", ""],
    ["", "\n", ""],
  ]);
  assert.deepEqual(parse("event: a\ndata: 1\n\ndata: 2\n\n"), [
    ["a", "1", ""],
    ["", "2", ""],
  ]);
  assert.deepEqual(parse("unknown: x\nDATA: y\n data: z\ndata : z\n:\n\n"), []);
});

test("a block without data is dropped, but its id counts, and its type does not", () => {
  assert.deepEqual(parse("id: 7\nevent: x\n\ndata: 1\n\n"), [["", "1", "7"]]);
});

test("the id stays for later blocks, and one with NUL is ignored", () => {
  assert.deepEqual(parse("id: 1\ndata: a\n\nid: 2\0\ndata: b\n\ndata: c\n\n"), [
    ["", "a", "1"],
    ["", "b", "1"],
    ["", "c", "1"],
  ]);
});

test("a retry has only ASCII digits", () => {
  assert.deepEqual(parse("retry: 10\nretry: 1e3\nretry: -1\nretry: 5 \nretry:\nretry\nretry: ٣\nretry: 020\n"), [10, 20]);
});

test("every split of every line ending yields the same blocks", () => {
  const text = "\u{feff}id: 1\nevent: ä\ndata: 🎺\ndata:\ndata: x\n\n: heart\nretry: 5\ndata: y\n\n";
  const expected = [["ä", "🎺\n\nx", "1"], 5, ["", "y", "1"]];
  for (const end of ["\n", "\r", "\r\n"]) {
    const bytes = new TextEncoder().encode(text.replaceAll("\n", end));
    for (let n = 0; n <= bytes.length; n += 1) {
      assert.deepEqual(parse(bytes.subarray(0, n), bytes.subarray(n)), expected, `${JSON.stringify(end)} at ${n}`);
    }
    assert.deepEqual(parse(...Array.from(bytes, (byte) => Uint8Array.of(byte))), expected, "byte by byte");
  }
});

test("line endings may be mixed", () => {
  assert.deepEqual(parse("data: 1\rdata: 2\r\ndata: 3\n\r\ndata: 4\r\r"), [
    ["", "1\n2\n3", ""],
    ["", "4", ""],
  ]);
});

test("only the first byte order mark is dropped", () => {
  assert.deepEqual(parse("\u{feff}\u{feff}data: 1\n\n"), []);
  assert.deepEqual(parse("\u{feff}data: 1\n\ndata: \u{feff}2\n\n"), [
    ["", "1", ""],
    ["", "\u{feff}2", ""],
  ]);
});

test("malformed UTF-8 is replaced, and what follows it is read", () => {
  const bytes = [...Buffer.from("data: a"), 0xff, 0xc3, ...Buffer.from("\ndata: b\n\n"), 0xe2, 0x82];
  assert.deepEqual(parse(Uint8Array.from(bytes)), [["", "a\u{fffd}\u{fffd}\nb", ""]]);
});

test("a line without end, and data without end, are errors and not memory", () => {
  const tooLarge = { code: "event-too-large" };
  assert.throws(() => parse("x".repeat(LIMIT + 1)), tooLarge);
  assert.throws(() => parse(...Array(LIMIT + 1).fill("x")), tooLarge);
  assert.throws(() => parse(...Array(LIMIT / 10).fill(`data: ${"x".repeat(10)}\n`)), tooLarge);
  assert.equal(parse(`data: ${"x".repeat(LIMIT - 6)}\n\n`).length, 1);
  assert.equal(parse(...Array(10).fill(`:${"x".repeat(LIMIT - 2)}\n`), "data: 1\n\n").length, 1, "comments are not kept");
});
