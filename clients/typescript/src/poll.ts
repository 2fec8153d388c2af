/**
 * Long polls, where a network does not stream.
 *
 * @module
 */
import { type FetchOptions, FetchTransport, type StreamRequest, type StreamSink, type Transport } from "./transport.js";

/** The server sends the first byte at once. After this time without one, something on the way holds it, in milliseconds. */
const PATIENCE = 5_000;
/** How long a poll waits for its first event, in seconds: less than the silence that ends a connection. */
const WAIT = 25;
/** The server ends an answer 100 ms after its first event. What passes it on at once shows at least this, in milliseconds. */
const SPREAD = 50;
/** The second stream that brings no byte is followed by this time without another, doubled each time, in milliseconds. */
const HOLD = 60_000;
const LONGEST_HOLD = 3_600_000;

/**
 * For the option `transport`: carries the stream with long polls if the network, or `fetch` itself, holds a response until it is
 * complete, and in the body of one `fetch` again when the network passes on what it gets.
 */
export function orPoll(options: FetchOptions): Transport {
  return new StreamOrPoll(new FetchTransport(options));
}

class StreamOrPoll implements Transport {
  readonly #fetch: Transport;
  /** Whether the network does not stream, as far as is known. */
  #polls = !("body" in Response.prototype);
  #hold = 0;
  /** When another stream may be tried, in Unix milliseconds. */
  #notBefore = 0;

  constructor(fetch: Transport) {
    this.#fetch = fetch;
  }

  async open(request: StreamRequest, sink: StreamSink): Promise<void> {
    const { url, signal } = request;
    let { headers } = request;
    let skips = false;
    const placed: StreamSink = {
      ...sink,
      block(block) {
        if (block.id) headers = { ...headers, "last-event-id": block.id };
        // Each answer begins with `connected`.
        if (block.type !== "connected" || !skips) sink.block(block);
      },
    };
    // The first poll has its answer at once.
    let wait = 0;
    while (!signal.aborted) {
      if (!this.#polls) {
        skips = false;
        if (await this.#stream({ url, headers, signal }, placed)) return;
        wait = 0;
      }
      await this.#poll({ url, headers, signal }, placed, wait);
      skips = true;
      wait = WAIT;
    }
  }

  /** Opens a stream. Returns whether it ended; otherwise not one byte came. */
  async #stream(request: StreamRequest, sink: StreamSink): Promise<boolean> {
    const { signal } = request;
    const connection = new AbortController();
    const abort = () => connection.abort(signal.reason);
    const timer = setTimeout(() => {
      this.#polls = true;
      this.#notBefore = Date.now() + this.#hold;
      this.#hold = Math.min(this.#hold * 2 || HOLD, LONGEST_HOLD);
      abort();
    }, PATIENCE);
    const bytes = () => {
      clearTimeout(timer);
      sink.bytes();
    };
    signal.addEventListener("abort", abort);
    try {
      await this.#fetch.open({ ...request, signal: connection.signal }, { ...sink, bytes });
    } catch (error) {
      if (!this.#polls) throw error;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
    }
    return !this.#polls;
  }

  async #poll(request: StreamRequest, sink: StreamSink, wait: number): Promise<void> {
    const url = new URL(request.url);
    url.searchParams.set("wait", `${wait}`);
    let first = 0;
    const bytes = () => {
      first ||= Date.now();
      sink.bytes();
    };
    await this.#fetch.open({ ...request, url }, { ...sink, bytes });
    const now = Date.now();
    if (now - first > SPREAD && now > this.#notBefore && "body" in Response.prototype) this.#polls = false;
  }
}
