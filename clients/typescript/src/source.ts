import type { Item } from "./event.js";
import type { Options } from "./options.js";
import type { State } from "./state.js";
import type { Transport } from "./transport.js";

/** What a sink got last, in an earlier page perhaps; nothing at the first time. */
export type Place = string | null | undefined;

/** Where the events of a client come from. */
export interface Source {
  /** The channels in force, without the user's own and `broadcast`. */
  readonly channels: readonly string[];
  /** Starts, or continues at a place. */
  open(place: Place): void;
  /** Stops for a while: `open` continues. */
  suspend(): void;
  /** Stops. Calls of `follow` that wait end. */
  close(): void;
  /**
   * Changes the channels. Resolves when events of the new ones arrive, and at once while not open. If the server refuses them,
   * rejects with its `ProblemError`, and the channels stay.
   */
  follow(add: readonly string[], remove: readonly string[]): Promise<void>;
  /** The network or the page is back: a wait ends early, and a silent connection is replaced. */
  wake(online: boolean): void;
}

/** Where a source puts what happens. */
export interface Sink {
  state(state: State): void;
  /** @param place what `open` continues from */
  item(item: Item, place: string): void;
}

/** Makes the source of a client. */
export type Share = (settings: Settings, sink: Sink) => Source;

/** What a source needs to know: the options with their defaults. */
export interface Settings extends Omit<Options, "channels" | "transport"> {
  url: string;
  channels: readonly string[];
  /** Names this stream among those of the page's origin, in the browser's storage. */
  key: string;
  connectTimeout: number;
  idleTimeout: number;
  minDelay: number;
  maxDelay: number;
  maxAttempts: number;
  transport: Transport;
}

/** Returns channels with more of them, and without others. */
export function changed(channels: readonly string[], add: readonly string[], remove: readonly string[]): string[] {
  return [...new Set([...channels, ...add])].filter((channel) => !remove.includes(channel));
}
