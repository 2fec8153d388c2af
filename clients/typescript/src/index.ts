/**
 * A client for the event streams of Fanfare.
 *
 * @module
 */
import { Client } from "./client.js";
import type { Options } from "./options.js";

export type { Client } from "./client.js";
export { type ErrorCode, FanfareError, Unauthorized } from "./errors.js";
export type { EventOf, FanfareEvent, Gap } from "./event.js";
export type { ListenOptions } from "./listeners.js";
export type { Options } from "./options.js";
export type { Block, BlockSink } from "./parser.js";
export { ProblemError } from "./problem.js";
export type { Connecting, Ended, Idle, Live, State, Waiting } from "./state.js";
export type { Store } from "./store.js";
export type { TokenReason, TokenRequest, TokenSource } from "./token.js";
export type { FetchOptions, StreamRequest, StreamSink, Transport } from "./transport.js";

/**
 * Makes a client and opens its stream.
 *
 * @typeParam Events - maps each type of event to the type of its data
 */
export function connect<Events extends object = Record<string, unknown>>(url: string | URL, options?: Options): Client<Events> {
  return createClient<Events>(url, options).open();
}

/** Makes a client that opens its stream with `open()` or with the first `hold()`. */
export function createClient<Events extends object = Record<string, unknown>>(
  url: string | URL,
  options?: Options,
): Client<Events> {
  return new Client<Events>(url, options);
}
