import { type End, RequestError } from "./errors.js";
import type { Settings } from "./options.js";
import { Backoff, pause } from "./pause.js";

/** How long a node may take for an answer, or for the headers of a live one, in milliseconds. */
const TIMEOUT = 10_000;

/** An answer without its body. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Uint8Array;
  /** Whether an earlier attempt may have had an effect: it was sent, and its answer is missing. */
  readonly isRepeat: boolean;
}

/** A request for a stream. */
export interface StreamRequest {
  readonly method: "PUT" | "POST" | "GET" | "HEAD" | "DELETE";
  readonly query?: string;
  readonly headers?: Record<string, string>;
  readonly body?: Uint8Array;
  /** Ends the attempts. */
  readonly signal?: AbortSignal | undefined;
}

/** Percent-encodes the characters of a text that a pattern matches. */
function encode(text: string, others: RegExp): string {
  const hex = (char: string) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`;
  return text.replace(others, (char) => encodeURIComponent(char).replace(/^[!'()*]$/, hex));
}

/** Returns the name of the stream of an id. */
export const nameOf = (keyPrefix: string, id: string): string =>
  `${encode(keyPrefix, /[^\w\-.~:/@]/gu)}:${encode(id, /[^\w\-.~]/gu)}`;

/** Returns how a stream has ended, as the headers of an answer say; `undefined` if it has not. */
export function endOf(headers: Headers): End | undefined {
  if (headers.get("stream-closed") !== "true") return undefined;
  const kind = headers.get("stream-end");
  return {
    kind: kind === "error" || kind === "cancelled" ? kind : "complete",
    reason: headers.get("stream-end-reason") ?? undefined,
  };
}

/** Returns the error of an answer that is not a success. */
export function errorOf({ status, headers, body }: Pick<Answer, "status" | "headers" | "body">): RequestError {
  let code = "http";
  let message = `the node has answered with ${status}`;
  if (headers.get("content-type")?.includes("json")) {
    try {
      const problem = JSON.parse(new TextDecoder().decode(body)) as { code?: unknown; detail?: unknown; title?: unknown };
      if (typeof problem.code === "string") code = problem.code;
      message += `: ${problem.detail ?? problem.title ?? code}`;
    } catch {
      // Not a problem of a node.
    }
  }
  return new RequestError(status, code, message);
}

/** The finite streams of some nodes: `/v1/stream/<name>`. */
export class Streams {
  readonly settings: Settings;

  constructor(settings: Settings) {
    this.settings = settings;
  }

  /** Returns the URL of a stream. */
  url(name: string, query = ""): string {
    return `${this.settings.base}/v1/stream/${name}${query && `?${query}`}`;
  }

  /**
   * Makes a request until a node answers it with a success or a refusal.
   *
   * @throws RequestError `unavailable` if none does for `retryFor` milliseconds, and the reason of the signal
   */
  async ask(name: string, request: StreamRequest): Promise<Answer> {
    const backoff = new Backoff();
    const end = Date.now() + this.settings.retryFor;
    let isRepeat = false;
    let refusals = 0;
    for (;;) {
      request.signal?.throwIfAborted();
      let failure: RequestError;
      let wait = 0;
      try {
        const answer = await this.#once(name, request);
        if (answer.status < 400) return { ...answer, isRepeat };
        failure = errorOf(answer);
        // The token has expired meanwhile.
        const isStale = answer.status === 401 && typeof this.settings.token === "function" && refusals++ === 0;
        if (!isStale && !passes(answer.status)) return { ...answer, isRepeat };
        wait = isStale ? 0 : 1000 * Number(answer.headers.get("retry-after") ?? 0) || 0;
        // Of these, none but a gateway's may come after the request has had an effect.
        isRepeat ||= answer.status >= 500 && failure.code === "http";
      } catch (cause) {
        request.signal?.throwIfAborted();
        failure = new RequestError(0, "unavailable", "no node has answered", { cause });
        isRepeat = true;
      }
      const delay = backoff.next(wait);
      if (Date.now() + delay > end) throw failure;
      await pause(delay, request.signal);
    }
  }

  /**
   * Opens a response whose body is read as it comes.
   *
   * @throws RequestError if the node refuses it, and the errors of `fetch`
   */
  async open(name: string, query: string, signal: AbortSignal): Promise<Response> {
    for (let refusals = 0; ; refusals += 1) {
      const response = await this.#fetch(name, { method: "GET", query }, signal);
      if (response.status === 200) return response;
      const body = new Uint8Array(await response.arrayBuffer());
      // The token has expired meanwhile.
      if (response.status === 401 && typeof this.settings.token === "function" && !refusals) continue;
      throw errorOf({ status: response.status, headers: response.headers, body });
    }
  }

  async #once(name: string, request: StreamRequest): Promise<Omit<Answer, "isRepeat">> {
    const abort = new AbortController();
    const relay = () => abort.abort(request.signal?.reason);
    const timer = setTimeout(() => abort.abort(new Error(`no answer in ${TIMEOUT} ms`)), TIMEOUT);
    request.signal?.addEventListener("abort", relay);
    try {
      const response = await this.#fetch(name, request, abort.signal);
      return { status: response.status, headers: response.headers, body: new Uint8Array(await response.arrayBuffer()) };
    } finally {
      clearTimeout(timer);
      request.signal?.removeEventListener("abort", relay);
    }
  }

  async #fetch(name: string, { method, query, headers, body }: StreamRequest, signal: AbortSignal): Promise<Response> {
    const { token, fetch } = this.settings;
    const bearer = typeof token === "function" ? await token() : token;
    return fetch(this.url(name, query), {
      method,
      headers: { ...headers, ...(bearer && { authorization: `Bearer ${bearer}` }) },
      // TypeScript's DOM library wants to know that this is not a SharedArrayBuffer.
      ...(body && { body: body as Uint8Array<ArrayBuffer> }),
      signal,
      cache: "no-store",
    });
  }
}

/** Returns whether another attempt may succeed: the node, the balancer or the rate is the cause. */
export const passes = (status: number): boolean => status >= 500 || [0, 408, 425, 429].includes(status);
