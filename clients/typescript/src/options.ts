import type { FanfareEvent } from "./event.js";
import type { Settings, Share } from "./source.js";
import type { Store } from "./store.js";
import type { TokenSource } from "./token.js";
import { type FetchOptions, FetchTransport, type Transport } from "./transport.js";

/** Options of a client. All times are in milliseconds. */
export interface Options {
  /** Channels to follow, besides the user's own and `broadcast`. */
  channels?: Iterable<string>;
  /**
   * Where a stream without a place begins: `latest` (the default), `earliest`, a Unix time, a cursor, or `acked`: after what the
   * device has acknowledged that the URL names with `?device=`.
   */
  after?: "latest" | "earliest" | "acked" | number | (string & {});
  /** Begin with the newest events, this many of each channel that has no place yet: 1 to 1000. */
  last?: number;
  /** The token, or a function that gets one. Without it, the token is in a cookie, or the server needs none. */
  token?: TokenSource;
  /** More request headers. Pages of another origin may send only those that the server allows. */
  headers?: Record<string, string> | (() => Record<string, string>);
  /** Whether cookies are sent to another origin (`include`), as for `fetch`. */
  credentials?: RequestCredentials;
  /**
   * Keep the place over page loads: in this tab, in this browser, or in a store of the application. With `tab`, the session id is
   * kept as well.
   */
  resume?: "tab" | "browser" | Store;
  /**
   * Reads, and may check, the data of an event. By default it is read as JSON, and is a string if it is no JSON. An event for
   * which this throws is reported to `onError`, and not delivered.
   */
  parse?: (data: string, event: FanfareEvent<string>) => unknown;
  /** `tabs()` of `@fanfare/client/tabs`: one stream for all tabs. */
  share?: Share;
  /** Session id. By default the client makes one. Two open clients with one id end each other's stream. */
  session?: string;
  /** Closes the client when it aborts. */
  signal?: AbortSignal;
  /** Longest time from the start of a connection to its first byte: 15,000. */
  connectTimeout?: number;
  /** Longest silence of a connection: 45,000, three heartbeats of the server. Heartbeats count. */
  idleTimeout?: number;
  /** The first wait is random below this, if the server says nothing: 1,000. It doubles with each failure. */
  minDelay?: number;
  /** Longest random wait: 30,000. The server may ask for more. */
  maxDelay?: number;
  /** How many connections in a row may fail before the client gives up: any number. */
  maxAttempts?: number;
  /** Maximum size of an event's text, in characters: 8 Mi. */
  maxEventSize?: number;
  /** In place of the global `fetch`. */
  fetch?: typeof globalThis.fetch;
  /** In place of `fetch`: another way to carry the stream, such as `orPoll` of `@fanfare/client/poll`. */
  transport?: Transport | ((options: FetchOptions) => Transport);
}

const DEFAULTS = {
  connectTimeout: 15_000,
  idleTimeout: 45_000,
  minDelay: 1_000,
  maxDelay: 30_000,
  maxAttempts: 1 / 0,
  maxEventSize: 8 * 1024 * 1024,
};

/** Fills in the defaults, also for options that are `undefined`. */
export function settingsOf(url: string, options: Options): Settings {
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Options;
  const all = { ...DEFAULTS, ...given };
  const channels = [...new Set(options.channels)];
  const key = `fanfare ${[url, ...channels]}`;
  const { transport = (options: FetchOptions) => new FetchTransport(options) } = all;
  return { ...all, url, channels, key, transport: typeof transport === "function" ? transport(all) : transport };
}
