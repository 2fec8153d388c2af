// Compiled only: what the types of events promise.

import { type Client, connect, type FanfareEvent } from "../../src/index.js";

interface Events {
  "order.paid": { id: number };
  note: string;
}

declare const client: Client<Events>;

client.on("order.paid", (data, event) => {
  data.id satisfies number;
  event satisfies FanfareEvent<{ id: number }, "order.paid">;
});
// @ts-expect-error no such type
client.on("order.lost", () => {});
// @ts-expect-error the data of a note is a string
client.on("note", (data: number) => data);

client.onEvent((event) => {
  if (event.type === "note") event.data satisfies string;
  else event.data.id satisfies number;
});

export async function loop(): Promise<void> {
  for await (const event of client) if (event.type === "order.paid") event.data.id satisfies number;
}

const untyped = connect("/v1/events");
untyped.on("anything", (data) => data satisfies unknown);

const { state } = client;
if (state.name === "waiting") state.delay satisfies number;
// @ts-expect-error only a client that waits has a delay
state.delay;
