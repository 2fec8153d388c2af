/// <reference lib="esnext.disposable" preserve="true" />
import { Backoff } from "../backoff.js";
import { PublishError, type PublishErrorCode, SendError } from "./errors.js";
import { check, type NewEvent } from "./event.js";
import { newKey } from "./key.js";
import { Pending } from "./pending.js";
import type { PublishTransport, Receipt } from "./transport.js";

/** Options of a {@link Publisher}. Times are in milliseconds, sizes in bytes. */
export interface PublisherOptions {
  /**
   * Whether the events of a channel are stored in the order of the calls, whatever fails: an event is sent when the one before it
   * in its channel is done. Otherwise they are sent together, and one that is sent again may follow later ones. @defaultValue true
   */
  ordered?: boolean | undefined;
  /** Events, and their bytes, that may wait. @defaultValue 1000 */
  bufferEvents?: number | undefined;
  /** @defaultValue 8 MiB */
  bufferBytes?: number | undefined;
  /** Events that are sent together; at most `limits.batch_events`. @defaultValue 100 */
  batchEvents?: number | undefined;
  /** Their bytes; a sixth of `limits.batch_bytes` is always allowed. @defaultValue 1 MiB */
  batchBytes?: number | undefined;
  /** `limits.event_data` of the nodes. @defaultValue 60 KiB */
  maxDataBytes?: number | undefined;
  /** How long one attempt may take. @defaultValue 10 s */
  timeout?: number | undefined;
  /** How long an event without an earlier `until` is tried. @defaultValue 5 minutes */
  retryFor?: number | undefined;
  /** `publish.idempotency_window` of the nodes, which must be longer than `retryFor`. @defaultValue 10 minutes */
  idempotencyWindow?: number | undefined;
  /** The first random wait is shorter than this; it doubles. @defaultValue 100 ms */
  minDelay?: number | undefined;
  /** The longest random wait. @defaultValue 5 s */
  maxDelay?: number | undefined;
}

const DEFAULTS = {
  ordered: true,
  bufferEvents: 1000,
  bufferBytes: 8 * 1024 * 1024,
  batchEvents: 100,
  batchBytes: 1024 * 1024,
  maxDataBytes: 60 * 1024,
  timeout: 10_000,
  retryFor: 300_000,
  idempotencyWindow: 600_000,
  minDelay: 100,
  maxDelay: 5000,
};

/** Counts of a {@link Publisher} since it was made. */
export interface PublishCounts {
  /** Events that were stored. */
  published: number;
  /** Those of them whose key was used before. */
  repeated: number;
  /** Events that were given up at their `until`, or after `retryFor`. */
  expired: number;
  /** Events that were accepted and not published for another reason. */
  failed: number;
  /** Attempts that were repeated, for each event. */
  retries: number;
}

/** Publishes events: each with a key of its own, in batches, again with the same key when an attempt fails, and not after its `until`. */
export class Publisher {
  readonly counts: PublishCounts = { published: 0, repeated: 0, expired: 0, failed: 0, retries: 0 };
  readonly #transport: PublishTransport;
  readonly #options: typeof DEFAULTS;
  readonly #backoff: Backoff;
  /** In the order of the calls; an event leaves when it is settled. */
  readonly #queue = new Set<Pending>();
  #bytes = 0;
  #running = false;
  #closed = false;
  /** When the next batch may be sent, by the clock of `performance.now()`. */
  #notBefore = 0;
  /** Ends a wait, or the attempt in progress. */
  #interrupt: (() => void) | undefined;
  #roomWaiters: (() => void)[] = [];

  constructor(transport: PublishTransport, options: PublisherOptions = {}) {
    const given = Object.entries(options).filter(([, value]) => value !== undefined);
    this.#options = { ...DEFAULTS, ...Object.fromEntries(given) };
    this.#transport = transport;
    const { retryFor, idempotencyWindow, minDelay, maxDelay } = this.#options;
    if (!(retryFor < idempotencyWindow)) {
      throw new RangeError("retryFor must be shorter than idempotencyWindow: a later retry would store the event again");
    }
    this.#backoff = new Backoff(minDelay, maxDelay);
  }

