import { PublishError, type PublishErrorCode, type SendError } from "./errors.js";
import { bytes, type Publication } from "./event.js";
import type { Receipt } from "./transport.js";

/** An event that waits to be published. */
export class Pending {
  readonly event: Publication;
  /** What it occupies in the buffer. */
  readonly bytes: number;
  /** Settles once. */
  readonly receipt: Promise<Receipt>;
  /** How often it was sent. */
  attempts = 0;
  /** Whether it may have been stored by an attempt that is over. */
  #unknown = false;
  /** Whether an attempt is in progress. */
  #sending = false;
  /** Why the last attempt failed. */
  #cause: SendError | undefined;
  /** When it is given up, by the clock of `performance.now()`, which is not set back. */
  readonly #end: number;
  #resolve!: (receipt: Receipt) => void;
  #reject!: (error: PublishError) => void;

  /** @param retryFor milliseconds for which the event is tried, if it has no earlier `until` */
  constructor(event: Publication, retryFor: number) {
    this.event = event;
    const { channel, type = "", data, key } = event;
    this.bytes = bytes(channel) + bytes(type) + bytes(data) + bytes(key);
    this.#end = performance.now() + retryFor;
    this.receipt = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  /** Milliseconds for which it may still be sent; not positive once it is too late. */
  get left(): number {
    return Math.min(this.#end - performance.now(), (this.event.until ?? Infinity) - Date.now());
  }

  /** An attempt begins. */
  begin(): void {
    this.attempts += 1;
    this.#sending = true;
  }

  /** An attempt has failed. */
  end(failure: SendError): void {
    this.#sending = false;
    this.#unknown ||= failure.unknown;
    this.#cause = failure;
  }

  resolve(receipt: Receipt): void {
    this.#resolve(receipt);
  }

  reject(code: PublishErrorCode | (string & {}), message: string, cause: unknown = this.#cause): void {
    const { channel, key } = this.event;
    this.#reject(new PublishError(code, message, { channel, key, unknown: this.#unknown || this.#sending, cause }));
  }
}
