import { FanfareError } from "./errors.js";

/** One block of an event stream that has data. */
export interface Block {
  /** The field `event`; empty for a plain message. */
  type: string;
  data: string;
  /** The last `id` of the stream so far. */
  id: string;
}

/** Where a parser puts what it reads. */
export interface BlockSink {
  block(block: Block): void;
  /** The field `retry`, in milliseconds. */
  retry(milliseconds: number): void;
}

/**
 * Parses the text of an event stream (WHATWG HTML, section 9.2.6) from bytes that are split anywhere.
 *
 * A block that the stream does not finish is dropped. Malformed UTF-8 is replaced with U+FFFD.
 */
export class Parser {
  readonly #decoder = new TextDecoder();
  readonly #sink: BlockSink;
  readonly #limit: number;
  /** The line that has begun. */
  #line = "";
  /** Whether the last character was a CR: a LF that follows belongs to it. */
  #afterCr = false;
  #type = "";
  #data: string | undefined;
  #id = "";

  /** @param limit maximum characters of a line, and of the data of a block; more is an error */
  constructor(sink: BlockSink, limit: number) {
    this.#sink = sink;
    this.#limit = limit;
  }

  /** @throws FanfareError `event-too-large` */
  push(bytes: Uint8Array): void {
    const text = this.#decoder.decode(bytes, { stream: true });
    if (!text) return;
    let start = this.#afterCr && text[0] === "\n" ? 1 : 0;
    this.#afterCr = text.endsWith("\r");
    const end = /\r\n?|\n/g;
    end.lastIndex = start;
    for (let match = end.exec(text); match; match = end.exec(text)) {
      const line = this.#line + text.slice(start, match.index);
      this.#line = "";
      start = end.lastIndex;
      this.#field(line);
    }
    this.#line = this.#bounded(this.#line + text.slice(start));
  }

  #field(line: string): void {
    if (!line) {
      if (this.#data !== undefined) this.#sink.block({ type: this.#type, data: this.#data, id: this.#id });
      this.#data = undefined;
      this.#type = "";
    }
    const colon = `${line}:`.indexOf(":");
    const value = line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    switch (line.slice(0, colon)) {
      case "data":
        this.#data = this.#bounded(this.#data === undefined ? value : `${this.#data}\n${value}`);
        break;
      case "event":
        this.#type = value;
        break;
      case "id":
        if (!value.includes("\0")) this.#id = value;
        break;
      case "retry":
        if (/^\d+$/.test(value)) this.#sink.retry(Number(value));
    }
  }

  #bounded(text: string): string {
    if (text.length > this.#limit) {
      throw new FanfareError("event-too-large", `an event has more than ${this.#limit} characters`);
    }
    return text;
  }
}
