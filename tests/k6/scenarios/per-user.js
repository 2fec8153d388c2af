// Every stream is another user's, and RATE events a second go to one user after the other for DURATION.
// Shows the latency of messages to one user each, wherever that user's stream is.
import { plan } from "../lib/plan.js";
import { publisherOf, streamOf, userChannels } from "../lib/run.js";
import { settings } from "../lib/settings.js";

export { setup } from "../lib/run.js";

const s = settings({ ramp: "5s", duration: "30s", rate: 200 });
const publishFrom = s.ramp + 1;
const lasting = publishFrom + s.duration;

export const options = plan(s, { publishFrom, lasting: s.duration });

export function stream(run) {
  streamOf(s, run, [], lasting);
}

export function publish(run) {
  const publisher = publisherOf(s, run, userChannels(s, run.run), lasting);
  publisher.steadily(s.rate, s.duration);
  publisher.toAll("done");
}
