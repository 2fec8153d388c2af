// Compiles if the types are those that programs written for resumable-stream need.

import { createResumableStreamContext as generic, type Publisher, type Subscriber } from "../../src/generic.js";
import { createResumableStreamContext, type ResumableStreamContext, type StreamEndedError } from "../../src/index.js";

declare const publisher: Publisher;
declare const subscriber: Subscriber;
declare const source: ReadableStream<string>;

export const contexts: ResumableStreamContext[] = [
  createResumableStreamContext({ waitUntil: null }),
  createResumableStreamContext({ waitUntil: (promise: Promise<unknown>) => void promise, publisher, subscriber, keyPrefix: "x" }),
  generic({ waitUntil: null, publisher, subscriber, token: async () => "token" }),
];

export async function use(context: ResumableStreamContext): Promise<void> {
  const made: ReadableStream<string> | null = await context.createNewResumableStream("a", () => source);
  const resumed: ReadableStream<string> | null | undefined = await context.resumeExistingStream("a", 3);
  const either: ReadableStream<string> | null = await context.resumableStream(
    "a",
    async ({ signal }) => (signal.aborted ? new ReadableStream<string>() : source),
    3,
  );
  const state: null | true | "DONE" = await context.hasExistingStream("a");
  const end: StreamEndedError["end"] = "cancelled";
  void [made, resumed, either, state, end];
  // @ts-expect-error: a stream of bytes is not one of strings.
  await context.createNewResumableStream("a", () => new ReadableStream<Uint8Array>());
}
