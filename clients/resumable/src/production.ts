import { Copy } from "./copy.js";
import { type RequestError, ResumableStreamError, StreamEndedError } from "./errors.js";
import { follow } from "./follow.js";
import { behind } from "./offset.js";
import type { MakeStream } from "./options.js";
import { Lost, Outbox } from "./outbox.js";
import { pause } from "./pause.js";
import { storedText } from "./stored.js";
import { errorOf, type Streams } from "./streams.js";
import { Encoding } from "./text.js";

/** The headers of the `PUT` that creates a stream, and renews the lease of its producer. */
export function creation({ settings }: Streams): Record<string, string> {
  const { contentType, ttl, lease } = settings;
  return { "content-type": contentType, "stream-ttl": `${ttl}`, ...(lease !== null && { "stream-lease": `${lease}` }) };
}

/** A source that is stored. It owns all requests of its producer, and ends them. */
export class Production {
  /** Resolves when the end is stored or given up. Never rejects. */
  readonly done: Promise<void>;
  readonly #streams: Streams;
  readonly #id: string;
  readonly #name: string;
  readonly #copy: Copy;
  readonly #outbox: Outbox;
  /** Aborted when the stream is not this producer's any more: what `makeStream` gets. */
  readonly #lost = new AbortController();
  /** Aborted when nothing is to be sent any more. */
  readonly #over = new AbortController();
  readonly #encoding = new Encoding();
  #resolve!: () => void;
  #reader: ReadableStreamDefaultReader<string> | undefined;
  #isStoring = true;
  /** How the copy ends. */
  #copyError: Error | undefined;

  /** @param start the offset of the first byte */
  constructor(streams: Streams, id: string, name: string, start: string) {
    this.#streams = streams;
    this.#id = id;
    this.#name = name;
    this.#copy = new Copy((bytes) => storedText(streams, name, behind(start, bytes)));
    this.#outbox = new Outbox(streams, name);
    this.done = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  /**
   * Makes the source and begins to store it. Returns the stream of the caller.
   *
   * @throws what `makeStream` throws; the stream has ended as `error` then
   */
  async begin(makeStream: MakeStream): Promise<ReadableStream<string>> {
    const { signal } = this.#lost;
    const sending = this.#send();
    void Promise.all([sending, this.#keepLease(), this.#watch()]).then(() => this.#resolve());
    try {
      const onCancel = (listener: (reason: ResumableStreamError) => void) =>
        signal.addEventListener("abort", () => listener(signal.reason), { once: true });
      const source = await makeStream({ id: this.#id, signal, onCancel });
      this.#reader = source.getReader();
    } catch (error) {
      this.#fail(error);
      await sending;
      throw error;
    }
    void this.#drain(this.#reader);
    return this.#copy.stream;
  }

  /** Reads the source to its end, also if the copy has no reader. */
  async #drain(reader: ReadableStreamDefaultReader<string>): Promise<void> {
    const encoding = this.#encoding;
    const place = () => (encoding.isWithin ? undefined : encoding.bytes);
    try {
      if (this.#lost.signal.aborted) return await reader.cancel(this.#lost.signal.reason);
      for (;;) {
        const { value, done } = await reader.read();
        if (this.#lost.signal.aborted) return;
        if (done) break;
        if (typeof value !== "string") {
          throw new ResumableStreamError("bad-chunk", "makeStream must return a stream of strings");
        }
        const before = place();
        const bytes = encoding.encode(value);
        this.#copy.add(value, [before, place()]);
        if (this.#isStoring) await this.#outbox.add(bytes);
      }
      void this.#outbox.add(encoding.end());
      this.#outbox.end({ kind: "complete", reason: undefined });
      if (!this.#isStoring) this.#copy.end();
    } catch (error) {
      // A source that was aborted fails with that, and this is not its own failure.
      if (this.#lost.signal.aborted) return;
      this.#fail(error);
      reader.cancel(error).catch(() => {});
    }
  }

  /** The source has failed: the stream ends as `error`, behind what the source gave. */
  #fail(error: unknown): void {
    const { errorReason, onError } = this.#streams.settings;
    onError(error, this.#id);
    void this.#outbox.add(this.#encoding.end());
    this.#outbox.end({ kind: "error", reason: errorReason(error) });
    this.#copyError = error instanceof Error ? error : new Error(String(error));
    if (!this.#isStoring) this.#copy.end(this.#copyError);
  }
  /** Sends what the source gives, and its end. */
  async #send(): Promise<void> {
    try {
      await this.#outbox.run(this.#over.signal);
      this.#copy.end(this.#copyError);
    } catch (error) {
      if (error instanceof Lost) this.#lose(error.error);
      else if (!this.#over.signal.aborted) await this.#giveUp(error);
    } finally {
      this.#isStoring = false;
      this.#over.abort();
    }
  }

  /** The bytes cannot be stored. The caller's stream goes on; readers of the stored one learn that it has failed. */
  async #giveUp(error: unknown): Promise<void> {
    this.#isStoring = false;
    // The watch would take the end below for that of another caller.
    this.#over.abort();
    this.#streams.settings.onError(error, this.#id);
    const headers = {
      "stream-closed": "true",
      "stream-end": "error",
      "stream-end-reason": (error as RequestError).code ?? "unavailable",
    };
    // The stream's lease ends it otherwise.
    if ((error as RequestError).status) await this.#streams.ask(this.#name, { method: "POST", headers }).catch(() => {});
  }

  /** The stream is not this producer's any more: the source is stopped. */
  #lose(error: ResumableStreamError): void {
    if (this.#lost.signal.aborted) return;
    this.#isStoring = false;
    this.#lost.abort(error);
    this.#over.abort();
    this.#reader?.cancel(error).catch(() => {});
    this.#copy.endLike(error);
  }

  /** Renews the lease while the source is silent. */
  async #keepLease(): Promise<void> {
    const { lease } = this.#streams.settings;
    const { signal } = this.#over;
    if (lease === null) return;
    const every = (lease * 1000) / 3;
    while (!signal.aborted) {
      const rest = this.#outbox.stored + every - performance.now();
      if (rest > 0) {
        await pause(rest, signal);
        continue;
      }
      try {
        const answer = await this.#streams.ask(this.#name, { method: "PUT", headers: creation(this.#streams), signal });
        this.#outbox.stored = performance.now();
        if (answer.status === 201) await this.#revived();
        // What else is wrong with the stream, the watch and the next append find out.
      } catch {
        // Sending decides when to give up.
        this.#outbox.stored = performance.now();
      }
    }
  }

  /** The stream was deleted or has expired, and the renewal has created it again. */
  async #revived(): Promise<void> {
    const gone = await this.#streams.ask(this.#name, { method: "DELETE" });
    this.#lose(errorOf({ ...gone, status: 404 }));
  }

  /** Watches for an end that another caller gives the stream. */
  async #watch(): Promise<void> {
    const { signal } = this.#over;
    try {
      const parts = follow(this.#streams, this.#name, "now", signal);
      for (;;) {
        const { value, done } = await parts.next();
        if (!done) continue;
        if (!this.#outbox.isEnding) this.#lose(new StreamEndedError(value));
        return;
      }
    } catch (error) {
      if (signal.aborted) return;
      const { status } = error as RequestError;
      if (status === 404 || status === 410) this.#lose(error as RequestError);
      // Without the grant to read, an end is found by the next append.
    }
  }
}
