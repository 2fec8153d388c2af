/** Waits for some milliseconds, or until the signal is aborted. */
export function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const over = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", over);
      resolve();
    };
    const timer = setTimeout(over, milliseconds);
    signal?.addEventListener("abort", over);
  });
}

/** No wait is longer than this, in milliseconds, unless a node asks for it. */
const LONGEST = 2_000;

/** Waits between attempts: exponential backoff with full jitter. */
export class Backoff {
  #attempt = 0;

  /** Returns the milliseconds to wait; `retryAfter` is what the node asks for. */
  next(retryAfter = 0): number {
    const spread = Math.random() * Math.min(LONGEST, 50 * 2 ** this.#attempt);
    this.#attempt += 1;
    return retryAfter + spread;
  }

  /** An attempt has succeeded. */
  reset(): void {
    this.#attempt = 0;
  }
}
