import { FanfareError } from "./errors.js";
import { type BlockSink, Parser } from "./parser.js";
import { problemOf } from "./problem.js";

/** One way to carry a stream. `fetch` with a body that is read as it comes is the one that the client has. */
export interface Transport {
  /**
   * Opens one connection and puts what arrives into the sink. Resolves when the server ends the stream.
   *
   * @throws ProblemError for a response that is no stream; other errors are those of the connection
   */
  open(request: StreamRequest, sink: StreamSink): Promise<void>;
}

/** What one connection asks for. */
export interface StreamRequest {
  url: URL;
  headers: Record<string, string>;
  /** Aborts when the connection is no longer wanted. Nothing may be put into the sink after that. */
  signal: AbortSignal;
}

/** Where a transport puts what arrives. */
export interface StreamSink extends BlockSink {
  /** Bytes arrived, whatever they say. */
  bytes(): void;
}

/** Options of a transport that uses `fetch`. */
export interface FetchOptions {
  fetch?: typeof fetch;
  credentials?: RequestCredentials;
  maxEventSize: number;
}

/** Carries a stream in the body of a `fetch`. */
export class FetchTransport implements Transport {
  readonly #options: FetchOptions;

  constructor(options: FetchOptions) {
    this.#options = options;
  }

  async open({ url, headers, signal }: StreamRequest, sink: StreamSink): Promise<void> {
    const { fetch = globalThis.fetch, credentials, maxEventSize } = this.#options;
    const response = await fetch(url, { headers, signal, cache: "no-store", ...(credentials && { credentials }) });
    if (response.status !== 200) throw await problemOf(response);
    const type = response.headers.get("content-type") ?? "";
    if (!/^text\/event-stream\b/i.test(type)) {
      response.body?.cancel().catch(() => {});
      throw new FanfareError("not-a-stream", `no stream: ${type}`);
    }
    const parser = new Parser(sink, maxEventSize);
    const push = (bytes: Uint8Array) => {
      sink.bytes();
      parser.push(bytes);
    };
    // Some platforms have the body whole or not at all.
    const reader = response.body?.getReader();
    if (!reader) return push(new Uint8Array(await response.arrayBuffer()));
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (done || signal.aborted) return;
        push(value);
      }
    } finally {
      reader.cancel().catch(() => {});
    }
  }
}
