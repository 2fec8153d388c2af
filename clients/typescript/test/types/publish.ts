// What the types say of publishing.

import { Redis } from "ioredis";
import { createClient } from "redis";
import { overHttp, overIntake, overRedis, Publisher, type PublishTransport } from "../../src/publish.js";

export async function types() {
  // The clients of both packages fit.
  const transports: PublishTransport[] = [
    overRedis(createClient()),
    overIntake(createClient()),
    overRedis(new Redis()),
    overIntake(new Redis()),
    overHttp("https://push.example/v1/publish", { token: async () => "" }),
  ];
  for (const transport of transports) {
    await using publisher = new Publisher(transport, { ordered: false });
    const { id, repeat, key } = await publisher.publish({ channel: "a", data: 1, until: new Date() });
    const strings: string[] = [id, key];
    const boolean: boolean = repeat;
    // @ts-expect-error an event needs data
    void publisher.publish({ channel: "a" });
    // @ts-expect-error `until` is a date or a number
    void publisher.publish({ channel: "a", data: 1, until: "tomorrow" });
    void [strings, boolean];
  }
}
