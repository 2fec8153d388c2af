/** Notices that a connection is silent. Any byte counts, so heartbeats do. */
export class Watchdog {
  readonly #onSilence: () => void;
  #last = 0;
  #limit = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(onSilence: () => void) {
    this.#onSilence = onSilence;
  }

  /** Milliseconds since the last byte, by the wall clock: timers stand still while a machine sleeps. */
  get silence(): number {
    return Date.now() - this.#last;
  }

  /** Notes a byte. Silence for longer than `limit` milliseconds is noticed from now on. */
  feed(limit: number): void {
    this.#last = Date.now();
    // The timer of a longer limit would be late.
    if (limit < this.#limit) this.stop();
    this.#limit = limit;
    this.#timer ??= setTimeout(this.#check, limit);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  readonly #check = () => {
    const left = this.#limit - this.silence;
    // The clock may have been set back.
    this.#timer = left > 0 ? setTimeout(this.#check, Math.min(left, this.#limit)) : undefined;
    if (left <= 0) this.#onSilence();
  };
}
