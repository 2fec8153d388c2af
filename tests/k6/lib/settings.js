// The settings of a run: `k6 run -e STREAMS=1000 scenarios/fan-out.js`. docs/load-testing.md lists all of them.

/** A duration like `90`, `90s`, `2m` or `1m30s`, in seconds. */
export function seconds(text) {
  const parts = /^(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?$/.exec(text);
  if (!parts || text === "") {
    throw new Error(`not a duration: ${text}`);
  }
  return Number(parts[1] || 0) * 60 + Number(parts[2] || 0);
}

function number(name, otherwise) {
  const text = __ENV[name];
  if (text === undefined || text === "") {
    return otherwise;
  }
  const value = Number(text);
  if (!Number.isFinite(value) || value < 0) {
    throw new Error(`${name} is not a number: ${text}`);
  }
  return value;
}

/** The settings of this run; a scenario says what it has where nothing was given. */
export function settings(defaults) {
  return {
    urls: (__ENV.URL || "http://127.0.0.1:8080").split(",").map((url) => url.trim().replace(/\/+$/, "")),
    streams: number("STREAMS", 100),
    instances: number("INSTANCES", 1),
    rate: number("RATE", defaults.rate),
    channels: number("CHANNELS", 1),
    ramp: seconds(__ENV.RAMP || defaults.ramp),
    duration: seconds(__ENV.DURATION || defaults.duration),
    storms: number("STORMS", 2),
    // None: as many as the storms cause.
    reconnects: number("RECONNECTS", null),
    broken: number("BROKEN", 0),
    payload: number("PAYLOAD", 100),
    retry: number("RETRY_MS", 3000),
    grace: seconds(__ENV.GRACE || "30s"),
    connectedMs: number("CONNECTED_MS", 1000),
    latencyMs: number("LATENCY_MS", 1000),
    resumedMs: number("RESUMED_MS", 10000),
  };
}
