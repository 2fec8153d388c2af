const encoder = new TextEncoder();

/** Encodes the chunks of a text as UTF-8. A surrogate pair may lie on both sides of the border of two chunks. */
export class Encoding {
  #half = "";
  /** Bytes that were returned. */
  bytes = 0;

  /** Whether the last chunk has ended with the first half of a pair, which is still to be encoded. */
  get isWithin(): boolean {
    return this.#half !== "";
  }

  /** Returns the bytes of a chunk. */
  encode(chunk: string): Uint8Array {
    const text = this.#half + chunk;
    const last = text.charCodeAt(text.length - 1);
    const cut = last >= 0xd800 && last <= 0xdbff ? text.length - 1 : text.length;
    this.#half = text.slice(cut);
    return this.#count(encoder.encode(text.slice(0, cut)));
  }

  /** Returns the bytes of what is left. */
  end(): Uint8Array {
    const half = this.#half;
    this.#half = "";
    return this.#count(encoder.encode(half));
  }

  #count(bytes: Uint8Array): Uint8Array {
    this.bytes += bytes.length;
    return bytes;
  }
}

/** Decodes parts of UTF-8, which may end within a character, and leaves out the beginning. */
export class Decoding {
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  #skip: number;

  /** @param skip UTF-16 code units that are left out */
  constructor(skip: number) {
    this.#skip = skip;
  }

  /** Returns the text of a part; empty if there is none yet. */
  decode(part: Uint8Array): string {
    return this.#cut(this.#decoder.decode(part, { stream: true }));
  }

  /** Returns what is left. */
  end(): string {
    return this.#cut(this.#decoder.decode());
  }

  #cut(text: string): string {
    const rest = text.slice(this.#skip);
    this.#skip -= text.length - rest.length;
    return rest;
  }
}
