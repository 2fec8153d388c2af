// `Last-Event-ID`, which an EventSource sends when it reconnects. tests/browser/finite.test.js is about real ones.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { TwoNodes, call, closing, done, plain } from "./support.js";

const cluster = new TwoNodes("resume");

before(() => cluster.start());
after(() => cluster.stop());

test("Last-Event-ID wins over the offset with live=sse, and only there", async () => {
  const [here, there] = cluster.stream();
  const middle = (await done("PUT", here, { headers: plain, body: "one " })).headers.get("stream-next-offset");
  const end = (await done("POST", here, { headers: closing(), body: "two" })).headers.get("stream-next-offset");
  const ask = (mode, id) => call("GET", `${there}?offset=-1&live=${mode}`, { headers: { "last-event-id": id } });
  const rest = await ask("sse", middle);
  assert.deepEqual([rest.status, rest.text.startsWith("event: data\ndata:two\n\nevent: control\ndata:{")], [200, true], rest.text);
  assert.ok(rest.text.endsWith(`}\nid: ${end}\nretry: 500\n\n`), rest.text);
  const nothing = await ask("sse", end);
  const fields = ["stream-closed", "stream-end", "stream-next-offset"].map((name) => nothing.headers.get(name));
  assert.deepEqual([nothing.status, nothing.text, ...fields], [204, "", "true", "complete", end]);
  assert.equal((await call("GET", `${there}?offset=${end}&live=sse`)).status, 200, "a client of the base protocol gets the end");
  assert.equal((await ask("sse", "")).text.includes("data:one two"), true);
  for (const mode of ["long-poll", "raw"]) assert.equal((await ask(mode, end)).text, "one two", mode);
});

test("a Last-Event-ID that is no offset is 400, and one of another stream 410", async () => {
  const [here] = cluster.stream();
  await done("PUT", here, { headers: plain, body: "one" });
  for (const [id, status] of [["7", 400], ["-1", 400], ["now", 400], ["0000000000000007_0000000000000001", 410]]) {
    const answer = await call("GET", `${here}?offset=-1&live=sse`, { headers: { "last-event-id": id } });
    assert.equal(answer.status, status, id);
  }
});
