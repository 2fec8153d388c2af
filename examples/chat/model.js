// A language model that needs no key and no network: it says a number of words, one after another.

import { setTimeout as sleep } from "node:timers/promises";
import { MockLanguageModelV4 } from "ai/test";

const WORDS = Number(process.env.WORDS ?? 200);
/** Milliseconds between two words. */
const EVERY = Number(process.env.EVERY ?? 100);

const finish = {
  type: "finish",
  finishReason: { unified: "stop", raw: undefined },
  usage: {
    inputTokens: { total: 1, noCache: 1, cacheRead: 0, cacheWrite: 0 },
    outputTokens: { total: WORDS, text: WORDS, reasoning: 0 },
  },
};

async function* parts(abortSignal) {
  yield { type: "stream-start", warnings: [] };
  yield { type: "text-start", id: "1" };
  for (let n = 1; n <= WORDS; n += 1) {
    await sleep(EVERY, undefined, { signal: abortSignal });
    yield { type: "text-delta", id: "1", delta: `word${n} ` };
  }
  yield { type: "text-end", id: "1" };
  yield finish;
}

/** The model. It stops when it is aborted, as a call to a provider does, and then prints `aborted`. */
export const model = new MockLanguageModelV4({
  doStream: async ({ abortSignal }) => {
    abortSignal?.addEventListener("abort", () => console.log("aborted"));
    return { stream: ReadableStream.from(parts(abortSignal)) };
  },
});
