import { FanfareError } from "./errors.js";

/** A bounded queue between a source that pushes and a loop that pulls. */
export class Queue<T> implements AsyncIterableIterator<T> {
  readonly #limit: number;
  readonly #onEnd: () => void;
  readonly #items: T[] = [];
  readonly #takers: ((result: IteratorResult<T> | Promise<IteratorResult<T>>) => void)[] = [];
  #ended = false;
  #error: unknown;

  /** @param onEnd is called once, when nothing more will be taken */
  constructor(limit: number, onEnd: () => void) {
    this.#limit = limit;
    this.#onEnd = onEnd;
  }

  /** Adds an item. If the queue is full, the loop gets what is in it, and then the error `overflow`. */
  push(value: T): void {
    const taker = this.#takers.shift();
    if (taker) taker({ value, done: false });
    else if (this.#items.length >= this.#limit) this.end(new FanfareError("overflow", `more than ${this.#limit} events behind`));
    else if (!this.#ended) this.#items.push(value);
  }

  /** Ends the loop when it has taken what is in the queue: without error, or with one. */
  end(error?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#onEnd();
    for (const taker of this.#takers.splice(0)) taker(this.next());
  }

  async next(): Promise<IteratorResult<T>> {
    if (this.#items.length) return { value: this.#items.shift() as T, done: false };
    if (!this.#ended) return new Promise((resolve) => this.#takers.push(resolve));
    const error = this.#error;
    this.#error = undefined;
    if (error) throw error;
    return { value: undefined, done: true };
  }

  return(): Promise<IteratorResult<T>> {
    this.#items.length = 0;
    this.end();
    this.#error = undefined;
    return this.next();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
