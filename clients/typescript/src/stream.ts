import { Backoff } from "./backoff.js";
import { type ErrorCode, FanfareError } from "./errors.js";
import type { Item, RawEvent } from "./event.js";
import type { Block } from "./parser.js";
import { ProblemError } from "./problem.js";
import { Session } from "./session.js";
import { changed, type Place, type Settings, type Sink, type Source } from "./source.js";
import { Token } from "./token.js";
import type { StreamRequest, StreamSink } from "./transport.js";
import { Watchdog } from "./watchdog.js";

/** A connection that lived for this long starts the backoff again, in milliseconds. */
const STABLE = 10_000;
/** The same for a connection whose end the server announced, as when its node stops. */
const STABLE_ANNOUNCED = 1_000;
/** When the network is back, all its clients see it: each connects within this time, in milliseconds. */
const WAKE_SPREAD = 500;

/** Errors after which there is no other attempt. */
const FINAL: unknown[] = ["unauthorized", "disconnected", "invalid-url"];

/** The reason to end a connection for another one at once. */
const RESTART = {} as Error;

/** What follows the end of a connection. */
type Next = "now" | "wait" | "never";

/** A call of `follow` that waits for its channels. */
interface Change {
  resolve(): void;
  reject(error: Error): void;
}

/** One stream of the server, over any number of connections. */
export class Stream implements Source {
  channels: readonly string[];
  /** The channels of the last connection that the server accepted. */
  accepted: readonly string[] | undefined;
  readonly #settings: Settings;
  readonly #sink: Sink;
  readonly #backoff: Backoff;
  readonly #token: Token;
  readonly #session: Session;
  #cursor: string | undefined;
  #changes: Change[] = [];
  /** Identifies the time from `open` to `close`; absent while closed. */
  #run: object | undefined;
  #connection: AbortController | undefined;
  #watchdog: Watchdog | undefined;
  /** When the connection became live, in Unix milliseconds. */
  #liveSince = 0;
  /** The wait before the next connection. */
  #pause: { end(): void; timer: ReturnType<typeof setTimeout>; firm: boolean } | undefined;

  constructor(settings: Settings, sink: Sink) {
    this.#settings = settings;
    this.#sink = sink;
    this.channels = settings.channels;
    this.#backoff = new Backoff(settings.minDelay, settings.maxDelay);
    this.#token = new Token(settings.token);
    this.#session = new Session(settings.session, settings.resume === "tab" ? `${settings.key} session` : undefined);
  }

