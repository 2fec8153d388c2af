import type { ResumableStreamError } from "./errors.js";

/** What `makeStream` gets: how the stream that it makes learns that it is not wanted any more. */
export interface Producer {
  readonly id: string;
  /**
   * Aborted when the stream is cancelled, on whichever node, or has ended otherwise. The reason is a {@link StreamEndedError}, or
   * a {@link RequestError} if the stream was deleted or replaced.
   */
  readonly signal: AbortSignal;
  /** Adds a listener of the same. */
  onCancel(listener: (reason: ResumableStreamError) => void): void;
}

/** Makes the stream that is stored. What it returns is read to its end, whether or not it is read elsewhere. */
export type MakeStream = (producer: Producer) => ReadableStream<string> | Promise<ReadableStream<string>>;

/** Options of {@link createResumableStreamContext}. */
export interface CreateResumableStreamContextOptions {
  /** Keeps a serverless function alive until the promise settles, such as `after` of Next.js. `null` for servers. */
  waitUntil: ((promise: Promise<unknown>) => void) | null;
  /** First part of the names of streams: `resumable-stream`. The stream of an id is `stream:<keyPrefix>:<id>` in grants. */
  keyPrefix?: string;
  /** URL of a node or a balancer, such as `https://push.example.com`. By default that of `RESUMABLE_STREAM_URL`. */
  url?: string | URL;
  /**
   * Bearer token or API key, or a function that returns one, which is called for each request. It needs `publish` and `subscribe`
   * for the streams. By default that of `RESUMABLE_STREAM_TOKEN`.
   */
  token?: string | (() => string | Promise<string>);
  /** Ignored: there are no connections to Redis. */
  publisher?: unknown;
  /** Ignored: there are no connections to Redis. */
  subscriber?: unknown;
  /** Ignored: the end of a stream is stored. */
  doneWatchdogIntervalMs?: number;
  /** Whether a stream that has ended is read from its start, instead of `null`: false. */
  replayDone?: boolean;
  /** Media type of new streams: `text/plain; charset=utf-8`. */
  contentType?: string;
  /** Seconds for which a stream is kept after its last read or write: 86,400. */
  ttl?: number;
  /** Seconds, 1 to 3,600, after which the stream of a producer without a sign of life ends as `error`: 15. `null` for no limit. */
  lease?: number | null;
  /** Milliseconds for which text waits for more, to be sent with one request: 5. */
  linger?: number;
  /** Milliseconds for which a request is repeated while nodes do not answer: 60,000. */
  retryFor?: number;
  /** Returns the reason that readers get after the error of a source: `source-error`. They may be users. */
  errorReason?: (error: unknown) => string;
  /** Gets errors of storing that `makeStream` cannot handle, and those of sources: `console.error`. */
  onError?: (error: unknown, id: string) => void;
  /** In place of the global `fetch`. */
  fetch?: typeof globalThis.fetch;
}

/** Options with their defaults. */
export interface Settings {
  readonly keyPrefix: string;
  readonly base: string;
  readonly token: CreateResumableStreamContextOptions["token"];
  readonly replayDone: boolean;
  readonly contentType: string;
  readonly ttl: number;
  readonly lease: number | null;
  readonly linger: number;
  readonly retryFor: number;
  readonly errorReason: (error: unknown) => string;
  readonly onError: (error: unknown, id: string) => void;
  readonly fetch: typeof globalThis.fetch;
}

/** The environment, where there is one. */
function environment(name: string): string | undefined {
  const { process } = globalThis as { process?: { env?: Record<string, string | undefined> } };
  return process?.env?.[name];
}

const log = (error: unknown, id?: string) => console.error(`resumable stream${id ? ` ${id}` : ""}:`, error);

/** Calls a function of the application, whose failure must not stop a stream. */
function attempt<Value>(call: () => Value): Value | undefined {
  try {
    return call();
  } catch (error) {
    log(error);
    return undefined;
  }
}

/**
 * Returns the options with their defaults.
 *
 * @throws TypeError if there is no URL, or an option is out of its range
 */
export function settingsOf(options: CreateResumableStreamContextOptions): Settings {
  const { lease = 15 } = options;
  const url = options.url ?? environment("RESUMABLE_STREAM_URL");
  if (!url) throw new TypeError("url is not set: give the URL of a node, or set RESUMABLE_STREAM_URL");
  if (lease !== null && !(Number.isInteger(lease) && lease >= 1 && lease <= 3600)) {
    throw new TypeError("lease must be null, or whole seconds from 1 to 3,600");
  }
  return {
    keyPrefix: options.keyPrefix || "resumable-stream",
    base: `${new URL(url)}`.replace(/\/$/, ""),
    token: options.token ?? environment("RESUMABLE_STREAM_TOKEN"),
    replayDone: options.replayDone ?? false,
    contentType: options.contentType ?? "text/plain; charset=utf-8",
    ttl: options.ttl ?? 86_400,
    lease,
    linger: options.linger ?? 5,
    retryFor: options.retryFor ?? 60_000,
    errorReason: (error) => attempt(() => options.errorReason?.(error)) ?? "source-error",
    onError: (error, id) => attempt(() => (options.onError ?? log)(error, id)),
    fetch: options.fetch ?? ((...call) => globalThis.fetch(...call)),
  };
}
