import { type End, type ResumableStreamError, StreamEndedError } from "./errors.js";

/** UTF-16 code units that wait for the reader; what comes after them is read from the stored stream. */
const FULL = 262_144;

/**
 * The stream that the caller of `createNewResumableStream` gets: the chunks of the source, at once. It does not hold up the
 * source. A reader that is far behind, or never reads, finds the rest in the stored stream.
 */
export class Copy {
  readonly stream: ReadableStream<string>;
  readonly #rest: (bytes: number) => ReadableStream<string>;
  readonly #chunks: string[] = [];
  #size = 0;
  /** Bytes of the chunks that were taken. */
  #bytes = 0;
  #isOver = false;
  #isWanted = true;
  #stored: ReadableStreamDefaultReader<string> | undefined;
  #end: { error: Error | undefined } | undefined;
  #wake: (() => void) | undefined;

  /** @param rest returns the stored stream behind this number of bytes */
  constructor(rest: (bytes: number) => ReadableStream<string>) {
    this.#rest = rest;
    this.stream = new ReadableStream<string>(
      {
        pull: (controller) => this.#pull(controller),
        cancel: (reason) => {
          this.#isWanted = false;
          this.#chunks.length = 0;
          return this.#stored?.cancel(reason);
        },
      },
      { highWaterMark: 0 },
    );
  }

  /**
   * Takes a chunk.
   *
   * @param bytes the bytes of the source before and after it; `undefined` within a surrogate pair
   */
  add(chunk: string, [before, after]: [number | undefined, number | undefined]): void {
    if (this.#isOver || !this.#isWanted || !chunk) return;
    if (this.#size >= FULL && before !== undefined) {
      this.#isOver = true;
      this.#bytes = before;
    } else {
      this.#chunks.push(chunk);
      this.#size += chunk.length;
      this.#bytes = after ?? this.#bytes;
    }
    this.#wake?.();
  }

  /** Ends the stream, behind its chunks. */
  end(error?: Error): void {
    this.#end ??= { error };
    this.#wake?.();
  }

  /** Ends the stream as its stored form ends. */
  endLike(reason: ResumableStreamError | End): void {
    const end = reason instanceof StreamEndedError ? reason.end : reason instanceof Error ? "error" : reason.kind;
    const error = reason instanceof Error ? reason : new StreamEndedError(reason);
    this.end(end === "error" ? error : undefined);
  }

  async #pull(controller: ReadableStreamDefaultController<string>): Promise<void> {
    for (;;) {
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) {
        this.#size -= chunk.length;
        return controller.enqueue(chunk);
      }
      if (this.#isOver) {
        this.#stored ??= this.#rest(this.#bytes).getReader();
        const { value, done } = await this.#stored.read();
        return done ? controller.close() : controller.enqueue(value);
      }
      if (this.#end) return this.#end.error ? controller.error(this.#end.error) : controller.close();
      if (!this.#isWanted) return;
      await new Promise<void>((wake) => {
        this.#wake = wake;
      });
    }
  }
}
