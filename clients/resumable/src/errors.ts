/** An error of this package. Programs compare `code`. */
export class ResumableStreamError extends Error {
  /** The code of the node's problem, such as `no-grant`, or one of this package: `ended`, `unavailable`, `bad-chunk`. */
  readonly code: string;

  constructor(code: string, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "ResumableStreamError";
    this.code = code;
  }
}

/** How a stream has ended. */
export interface End {
  readonly kind: "complete" | "error" | "cancelled";
  /** Visible ASCII, at most 256 characters. */
  readonly reason: string | undefined;
}

/**
 * Says that a stream has failed, to its readers, or that it was ended by another caller, to its producer. The code is `ended`.
 *
 * After a cancellation the name is `AbortError`, by which `fetch` and libraries recognize what was aborted.
 */
export class StreamEndedError extends ResumableStreamError {
  /** How the stream has ended. */
  readonly end: End["kind"];
  /** Why: `source-error`, `producer-lost`, or what the caller gave. */
  readonly reason: string | undefined;

  constructor({ kind, reason }: End) {
    super("ended", `the stream has ended: ${kind}${reason ? `, ${reason}` : ""}`);
    this.name = kind === "cancelled" ? "AbortError" : "StreamEndedError";
    this.end = kind;
    this.reason = reason;
  }
}

/** Says that a node, or what is in front of it, has refused a request, or that none has answered. */
export class RequestError extends ResumableStreamError {
  /** The HTTP status; 0 if there was no answer. */
  readonly status: number;

  constructor(status: number, code: string, message: string, options?: { cause?: unknown }) {
    super(code, message, options);
    this.name = "RequestError";
    this.status = status;
  }
}