  open(place: Place): void {
    if (this.#run) return;
    this.#cursor = place || undefined;
    this.#backoff.attempt = 0;
    this.#run = {};
    void this.#keep(this.#run);
  }

  suspend(): void {
    this.#run = undefined;
    this.#connection?.abort();
    this.#pause?.end();
    this.#session.release();
  }

  close(): void {
    this.suspend();
    this.#settle();
  }

  follow(add: readonly string[], remove: readonly string[]): Promise<void> {
    const before = this.channels;
    const channels = changed(before, add, remove);
    const same = channels.length === before.length && channels.every((channel) => before.includes(channel));
    if (!same) this.channels = channels;
    if (!this.#run || (same && this.#liveSince && !this.#changes.length)) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#changes.push({ resolve, reject });
      // Calls in the same turn cause one reconnect.
      if (!same) queueMicrotask(() => this.#connection?.abort(RESTART));
    });
  }

  wake(online: boolean): void {
    const { idleTimeout } = this.#settings;
    if (this.#pause && !this.#pause.firm) this.#wait(Math.random() * WAKE_SPREAD, false, this.#pause.end);
    else if (online || (this.#watchdog?.silence as number) > idleTimeout / 2) this.#connection?.abort(RESTART);
  }

  /** Keeps a connection open until the run ends. */
  async #keep(run: object): Promise<void> {
    while (this.#run === run) {
      this.#sink.state({ name: "connecting", attempt: this.#backoff.attempt });
      if (this.#run !== run) return;
      const error = await this.#connect();
      if (this.#run !== run) return;
      const next = this.#judge(error);
      this.#liveSince = 0;
      if (next === "now") continue;
      if (next === "never" || this.#backoff.attempt >= this.#settings.maxAttempts) {
        this.#run = undefined;
        this.#session.release();
        this.#settle(error);
        this.#sink.state({ name: "ended", error });
        return;
      }
      const retryAfter = error instanceof ProblemError ? error.retryAfter : undefined;
      const delay = this.#backoff.next(retryAfter);
      this.#sink.state({ name: "waiting", attempt: this.#backoff.attempt, delay, error });
      if (this.#run !== run) return;
      const firm = retryAfter !== undefined || (error as FanfareError).code === "overloaded";
      await new Promise<void>((resolve) => this.#wait(delay, firm, resolve));
    }
  }

  #wait(delay: number, firm: boolean, resolve: () => void): void {
    clearTimeout(this.#pause?.timer);
    const end = () => {
      clearTimeout(this.#pause?.timer);
      this.#pause = undefined;
      resolve();
    };
    this.#pause = { end, timer: setTimeout(end, delay), firm };
  }

  /** Opens one connection; returns why it ended. */
  async #connect(): Promise<Error> {
    const connection = new AbortController();
    const { signal } = connection;
    const watchdog = new Watchdog(() => connection.abort(new FanfareError("timeout", "no byte in time")));
    this.#connection = connection;
    this.#watchdog = watchdog;
    watchdog.feed(this.#settings.connectTimeout);
    try {
      const request = await unless(signal, this.#request(signal));
      await unless(signal, this.#settings.transport.open(request, this.#receiver(connection, watchdog)));
      return new FanfareError("ended", "the stream ended");
    } catch (error) {
      if (signal.aborted) return signal.reason;
      return error instanceof Error ? error : new Error(`${error}`);
    } finally {
      connection.abort();
      watchdog.stop();
    }
  }

  #url(): URL {
    try {
      return new URL(this.#settings.url, globalThis.document?.baseURI ?? globalThis.location?.href);
    } catch {
      throw new FanfareError("invalid-url", this.#settings.url);
    }
  }

  async #request(signal: AbortSignal): Promise<StreamRequest> {
    const { after, last, headers } = this.#settings;
    const url = this.#url();
    const token = await this.#token.get(signal);
    const session = await this.#session.id();
    if (signal.aborted) this.#session.release();
    const { searchParams: query } = url;
    for (const channel of this.channels) query.append("channel", channel);
    query.set("session", session);
    query.set("format", "json");
    if (last) query.set("last", `${last}`);
    if (after !== undefined && !this.#cursor) query.set("after", `${after}`);
    return {
      url,
      signal,
      headers: {
        ...(typeof headers === "function" ? headers() : headers),
        accept: "text/event-stream",
        // Refusals have a status and a reason. Without this they are streams, for the sake of EventSource.
        prefer: "status",
        ...(this.#cursor && { "last-event-id": this.#cursor }),
        ...(token && { authorization: `Bearer ${token}` }),
      },
    };
  }

  /** What a connection puts its text into. Once it has been aborted, it changes nothing. */
  #receiver(connection: AbortController, watchdog: Watchdog): StreamSink {
    const { channels } = this;
    const whileOpen =
      <Args extends unknown[]>(put: (...args: Args) => void) =>
      (...args: Args) => {
        if (!connection.signal.aborted) put(...args);
      };
    return {
      bytes: whileOpen(() => watchdog.feed(this.#settings.idleTimeout)),
      retry: whileOpen((milliseconds: number) => {
        this.#backoff.retry = milliseconds;
      }),
      block: whileOpen((block: Block) => {
        // First of all: what cannot be read is not asked for again.
        if (block.id) this.#cursor = block.id;
        const value = parse(block.data);
        if (block.type) this.#control(block.type, value, connection, channels);
        else this.#item({ event: eventOf(value, block) });
      }),
    };
  }

  #item(item: Omit<Item, "cursor">): void {
    const cursor = this.#cursor ?? "";
    this.#sink.item({ ...item, cursor }, cursor);
  }

  #control(type: string, value: Record<string, string>, connection: AbortController, channels: readonly string[]): void {
    const { reason, session = "", node = "", channel, after } = value;
    switch (type) {
      case "connected":
        this.#liveSince = Date.now();
        this.#token.accepted();
        this.accepted = channels;
        this.#sink.state({ name: "live", session, node });
        this.#item({});
        if (channels === this.channels) this.#settle();
        break;
      case "excepted":
        // The cursor has passed events that this session does not get.
        this.#item({});
        break;
      case "gap":
        this.#item({ gap: { channel, after } });
        break;
      case "shutdown":
      case "overloaded":
      case "expired":
      case "superseded":
      case "disconnected":
        connection.abort(new FanfareError(type satisfies ErrorCode, reason ? `${type}: ${reason}` : type, { reason }));
    }
  }

  /** Ends the calls of `follow` that wait. */
  #settle(error?: Error): void {
    for (const { resolve, reject } of this.#changes.splice(0)) error ? reject(error) : resolve();
  }

  /** Decides what follows the end of a connection. */
  #judge(error: Error): Next {
    if (error === RESTART) return "now";
    const { code, reason } = error as Partial<FanfareError>;
    const announced = code === "shutdown" || code === "expired";
    if (this.#liveSince && Date.now() - this.#liveSince >= (announced ? STABLE_ANNOUNCED : STABLE)) this.#backoff.attempt = 0;
    if (FINAL.includes(code)) return "never";
    if (code === "superseded") {
      // Its `retry` is that of clients which keep the session id: many minutes.
      this.#backoff.retry = undefined;
      return this.#session.renew() ? "wait" : "never";
    }
    if (code === "expired" && reason === "token") this.#token.expired();
    return error instanceof ProblemError ? this.#judgeProblem(error) : "wait";
  }

  #judgeProblem(error: ProblemError): Next {
    const { status, code } = error;
    if (status === 401 && this.#token.refused()) return "now";
    if (code === "bad-cursor" && this.#cursor) {
      this.#cursor = undefined;
      this.#item({ gap: {} });
      return "now";
    }
    if (status >= 500 || [408, 425, 429].includes(status)) return "wait";
    if (this.#changes.length && this.accepted) {
      // The server refuses the new channels: it accepted the ones before.
      this.channels = this.accepted;
      this.#settle(error);
      return "now";
    }
    return "never";
  }
}

/** Waits for a promise, but not once the signal aborts. */
function unless<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason));
    promise.then(resolve, reject);
  });
}

/** Reads the data of a block: a JSON object. */
function parse(text: string): Record<string, string> {
  try {
    return Object(JSON.parse(text));
  } catch {
    throw malformed(text);
  }
}

function eventOf({ type, data, channel, id, time }: Record<string, unknown>, { data: text, id: cursor }: Block): RawEvent {
  if ([type, data, channel].some((value) => typeof value !== "string")) throw malformed(text);
  return { type, data, channel, id, time, cursor } as RawEvent;
}

function malformed(text: string): FanfareError {
  return new FanfareError("malformed", `malformed event: ${text.slice(0, 99)}`);
}
