/**
 * Acknowledgements: another device, or a browser that lost its storage, continues after what was acknowledged.
 *
 * @module
 */
import type { Client } from "./client.js";
import { ProblemError, problemOf } from "./problem.js";
import { Token, type TokenSource } from "./token.js";

/** Options of {@link acknowledge}. All times are in milliseconds. */
export interface AckOptions {
  /** Name of the device: 1 to 64 ASCII letters, digits, `-`, `_` and `.`. What uses one name for one user shares one place. */
  device: string;
  /** Whether each event is acknowledged once its listeners have been called: true. Otherwise the application calls `ack`. */
  auto?: boolean;
  /** Longest time until an acknowledgement is sent: 2,000. Those until then are one request. */
  interval?: number;
  /** As for the client. */
  token?: TokenSource;
  /** More request headers. */
  headers?: Record<string, string>;
  /** Whether cookies are sent to another origin (`include`), as for `fetch`. */
  credentials?: RequestCredentials;
  /** In place of the global `fetch`. */
  fetch?: typeof globalThis.fetch;
  /** Gets the error of an acknowledgement that the server refuses. The acknowledgement is dropped. */
  onError?: (error: unknown) => void;
}

/** Acknowledges the events of a client. Made by {@link acknowledge}. */
export class Acknowledger {
  readonly #url: URL;
  readonly #options: AckOptions;
  readonly #token: Token;
  readonly #open = new AbortController();
  #cursor: string | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #sending: Promise<void> | undefined;

  /** @internal */
  constructor(url: URL, options: AckOptions) {
    this.#url = url;
    this.#options = options;
    this.#token = new Token(options.token);
    const { signal } = this.#open;
    const { document } = globalThis;
    // A page that is hidden may never be shown again.
    const leave = () => this.#leave();
    globalThis.addEventListener?.("pagehide", leave, { signal });
    document?.addEventListener("visibilitychange", () => document.visibilityState === "hidden" && leave(), { signal });
  }

  /** Acknowledges everything up to a cursor, such as that of an event, soon. Later calls replace earlier ones. */
  ack(cursor: string): void {
    if (this.#open.signal.aborted) return;
    this.#cursor = cursor;
    this.#plan(0);
  }

  /** Sends what is to be acknowledged. Resolves when it is stored; rejects with the error of the request. */
  flush(): Promise<void> {
    this.#sending ??= this.#send().finally(() => {
      this.#sending = undefined;
    });
    return this.#sending;
  }

  /** Sends what is to be acknowledged, once, and acknowledges nothing after that. */
  async close(): Promise<void> {
    this.#open.abort();
    await this.flush();
  }

  #plan(wait: number): void {
    if (this.#open.signal.aborted) return;
    const { interval = 2_000 } = this.#options;
    // Clients that get an event at the same time acknowledge it at different times.
    this.#timer ??= setTimeout(() => this.#try(), Math.max(wait, (interval / 2) * (1 + Math.random())));
  }

  /** Sends what is newest at once, also beside a request in flight: the server keeps the greater position. */
  #leave(): void {
    const cursor = this.#cursor;
    if (!this.#sending) this.#try();
    else if (cursor !== undefined) this.#post(cursor).catch(() => {});
  }

  #try(): void {
    this.flush().catch((error) => {
      if (this.#cursor === undefined) this.#options.onError?.(error);
    });
  }

  async #send(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    while (this.#cursor !== undefined) {
      const cursor = this.#cursor;
      this.#cursor = undefined;
      try {
        await this.#post(cursor);
      } catch (error) {
        if (isPassing(error)) {
          this.#cursor ??= cursor;
          this.#plan((error as ProblemError).retryAfter ?? 0);
        }
        throw error;
      }
    }
  }

  async #post(cursor: string): Promise<void> {
    const { device, headers, credentials, fetch = globalThis.fetch } = this.#options;
    for (;;) {
      const token = await this.#token.get(new AbortController().signal);
      const response = await fetch(this.#url, {
        method: "POST",
        // The request may outlive the page.
        keepalive: true,
        headers: { ...headers, "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) },
        body: JSON.stringify({ device, cursor }),
        ...(credentials && { credentials }),
      });
      if (response.ok) {
        response.body?.cancel().catch(() => {});
        this.#token.accepted();
        return;
      }
      const problem = await problemOf(response);
      if (response.status !== 401 || !this.#token.refused()) throw problem;
    }
  }
}

/** Returns whether another try may succeed: the server is away or busy, or the network is. */
function isPassing(error: unknown): boolean {
  return !(error instanceof ProblemError) || error.status >= 500 || [408, 425, 429].includes(error.status);
}

/**
 * Acknowledges the events of a client for a device.
 *
 * @param url the URL of the client's stream: `/v1/ack` is beside `/v1/events`
 */
export function acknowledge<Events extends object>(client: Client<Events>, url: string | URL, options: AckOptions): Acknowledger {
  const base = new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href);
  const acknowledger = new Acknowledger(new URL("ack", base), options);
  if (options.auto ?? true) client.onEvent(({ cursor }) => acknowledger.ack(cursor));
  return acknowledger;
}
