/**
 * A drop-in replacement for `resumable-stream` on Fanfare. There are no connections to Redis, a stream outlives its producer, and
 * how it has ended is stored.
 *
 * @module
 */
export type { CancelOptions, ResumableStreamContext } from "./context.js";
export { createResumableStreamContext, resumeStream } from "./context.js";
export type { End } from "./errors.js";
export { RequestError, ResumableStreamError, StreamEndedError } from "./errors.js";
export type { CreateResumableStreamContextOptions, MakeStream, Producer } from "./options.js";
export type { Publisher, Subscriber } from "./pubsub.js";
