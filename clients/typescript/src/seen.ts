import type { Item } from "./event.js";

/** What has arrived, by the last position of each channel. */
export class Seen {
  #last: Record<string, string> = {};

  /** Notes an item. Returns whether it is an event that has arrived before. */
  repeats({ event, gap }: Item): boolean {
    // After a loss of data, positions may be smaller.
    if (gap) this.#last = gap.channel ? { ...this.#last, [gap.channel]: "" } : {};
    // An ephemeral event has no position, and is never sent again.
    if (!event?.id) return false;
    const { id, channel } = event;
    const last = this.#last[channel];
    if (last && order(id) <= order(last)) return true;
    this.#last[channel] = id;
    return false;
  }
}

/** Returns a text that sorts as the position does. */
function order(position: string): string {
  return position.replace(/\d+/g, (number) => number.padStart(20, "0"));
}
