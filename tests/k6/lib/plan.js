// The k6 options that all scenarios share: many VUs that hold one stream each, and one that publishes.

/**
 * `publishFrom` and `lasting` are seconds: when the publisher begins, and how long it publishes.
 * `thresholds` are added to the common ones; null takes one away.
 */
export function plan(s, { publishFrom, lasting, thresholds }) {
  const all = publishFrom + lasting + 2 * s.grace;
  const common = {
    fanfare_connected: [`p(95)<${s.connectedMs}`],
    fanfare_latency: [`p(95)<${s.latencyMs}`],
    fanfare_lost: ["count==0"],
    fanfare_duplicates: ["count==0"],
    fanfare_disordered: ["count==0"],
    fanfare_gaps: ["count==0"],
    fanfare_overloaded: ["count==0"],
    fanfare_gave_up: ["count==0"],
    fanfare_unpublished: ["count==0"],
    // A stream that hangs loses nothing that it knows of; but it does not get to the end.
    fanfare_finished: [`count>=${Math.floor(s.streams / s.instances)}`],
  };
  const kept = Object.entries({ ...common, ...thresholds }).filter(([, limits]) => limits !== null);
  return {
    scenarios: {
      streams: {
        executor: "per-vu-iterations",
        exec: "stream",
        vus: s.streams,
        iterations: 1,
        maxDuration: `${Math.ceil(all)}s`,
        gracefulStop: "5s",
      },
      publisher: {
        executor: "per-vu-iterations",
        exec: "publish",
        vus: 1,
        iterations: 1,
        startTime: `${publishFrom}s`,
        maxDuration: `${Math.ceil(all)}s`,
        gracefulStop: "5s",
      },
    },
    thresholds: Object.fromEntries(kept),
    // Every address is another; as a tag it would make a time series of its own.
    systemTags: ["scenario", "name", "method", "status", "proto", "error_code", "expected_response"],
    summaryTrendStats: ["min", "med", "p(95)", "p(99)", "max"],
    userAgent: "fanfare-k6",
    setupTimeout: "60s",
  };
}
