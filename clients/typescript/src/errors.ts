/** What went wrong with a stream, without a response of the server that says so. See {@link FanfareError}. */
export type ErrorCode =
  /** The URL is invalid, or relative where there is no page. */
  | "invalid-url"
  /** The server sent no byte in time: the connection is dead, or a proxy holds the answer back. */
  | "timeout"
  /** The stream ended although the server had not announced it. */
  | "ended"
  /** The response is 200, but no event stream: most often a login page or a captive portal. */
  | "not-a-stream"
  /** An event is larger than `maxEventSize`. */
  | "event-too-large"
  /** The text of an event is not what the protocol says. */
  | "malformed"
  /** The node is about to stop. */
  | "shutdown"
  /** No node could serve the stream; `reason` says why. */
  | "overloaded"
  /** The stream reached its maximum age, was idle for too long, or its token expired; `reason` says which. */
  | "expired"
  /** Another connection of the same user took the session. */
  | "superseded"
  /** The user or an admin ended the session. */
  | "disconnected"
  /** The token callback threw {@link Unauthorized}. */
  | "unauthorized"
  /** The buffer of an async iterator is full. */
  | "overflow"
  /** `parse` threw at an event; `cause` is what it threw. */
  | "invalid-event";

/** An error of the client. Programs compare `code`. */
export class FanfareError extends Error {
  /** An {@link ErrorCode}; for a {@link ProblemError} the code of the server's problem, such as `no-grant`. */
  declare readonly code: ErrorCode | (string & {});
  /** What the server gave as reason, such as `token` with the code `expired`. */
  declare readonly reason: string | undefined;

  constructor(code: ErrorCode | (string & {}), message: string, options?: { cause?: unknown; reason?: string | undefined }) {
    super(message, options);
    this.name = "FanfareError";
    this.code = code;
    this.reason = options?.reason;
  }
}

/** What a token callback throws to say that there is no token: the stream ends, and is not tried again. */
export class Unauthorized extends FanfareError {
  constructor(message = "there is no token", options?: { cause?: unknown }) {
    super("unauthorized", message, options);
  }
}
