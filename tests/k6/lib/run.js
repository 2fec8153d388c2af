// What the scenarios do with a VU.
import { sleep } from "k6";
import exec from "k6/execution";

import * as figures from "./figures.js";
import { follow } from "./stream.js";
import { Publisher } from "./publisher.js";
import { publisher, reader, userOf } from "./token.js";

/** What all VUs share: the name of this run. Where k6 runs on several machines, `RUN` gives all of them the same. */
export function setup() {
  // k6 leaves out the threshold of a figure that was never counted, and so a fault that did nothing would pass.
  for (const figure of [figures.broken, figures.reconnects, figures.finished]) {
    figure.add(0);
  }
  return { run: __ENV.RUN || Date.now().toString(36) };
}

/** The channels that streams follow, in turn. */
export function sharedChannels(s, run) {
  return Array.from({ length: s.channels }, (_, i) => `load:${run}:${i}`);
}

/** Each user's own channel. */
export function userChannels(s, run) {
  return Array.from({ length: s.streams }, (_, i) => `user:${userOf(run, i)}`);
}

/** Holds one stream; the streams of a scenario begin evenly over `ramp`. `lasting` is all of the run, in seconds. */
export function streamOf(s, { run }, channels, lasting) {
  const index = exec.scenario.iterationInTest;
  const begun = exec.scenario.startTime;
  sleep(Math.max(0, begun + ((s.ramp * index) / s.streams) * 1000 - Date.now()) / 1000);

  const { user, token } = reader(run, index, lasting);
  const query = [`session=${crypto.randomUUID()}`];
  if (channels.length > 0) {
    query.push(`channel=${encodeURIComponent(channels[index % channels.length])}`);
  }
  if (!token) {
    query.push(`user=${encodeURIComponent(user)}`);
  }
  follow({
    address: (attempt) => `${s.urls[(index + attempt) % s.urls.length]}/v1/events?${query.join("&")}`,
    token,
    retry: s.retry,
    deadline: begun + (lasting + s.grace) * 1000,
  });
}

export function publisherOf(s, { run }, channels, lasting) {
  return new Publisher({
    urls: s.urls,
    token: publisher(lasting),
    run,
    channels,
    payload: s.payload,
    grace: s.grace,
  });
}
