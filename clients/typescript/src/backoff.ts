/** No wait is longer than this, whatever the server says, in milliseconds. */
const LONGEST = 3_600_000;

/** Waits between connections: what the server says, and exponential backoff with full jitter. */
export class Backoff {
  /** The last `retry` of the stream, in milliseconds. The server draws it for each client. */
  retry: number | undefined;
  /** Waits since the last connection that lasted. */
  attempt = 0;
  readonly #base: number;
  readonly #max: number;

  /** @param base the first wait is less than this @param max the longest wait; both in milliseconds */
  constructor(base: number, max: number) {
    this.#base = base;
    this.#max = max;
  }

  /**
   * Returns the milliseconds to wait before the next connection.
   *
   * The first wait is exactly the server's `retry`. Each further one is at least that, and at least a random part of the
   * exponentially growing maximum. A `Retry-After` is the same for all clients, so the random part is added to it.
   */
  next(retryAfter?: number): number {
    const { retry = 0 } = this;
    const spread = Math.random() * Math.min(this.#max, this.#base * 2 ** this.attempt);
    this.attempt += 1;
    if (retryAfter !== undefined) return Math.min(retryAfter + spread, LONGEST);
    return Math.min(this.attempt === 1 && retry ? retry : Math.max(retry, spread), LONGEST);
  }
}
