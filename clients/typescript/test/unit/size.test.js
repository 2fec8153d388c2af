// What an application adds to its page: minified, gzip -9.

import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const KiB = 1024;
const SIZES = {
  "the core": [`export { connect } from "./dist/index.js"`, 5 * KiB],
  "the core with tabs": [`export { connect } from "./dist/index.js"; export { tabs } from "./dist/tabs.js"`, 7 * KiB],
  "the core with tabs and long polls": [
    `export { connect } from "./dist/index.js"; export { tabs } from "./dist/tabs.js"; export { orPoll } from "./dist/poll.js"`,
    7 * KiB,
  ],
  "acknowledgements, beside the core": [`export { acknowledge } from "./dist/ack.js"`, KiB * 1.5],
  "the publisher, for servers": [`export * from "./dist/publish.js"`, 6 * KiB],
  "the hooks for React": [`export * from "./dist/react.js"`, KiB / 2],
  "the composables for Vue": [`export * from "./dist/vue.js"`, KiB / 2],
  "the functions for Svelte": [`export * from "./dist/svelte.js"`, KiB / 2],
};

for (const [name, [contents, limit]] of Object.entries(SIZES)) {
  test(`${name}: at most ${limit} bytes`, async (t) => {
    const { outputFiles } = await build({
      stdin: { contents, resolveDir: new URL("../..", import.meta.url).pathname },
      bundle: true,
      external: ["react", "vue", "svelte", "svelte/store"],
      format: "esm",
      minify: true,
      write: false,
    });
    const { length } = gzipSync(outputFiles[0].contents, { level: 9 });
    t.diagnostic(`${length} bytes`);
    assert.ok(length <= limit, `${length} bytes`);
  });
}
