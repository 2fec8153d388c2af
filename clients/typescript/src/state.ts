/** What a client does at the moment. `client.state` is replaced with each change, never modified. */
export type State = Idle | Connecting | Live | Waiting | Ended;

/** Not opened yet, or the page is frozen or in the back/forward cache. */
export interface Idle {
  readonly name: "idle";
}

/** A connection is being opened. */
export interface Connecting {
  readonly name: "connecting";
  /** Failed connections since the last one that lasted. */
  readonly attempt: number;
}

/** Events arrive. */
export interface Live {
  readonly name: "live";
  readonly session: string;
  /** Id of the node that serves the stream. */
  readonly node: string;
}

/** The connection is lost, or could not be opened. The next attempt follows. */
export interface Waiting {
  readonly name: "waiting";
  /** Failed connections since the last one that lasted, this one included. */
  readonly attempt: number;
  /** Milliseconds until the next attempt. */
  readonly delay: number;
  /** Why the connection ended: a `FanfareError`, or what `fetch` or the token callback threw. */
  readonly error: Error;
}

/** Closed, or given up. `open()` starts again from the same place. */
export interface Ended {
  readonly name: "ended";
  /** Why; absent after `close()`. */
  readonly error?: Error;
}
