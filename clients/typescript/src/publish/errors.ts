import { FanfareError } from "../errors.js";

/** Why an event was not published. See {@link PublishError}. */
export type PublishErrorCode =
  /** The channel's name is invalid. */
  | "bad-channel"
  /** The type, the data, the key or `until` is invalid. */
  | "bad-event"
  /** The data is larger than `maxDataBytes`. */
  | "too-large"
  /** The buffer is full; `ready()` waits for room. */
  | "full"
  /** `until`, or the time of `retryFor`, has passed. */
  | "expired"
  /** The event's `signal` took it back. */
  | "aborted"
  /** The publisher was closed. */
  | "closed"
  /** Redis refuses the event. */
  | "refused";

/** Says why an event was not published. Programs compare `code`. */
export class PublishError extends FanfareError {
  /** A {@link PublishErrorCode}, or the code of the node's problem, such as `no-grant`. */
  declare readonly code: PublishErrorCode | (string & {});
  /** The event's channel. */
  readonly channel: string;
  /** The event's idempotency key. A later call with it stores nothing if the event was stored after all. */
  readonly key: string;
  /** Whether the event may have been stored all the same: it was sent, and the answer is missing. */
  readonly unknown: boolean;

  constructor(
    code: PublishErrorCode | (string & {}),
    message: string,
    options: { channel: string; key: string; unknown?: boolean; cause?: unknown },
  ) {
    super(code, message, options);
    this.name = "PublishError";
    this.channel = options.channel;
    this.key = options.key;
    this.unknown = options.unknown ?? false;
  }
}

/** One failed attempt to send an event. What else a transport throws counts as a missing answer: retried, `unknown`. */
export class SendError extends FanfareError {
  /** Becomes the `code` of the {@link PublishError} if there is no other attempt. */
  declare readonly code: string;
  /** Whether another attempt may succeed. */
  readonly retry: boolean;
  /** Whether the event may have been stored. */
  readonly unknown: boolean;
  /** Milliseconds that the server asks to wait. */
  readonly retryAfter: number | undefined;

  constructor(
    code: string,
    message: string,
    options: { retry: boolean; unknown: boolean; retryAfter?: number | undefined; cause?: unknown },
  ) {
    super(code, message, options);
    this.name = "SendError";
    this.retry = options.retry;
    this.unknown = options.unknown;
    this.retryAfter = options.retryAfter;
  }
}
