// All streams are open before RATE events a second go to CHANNELS channels for DURATION; each stream follows one of them.
// Shows the latency of a steady load, and that every stream gets every event once and in order.
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
  // The load was really there. Of several instances of k6 one has the publisher.
  thresholds: { fanfare_published: s.instances > 1 ? null : [`count>=${Math.floor(s.rate * s.duration)}`] },
});

export function stream(run) {
  streamOf(s, run, sharedChannels(s, run.run), lasting);
}

export function publish(run) {
  const publisher = publisherOf(s, run, sharedChannels(s, run.run), lasting);
  publisher.steadily(s.rate, s.duration);
  publisher.toAll("done");
}
