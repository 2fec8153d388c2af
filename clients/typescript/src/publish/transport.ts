import type { SendError } from "./errors.js";
import type { Publication } from "./event.js";

/** What became of an event. */
export interface Receipt {
  /** The event's idempotency key. */
  key: string;
  /** The event's position in its channel; over the intake, the id of its entry. */
  id: string;
  /** Whether the key was used before, by a retry or by another call. False over the intake, where that is decided later. */
  repeat: boolean;
}

/** One way to publish. `overHttp`, `overRedis` and `overIntake` make one. */
export interface PublishTransport {
  /**
   * Sends events once, in their order. Returns one result for each.
   *
   * @throws SendError if all of them failed for one reason; anything else counts as a missing answer
   */
  send(events: readonly Publication[], signal: AbortSignal): Promise<readonly (Receipt | SendError)[]>;
}
