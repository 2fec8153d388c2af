// The public conformance suite of Durable Streams, whole but for subscriptions, which Fanfare does not have.

import { runConformanceTests } from "@durable-streams/server-conformance-tests";

runConformanceTests({ baseUrl: process.env.STREAMS_URL, longPollTimeoutMs: 20_000, subscriptions: false });
