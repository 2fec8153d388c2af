import { FanfareError } from "./errors.js";
import type { Item } from "./event.js";
import { ProblemError } from "./problem.js";
import type { State } from "./state.js";

/** An error or a state that passes between tabs. */
export interface Plain {
  name?: string;
  error?: Plain;
  status?: number;
  code?: string;
  message?: string;
}

/** From a tab to the leader: its channels, or nothing when it goes. */
export interface Hello {
  hello: string;
  channels?: readonly string[] | undefined;
}
/** From the leader: where its stream is, and what it follows. `term` grows with each leader. */
export interface Beat {
  term: number;
  cursor: string;
  channels: readonly string[];
  state: Plain;
}
/** From the leader: what its stream brought after the last beat or news. */
export interface News {
  term: number;
  item: Item;
}
/** From the leader: the server refuses the channels of a tab. */
export interface Refusal {
  refused: string;
  error: Plain;
}
/** What tabs say to each other. */
export type Message = Hello | Beat | News | Refusal | { wake: true };

/** Returns what can pass to another tab. */
export function plain(error: Error): Plain {
  return { ...error, message: error.message };
}

export function plainState(state: State): Plain {
  return "error" in state && state.error ? { ...state, error: plain(state.error) } : { ...state };
}

/** Returns the error that another tab had. */
export function revived(error: Plain): Error {
  const { status, code = "", message = "" } = error;
  return Object.assign(status ? new ProblemError(status) : new FanfareError(code, message), error);
}
