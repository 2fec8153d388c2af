// Events flow, and STORMS times all streams are dropped at the same moment; each comes back after its own `retry:` with
// its `Last-Event-ID`. Shows how long that takes, and that no client loses an event. It is also the one to run while
// nodes are rolled: with STORMS=0 the streams end only where the nodes end them.
import { plan } from "../lib/plan.js";
import { publisherOf, sharedChannels, streamOf } from "../lib/run.js";
import { settings } from "../lib/settings.js";

export { setup } from "../lib/run.js";

const s = settings({ ramp: "5s", duration: "30s", rate: 5 });
const publishFrom = s.ramp + 1;
const lasting = publishFrom + s.duration;

export const options = plan(s, {
  publishFrom,
  lasting: s.duration,
  thresholds: {
    fanfare_resumed: [`p(95)<${s.resumedMs}`],
    // A fault that did nothing proves nothing.
    fanfare_reconnects: [`count>=${Math.floor((s.reconnects ?? s.storms * s.streams) / s.instances)}`],
    ...(s.broken > 0 ? { fanfare_broken: [`count>=${Math.floor(s.broken / s.instances)}`] } : {}),
    // A node that is full for a moment says so, and the client comes back.
    fanfare_overloaded: null,
    // What was published while a stream was away comes late, as it must.
    fanfare_latency: null,
  },
});

export function stream(run) {
  streamOf(s, run, sharedChannels(s, run.run), lasting);
}

export function publish(run) {
  const publisher = publisherOf(s, run, sharedChannels(s, run.run), lasting);
  for (let storm = 0; storm < s.storms; storm++) {
    publisher.steadily(s.rate, s.duration / (s.storms + 1));
    publisher.toAll("drop");
  }
  publisher.steadily(s.rate, s.duration / (s.storms + 1));
  publisher.toAll("done");
}
