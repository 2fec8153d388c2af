// Judges what witnesses wrote down.

import assert from "node:assert/strict";

/** The states that may follow each state. */
const FOLLOWS = {
  // Again, if the channels change meanwhile.
  connecting: ["live", "waiting", "connecting"],
  live: ["waiting", "connecting"],
  waiting: ["connecting"],
};

/** Turns of the event loop in which bytes that the proxy has written reach the client. */
const ARRIVAL = 10;
/** Turns of the event loop in which a timer that is due, and what follows from it, has run. */
const REACTION = 20;

/** Every event arrived once and in order, and nothing was reported as missing. */
export function judgeEvents({ user, received, gaps }, inRoom, own) {
  const numbers = (count) => Array.from({ length: count }, (_, n) => n + 1);
  assert.deepEqual(received.room, numbers(inRoom), `${user}: the room's events, each once and in order`);
  assert.deepEqual(received.own, numbers(own), `${user}: its own events, each once and in order`);
  assert.deepEqual(gaps, [], `${user}: gaps`);
}

/** The states follow each other as documented, and no attempt is earlier than its wait allows. */
export function judgeStates({ user, states }) {
  assert.equal(states.at(-1).name, "ended", `${user}: closed at last`);
  for (const [n, state] of states.slice(0, -2).entries()) {
    const next = states[n + 1];
    assert.ok(FOLLOWS[state.name]?.includes(next.name), `${user}: ${state.name} and then ${next.name}`);
    if (state.name !== "waiting") continue;
    assert.ok(state.attempt >= 1 && state.error, `${user}: a wait has an attempt and an error`);
    // Timers count in whole milliseconds.
    assert.ok(next.at - state.at >= state.delay - 2, `${user}: ${next.at - state.at} ms in place of ${state.delay} ms`);
  }
}

/** The proxy has seen no request that no state announced. */
export function judgeRequests({ user, states }, requests) {
  const announced = states.filter(({ name }) => name === "connecting").length;
  const seen = requests.filter((request) => request.user === user).length;
  assert.ok(seen <= announced, `${user}: ${seen} requests, ${announced} announced`);
}

/**
 * A stream that stands still is left within the watchdog's time and the turns of the client's event loop which that takes.
 * Returns how many milliseconds after the watchdog's time the latest was left.
 */
export function judgeFreezes({ user, states }, ticks, freezes, { idleTimeout, connectTimeout }) {
  let latest = 0;
  for (const { at, left = Infinity } of freezes.filter((freeze) => freeze.user === user)) {
    // Before its first byte, a connection may take longer: the proxy may have passed on no more than the head of the response.
    const live = states.findLast(({ date }) => date <= at)?.name === "live";
    const timeout = live ? idleTimeout : connectTimeout;
    const arrived = ticks[ticks.findIndex((tick) => tick >= at) + ARRIVAL];
    const due = ticks.findIndex((tick) => tick >= arrived + timeout);
    const deadline = ticks[due + REACTION];
    // The run was over before.
    if (due < 0 || deadline === undefined) continue;
    const noticed = states.find(({ date, name }) => date >= at && name !== "live")?.date ?? Infinity;
    const gone = Math.min(left, noticed);
    assert.ok(gone <= deadline, `${user}: frozen at ${at}, due at ${at + timeout}, left at ${gone}, latest ${deadline}`);
    latest = Math.max(latest, gone - at - timeout);
  }
  return latest;
}
