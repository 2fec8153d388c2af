// Parts that need no node.

import assert from "node:assert/strict";
import { test } from "node:test";
import { behind } from "../../dist/offset.js";
import { settingsOf } from "../../dist/options.js";
import { endHeaders } from "../../dist/outbox.js";
import { nameOf } from "../../dist/streams.js";
import { Decoding, Encoding } from "../../dist/text.js";

const join = (parts) => Buffer.concat(parts);
const text = "a\u0000é€😀\r\n\ufeff👩‍👩‍👧 \ud83d x";

test("text is encoded as a whole, wherever its chunks are cut", () => {
  for (let size = 1; size < 7; size += 1) {
    const encoding = new Encoding();
    const parts = [];
    for (let at = 0; at < text.length; at += size) parts.push(encoding.encode(text.slice(at, at + size)));
    parts.push(encoding.end());
    assert.deepEqual(join(parts), Buffer.from(text), `${size}`);
    assert.equal(encoding.bytes, Buffer.byteLength(text));
  }
  const half = new Encoding();
  assert.equal(half.encode("\ud83d").length, 0);
  assert.equal(half.isWithin, true);
  assert.deepEqual(Buffer.from(half.end()).toString(), "\ufffd");
});

test("text is decoded as a whole, wherever its bytes are cut, and what is left out counts in UTF-16", () => {
  const bytes = Buffer.from(text);
  const whole = bytes.toString();
  for (let size = 1; size < 7; size += 1) {
    for (const skip of [0, 1, 4, 5, 9, 100]) {
      const decoding = new Decoding(skip);
      let got = "";
      for (let at = 0; at < bytes.length; at += size) got += decoding.decode(bytes.subarray(at, at + size));
      got += decoding.end();
      assert.equal(got, whole.slice(skip), `${size} ${skip}`);
    }
  }
});

test("an offset counts bytes", () => {
  assert.equal(behind("1795896342742103_0000000000000012", 88), "1795896342742103_0000000000000100");
  assert.throws(() => behind("-1", 1), TypeError);
});

test("names have only characters of streams, and differ", () => {
  assert.equal(nameOf("resumable-stream", "chat-7"), "resumable-stream:chat-7");
  assert.equal(nameOf("a/b:c", "d/e:f"), "a/b:c:d%2Fe%3Af");
  assert.equal(nameOf("ä", "😀'()*!%"), "%C3%A4:%F0%9F%98%80%27%28%29%2A%21%25");
});

test("a reason is visible ASCII of one line", () => {
  const reason = (text) => endHeaders({ kind: "error", reason: text })["stream-end-reason"];
  assert.equal(reason("a\r\nx: y é"), "a?x: y ?");
  assert.equal(reason(undefined), undefined);
  assert.equal(reason("  "), undefined);
  assert.equal(reason("x".repeat(300)).length, 256);
});

test("options are checked", () => {
  assert.throws(() => settingsOf({ waitUntil: null }), /url is not set/);
  for (const lease of [0, 3601, 1.5, Number.NaN])
    assert.throws(() => settingsOf({ waitUntil: null, url: "http://a", lease }), /lease/);
  assert.equal(settingsOf({ waitUntil: null, url: "https://a.example/x/" }).base, "https://a.example/x");
  process.env.RESUMABLE_STREAM_URL = "http://b";
  process.env.RESUMABLE_STREAM_TOKEN = "secret";
  const { base, token } = settingsOf({ waitUntil: null });
  assert.deepEqual([base, token], ["http://b", "secret"]);
  delete process.env.RESUMABLE_STREAM_URL;
  delete process.env.RESUMABLE_STREAM_TOKEN;
});
