// docs/quickstart.md, followed as it is printed, in an empty folder.
//
// What is replaced: `redis-cli` and redis://127.0.0.1:6379 lead to a Redis of the test; free ports stand in the place of 8080 and 8000.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startBrowser } from "./dev.js";
import { blocks, Reader } from "./reader.js";

let reader;
let browser;

before(async () => {
  reader = await Reader.begin(6379, 8080, 8000);
  browser = await startBrowser();
});

after(async () => {
  await browser?.stop();
  await reader?.end();
});

test("the quickstart works as it is printed", { timeout: 120_000 }, async () => {
  const all = (await blocks("quickstart.md")).map(({ text }) => text);
  assert.equal(all.length, 8, "the steps below");
  const [start, token, file, serve, publish, kill, intake, again] = all;

  const node = reader.shell(start);
  await node.prints("listening on http://");
  assert.match(await reader.shell(token).ends(), /room:\*/);
  await reader.shell(file).ends();
  await reader.shell(serve).prints("Serving HTTP");

  const { page: tab, failures } = await browser.page();
  const notes = tab.locator("#notes li");
  const shows = async (...texts) => {
    await notes.nth(texts.length - 1).waitFor();
    assert.deepEqual(await notes.allTextContents(), texts);
  };
  await tab.goto(`http://127.0.0.1:${reader.site}`);
  await reader.shell(publish).ends();
  await shows("first");
  await tab.reload();
  await shows("first");
  const before = failures.filter((failure) => !failure.includes("favicon") && !failure.includes("404"));
  assert.deepEqual(before, []);

  await reader.shell(kill).ends();
  await node.isKilled();
  await reader.shell(intake).ends();
  await shows("first");
  await reader.shell(again).prints("listening on http://");
  await shows("first", "second");
});
