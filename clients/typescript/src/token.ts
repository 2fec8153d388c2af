/**
 * Why a token is needed.
 *
 * - `first`: the client connects for the first time
 * - `expired`: the server ended the stream because the token expired
 * - `unauthorized`: the server refused the last token with 401
 */
export type TokenReason = "first" | "expired" | "unauthorized";

/** What a token callback gets. */
export interface TokenRequest {
  reason: TokenReason;
  /** Aborts when the token is no longer needed. */
  signal: AbortSignal;
}

/**
 * A token, or a function that returns one. It throws {@link Unauthorized} if there is none and will be none; after any other error
 * the client asks again later. `null` sends no `Authorization`, for a token in a cookie.
 */
export type TokenSource = string | ((request: TokenRequest) => string | null | undefined | Promise<string | null | undefined>);

/** The token of a stream. It is kept over reconnects, so a crashed node does not make every client ask for a token. */
export class Token {
  readonly #source: TokenSource | undefined;
  #reason: TokenReason | undefined = "first";
  #value: string | null | undefined;
  /** Whether `#value` came because the one before was refused. */
  #fresh = false;

  constructor(source: TokenSource | undefined) {
    this.#source = source;
  }

  async get(signal: AbortSignal): Promise<string | null | undefined> {
    const reason = this.#reason;
    if (typeof this.#source !== "function") return this.#source;
    if (reason) {
      const value = await this.#source({ reason, signal });
      if (signal.aborted) return undefined;
      this.#value = value;
      this.#fresh = reason === "unauthorized";
      this.#reason = undefined;
    }
    return this.#value;
  }

  /** The server accepted the token. */
  accepted(): void {
    this.#fresh = false;
  }

  /** The server ended the stream because the token expired. */
  expired(): void {
    this.#reason = "expired";
  }

  /** The server refused the token. Returns whether another one can be had. */
  refused(): boolean {
    if (typeof this.#source !== "function" || this.#fresh) return false;
    this.#reason = "unauthorized";
    return true;
  }
}
