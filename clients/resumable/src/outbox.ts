import { type End, type ResumableStreamError, StreamEndedError } from "./errors.js";
import { pause } from "./pause.js";
import { endOf, errorOf, type Streams } from "./streams.js";

/** Bytes that wait to be sent, above which the source waits, too. */
const FULL = 1_048_576;
/** Maximum number of bytes of a request. */
const BATCH = 262_144;

/** Says that the stream is not this producer's any more: it has ended, or was deleted or replaced. */
export class Lost extends Error {
  readonly error: ResumableStreamError;

  constructor(error: ResumableStreamError) {
    super(error.message);
    this.error = error;
  }
}

/** Returns the headers that end a stream. A reason has visible ASCII, and at most 256 characters. */
export function endHeaders({ kind, reason }: End): Record<string, string> {
  const text = reason?.replace(/[^ -~]+/g, "?").trim();
  return { "stream-closed": "true", "stream-end": kind, ...(text && { "stream-end-reason": text.slice(0, 256).trim() }) };
}

/**
 * What a producer has not stored yet. One request is in flight at a time, so nothing overtakes; what comes meanwhile is sent with
 * the next one. Each has a number, so it counts once however often it is repeated.
 */
export class Outbox {
  readonly #streams: Streams;
  readonly #name: string;
  readonly #epoch = Date.now();
  #seq = 0;
  #parts: Uint8Array[] = [];
  #size = 0;
  #end: End | undefined;
  #wake: (() => void) | undefined;
  #room: (() => void) | undefined;
  #isEnding = false;
  /** When bytes were stored last, by the clock of `performance.now()`. */
  stored = performance.now();

  constructor(streams: Streams, name: string) {
    this.#streams = streams;
    this.#name = name;
  }

  /** Whether a request with the end was sent: from then on, an end may be this producer's. */
  get isEnding(): boolean {
    return this.#isEnding;
  }

  /** Adds bytes. Resolves when there is room for more. */
  async add(bytes: Uint8Array): Promise<void> {
    if (!bytes.length) return;
    this.#parts.push(bytes);
    this.#size += bytes.length;
    this.#wake?.();
    while (this.#size >= FULL) {
      await new Promise<void>((room) => {
        this.#room = room;
      });
    }
  }

  /** Ends the stream behind the bytes that were added. */
  end(end: End): void {
    this.#end = end;
    this.#wake?.();
  }

  /**
   * Sends what is added, until the end is stored.
   *
   * @throws Lost if the stream is not this producer's any more, RequestError if nodes refuse the bytes or none answers, and the reason
   * of the signal
   */
  async run(signal: AbortSignal): Promise<void> {
    const wake = () => this.#wake?.();
    signal.addEventListener("abort", wake);
    try {
      for (;;) {
        await this.#something(signal);
        if (!this.#end && this.#size < BATCH) await pause(this.#streams.settings.linger, signal);
        const body = this.#take();
        const end = this.#size ? undefined : this.#end;
        await this.#send(body, end, signal);
        if (end) return;
      }
    } finally {
      signal.removeEventListener("abort", wake);
      // What is added from now on is not kept.
      this.#parts = [];
      this.#size = Number.NEGATIVE_INFINITY;
      this.#room?.();
    }
  }

  /** Waits until there are bytes, or the end. */
  async #something(signal: AbortSignal): Promise<void> {
    while (!this.#size && !this.#end) {
      signal.throwIfAborted();
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Takes the bytes of one request. */
  #take(): Uint8Array {
    const parts: Uint8Array[] = [];
    let size = 0;
    while (this.#parts[0] && size < BATCH) {
      const part = this.#parts[0].subarray(0, BATCH - size);
      parts.push(part);
      size += part.length;
      if (part.length === this.#parts[0].length) this.#parts.shift();
      else this.#parts[0] = this.#parts[0].subarray(part.length);
    }
    const body = new Uint8Array(size);
    let at = 0;
    for (const part of parts) {
      body.set(part, at);
      at += part.length;
    }
    this.#size -= size;
    if (this.#size < FULL) this.#room?.();
    return body;
  }

  async #send(body: Uint8Array, end: End | undefined, signal: AbortSignal): Promise<void> {
    if (end) this.#isEnding = true;
    const answer = await this.#streams.ask(this.#name, {
      method: "POST",
      headers: {
        "content-type": this.#streams.settings.contentType,
        "producer-id": "resumable",
        // A later producer of the same stream shuts this one out.
        "producer-epoch": `${this.#epoch}`,
        "producer-seq": `${this.#seq}`,
        ...(end && endHeaders(end)),
      },
      ...(body.length && { body }),
      signal,
    });
    if (answer.status < 300) {
      this.#seq += 1;
      this.stored = performance.now();
      return;
    }
    const other = endOf(answer.headers);
    if (other) throw new Lost(new StreamEndedError(other));
    const error = errorOf(answer);
    const isLost = [404, 410].includes(error.status) || ["stale-producer", "producer-gap"].includes(error.code);
    throw isLost ? new Lost(error) : error;
  }
}
