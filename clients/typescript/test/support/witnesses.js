// Clients that write down all that they say. Runs in Node and, bundled, in pages.

import { connect } from "../../dist/index.js";
import { randomFrom } from "./random.js";

/** Milliseconds between the ticks, which show when the event loop ran. */
const TICK = 10;

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

class Witness {
  states = [];
  received = { own: [], room: [] };
  gaps = [];
  followed = 0;

  constructor({ user, room, url }, options) {
    this.user = user;
    this.client = connect(`${url}/v1/events?user=${user}`, { ...options, channels: [room] });
    this.client.onState(({ error, ...state }) => {
      this.states.push({ ...state, ...(error && { error: `${error}` }), at: performance.now(), date: Date.now() });
    });
    this.client.onGap((gap) => this.gaps.push(gap));
    this.client.onEvent(({ channel, data }) => {
      if (channel === room) this.received.room.push(data);
      else if (channel === `user:${user}`) this.received.own.push(data);
    });
  }

  /** Follows and leaves another channel while events arrive. */
  async change(end, random) {
    while (Date.now() < end) {
      await sleep(500 + random() * 2000);
      await this.client.follow(`extra:${this.user}`);
      await this.client.unfollow(`extra:${this.user}`);
      this.followed += 1;
    }
  }
}

export class Witnesses {
  #ticks = [];
  #ticker = setInterval(() => this.#ticks.push(Date.now()), TICK);
  #all;

  /** @param specs `{ user, room, url }` of each client */
  constructor(specs, options) {
    this.#all = specs.map((spec) => new Witness(spec, options));
  }

  /** How far each one is. */
  progress() {
    return this.#all.map(({ user, received: { own, room }, states }) => ({
      user,
      own: own.length,
      room: room.length,
      connections: states.filter(({ name }) => name === "live").length,
      state: states.at(-1),
    }));
  }

  /** Changes channels until a time; every fifth does. */
  async change(end, seed) {
    const random = randomFrom(seed);
    await Promise.all(this.#all.filter((_, n) => n % 5 === 0).map((witness) => witness.change(end, random)));
  }

  close() {
    clearInterval(this.#ticker);
    for (const { client } of this.#all) client.close();
  }

  /** What each one wrote down, and the times at which the event loop ran. */
  testimony() {
    const all = this.#all.map(({ user, states, received, gaps, followed }) => ({ user, states, received, gaps, followed }));
    return { all, ticks: this.#ticks };
  }
}
