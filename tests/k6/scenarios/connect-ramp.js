// Streams are opened evenly over RAMP and then held for DURATION, while a few events go to all of them.
// Shows how long opening takes, and that who comes while events flow misses none.
import { plan } from "../lib/plan.js";
import { publisherOf, sharedChannels, streamOf } from "../lib/run.js";
import { settings } from "../lib/settings.js";

export { setup } from "../lib/run.js";

const s = settings({ ramp: "30s", duration: "10s", rate: 2 });
const lasting = s.ramp + s.duration;

export const options = plan(s, { publishFrom: 0, lasting });

export function stream(run) {
  streamOf(s, run, sharedChannels(s, run.run), lasting);
}

export function publish(run) {
  const publisher = publisherOf(s, run, sharedChannels(s, run.run), lasting);
  publisher.steadily(s.rate, lasting);
  publisher.toAll("done");
}
