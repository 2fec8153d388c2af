// A process that produces a stream for ever, for tests that kill it: producer.js <url> <id> <lease>

import { createResumableStreamContext } from "../../dist/index.js";

const [, , url, id, lease] = process.argv;
const context = createResumableStreamContext({ waitUntil: null, url, lease: Number(lease) });
let n = 0;
const source = new ReadableStream({
  async pull(controller) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    controller.enqueue(`${n++} `);
  },
});
await context.createNewResumableStream(id, () => source);
console.log("begun");