  /**
   * Publishes an event. Resolves when it is stored.
   *
   * @throws PublishError if it is invalid, if the buffer is full, if Fanfare refuses it, and when it is too late
   */
  async publish(event: NewEvent): Promise<Receipt> {
    const { signal } = event;
    const { maxDataBytes, retryFor } = this.#options;
    const publication = check(event, maxDataBytes);
    const pending = new Pending(publication, retryFor);
    const { channel, key } = publication;
    if (this.#closed) throw new PublishError("closed", "the publisher is closed", { channel, key });
    if (signal?.aborted) throw new PublishError("aborted", "the event was taken back", { channel, key, cause: signal.reason });
    if (!this.#hasRoom(pending.bytes)) throw new PublishError("full", "the buffer is full", { channel, key });
    this.#queue.add(pending);
    this.#bytes += pending.bytes;
    const abort = () => this.#fail(pending, "aborted", "the event was taken back", signal?.reason);
    signal?.addEventListener("abort", abort);
    this.#start();
    return pending.receipt.finally(() => signal?.removeEventListener("abort", abort));
  }

  /**
   * Publishes the same event to several channels, in each by itself and with the same key. Resolves when it is stored in all of
   * them, with the receipts in the order of the channels.
   *
   * @throws PublishError of the first channel that fails; the others go on. A repeated call with the same `key` stores what is missing
   */
  publishEach(channels: readonly string[], event: Omit<NewEvent, "channel">): Promise<Receipt[]> {
    const key = event.key ?? newKey();
    return Promise.all(channels.map((channel) => this.publish({ ...event, channel, key })));
  }

  /** Waits until the buffer has room for an event of this size, in bytes. */
  async ready(bytes: number = this.#options.maxDataBytes): Promise<void> {
    while (!this.#closed && !this.#hasRoom(bytes)) await new Promise<void>((resolve) => this.#roomWaiters.push(resolve));
  }

  /** Waits until the events of all earlier calls are settled. */
  async flush(): Promise<void> {
    await Promise.allSettled(Array.from(this.#queue, ({ receipt }) => receipt));
  }

  /**
   * Takes no more events, and waits until all are settled.
   *
   * @param timeout milliseconds after which the rest fails with the code `closed`
   */
  async close(timeout = 10_000): Promise<void> {
    this.#closed = true;
    this.#announceRoom();
    const timer = setTimeout(() => {
      for (const pending of this.#queue) this.#fail(pending, "closed", "the publisher was closed before the event was stored");
    }, timeout);
    await this.flush();
    clearTimeout(timer);
  }

  /** Closes: `await using publisher = new Publisher(…)`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** An event that is larger than the buffer has room in an empty one. */
  #hasRoom(bytes: number): boolean {
    const { bufferEvents, bufferBytes } = this.#options;
    return !this.#queue.size || (this.#queue.size < bufferEvents && this.#bytes + bytes <= bufferBytes);
  }

  #announceRoom(): void {
    const waiters = this.#roomWaiters;
    this.#roomWaiters = [];
    for (const resolve of waiters) resolve();
  }

  #start(): void {
    if (this.#running) return;
    this.#running = true;
    // After the code that runs now, so that its events form a batch.
    queueMicrotask(() => this.#run());
  }

  async #run(): Promise<void> {
    for (;;) {
      this.#expire();
      if (!this.#queue.size) break;
      const wait = this.#notBefore - performance.now();
      if (wait > 0) await this.#sleep(Math.min(wait, this.#soonest(this.#queue)));
      else await this.#attempt(this.#batch());
    }
    this.#running = false;
  }

  #expire(): void {
    for (const pending of this.#queue) if (pending.left <= 0) this.#fail(pending, "expired", "the event was not stored in time");
  }

  /** Milliseconds until the first of these events is too late. */
  #soonest(events: Iterable<Pending>): number {
    let soonest = Infinity;
    for (const { left } of events) soonest = Math.min(soonest, left);
    return soonest;
  }

  #batch(): Pending[] {
    const { ordered, batchEvents, batchBytes } = this.#options;
    const batch: Pending[] = [];
    const channels = new Set<string>();
    let bytes = 0;
    for (const pending of this.#queue) {
      const { channel } = pending.event;
      if (ordered && channels.has(channel)) continue;
      bytes += pending.bytes;
      if (batch.length && (batch.length === batchEvents || bytes > batchBytes)) break;
      channels.add(channel);
      batch.push(pending);
    }
    return batch;
  }

  async #attempt(batch: readonly Pending[]): Promise<void> {
    for (const pending of batch) pending.begin();
    const results = await this.#send(batch);
    const again: SendError[] = [];
    for (const [index, pending] of batch.entries()) {
      const result = results[index] ?? new SendError("unavailable", "there is no answer", { retry: true, unknown: true });
      if (result instanceof SendError) {
        pending.end(result);
        if (!result.retry) this.#fail(pending, result.code, result.message);
        else if (this.#queue.has(pending)) again.push(result);
      } else this.#succeed(pending, result);
    }
    if (again.length) this.#pause(batch, again);
  }

  /** Sends events, and returns one result for each. The attempt ends before the first of them is too late. */
  async #send(batch: readonly Pending[]): Promise<readonly (Receipt | SendError)[]> {
    const controller = new AbortController();
    const aborted = new Promise<never>((_, reject) => {
      controller.signal.addEventListener("abort", () => reject(new Error("no answer in time")));
    });
    this.#interrupt = () => controller.abort();
    const timer = setTimeout(this.#interrupt, Math.min(this.#options.timeout, this.#soonest(batch)));
    try {
      const events = batch.map(({ event }) => event);
      return await Promise.race([this.#transport.send(events, controller.signal), aborted]);
    } catch (error) {
      if (error instanceof SendError) return batch.map(() => error);
      const message = error instanceof Error ? error.message : String(error);
      return batch.map(() => new SendError("unavailable", message, { retry: true, unknown: true, cause: error }));
    } finally {
      clearTimeout(timer);
      this.#interrupt = undefined;
    }
  }

  /** Has the next batch wait: those who share a failure shall not come back together. */
  #pause(batch: readonly Pending[], failures: readonly SendError[]): void {
    this.counts.retries += failures.length;
    const asked = failures.flatMap(({ retryAfter }) => retryAfter ?? []);
    this.#backoff.attempt = Math.max(...batch.map(({ attempts }) => attempts)) - 1;
    const wait = this.#backoff.next(asked.length ? Math.max(...asked) : undefined);
    this.#notBefore = performance.now() + wait;
  }

  async #sleep(milliseconds: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#interrupt = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#interrupt = undefined;
  }

  #succeed(pending: Pending, receipt: Receipt): void {
    if (!this.#remove(pending)) return;
    this.counts.published += 1;
    if (receipt.repeat) this.counts.repeated += 1;
    pending.resolve(receipt);
  }

  #fail(pending: Pending, code: PublishErrorCode | (string & {}), message: string, cause?: unknown): void {
    if (!this.#remove(pending)) return;
    this.counts[code === "expired" ? "expired" : "failed"] += 1;
    pending.reject(code, message, cause);
  }

  /** Removes an event from the buffer. Returns whether it was there. */
  #remove(pending: Pending): boolean {
    if (!this.#queue.delete(pending)) return false;
    this.#bytes -= pending.bytes;
    this.#announceRoom();
    // Nothing is left to wait for.
    if (!this.#queue.size) this.#interrupt?.();
    return true;
  }
}
