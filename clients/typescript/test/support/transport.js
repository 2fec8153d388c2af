// A transport whose connections the test plays.

import { Client } from "../../dist/client.js";

/** Lets everything run that waits for no timer. */
export const turn = () => new Promise((resolve) => setImmediate(resolve));

export class Script {
  connections = [];

  open(request, sink) {
    return new Promise((resolve, reject) => {
      request.signal.addEventListener("abort", () => reject(request.signal.reason));
      this.connections.push(new Connection(request, sink, resolve, reject));
    });
  }

  get last() {
    return this.connections.at(-1);
  }
}

class Connection {
  constructor(request, sink, end, fail) {
    Object.assign(this, { request, sink, end, fail });
  }

  get query() {
    return this.request.url.searchParams;
  }

  get cursor() {
    return this.request.headers["last-event-id"];
  }

  block(type, data, id) {
    this.sink.bytes();
    this.sink.block({ type, data: typeof data === "string" ? data : JSON.stringify(data), id });
  }

  connected(id = "0-1") {
    this.block("connected", { session: this.query.get("session"), node: "a", cursor: id }, id);
  }

  event(type, data, id, channel = "room:7") {
    this.block("", { type, data, channel, id, time: 5 }, id);
  }
}

/** A client on a script, with what it says. Timers are those of the test. */
export async function play(t, options = {}) {
  t.mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: 1_000_000 });
  t.mock.method(Math, "random", () => 0.5);
  const script = new Script();
  const client = new Client("http://node/v1/events", { channels: ["room:7"], ...options, transport: script });
  const states = [];
  const events = [];
  const gaps = [];
  client.onState((state) => states.push(state));
  client.onEvent(({ type, data, id }) => events.push([type, data, id]));
  client.onGap((gap) => gaps.push(gap));
  client.open();
  await turn();
  const tick = async (milliseconds) => {
    await turn();
    t.mock.timers.tick(milliseconds);
    await turn();
  };
  return { script, client, states, events, gaps, tick, names: () => states.map(({ name }) => name) };
}
