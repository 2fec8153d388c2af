/** Functions that are called with each value. */
export class Listeners<Args extends unknown[]> {
  readonly #entries = new Set<{ readonly listener: (...args: Args) => void }>();
  readonly #onError: (error: unknown) => void;

  /** @param onError gets what a listener throws; the other listeners are called all the same */
  constructor(onError: (error: unknown) => void) {
    this.#onError = onError;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Adds a listener; returns a function that removes it. A function that is added twice is called twice. */
  readonly add = (listener: (...args: Args) => void, { signal }: ListenOptions = {}): (() => void) => {
    const entry = { listener };
    const remove = () => {
      this.#entries.delete(entry);
      signal?.removeEventListener("abort", remove);
    };
    if (!signal?.aborted) this.#entries.add(entry);
    signal?.addEventListener("abort", remove);
    return remove;
  };

  call(...args: Args): void {
    for (const entry of [...this.#entries]) {
      if (!this.#entries.has(entry)) continue;
      try {
        entry.listener(...args);
      } catch (error) {
        this.#onError(error);
      }
    }
  }
}

/** Options of every method that adds a listener. */
export interface ListenOptions {
  /** Removes the listener when it aborts. */
  signal?: AbortSignal | undefined;
}
