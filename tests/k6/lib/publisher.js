// Publishes numbered events at a steady rate over HTTP. There is one publisher, so that the order is its order.
import { sleep } from "k6";
import http from "k6/http";

import * as figures from "./figures.js";

// How many events one request brings at most; the default of `limits.batch_events` is 1000.
const BATCH = 500;

export class Publisher {
  /** `channels` are served in turn. `payload` is how many bytes of filling each event has. */
  constructor({ urls, token, run, channels, payload, grace }) {
    this.urls = urls;
    this.params = {
      headers: { "Content-Type": "application/json", ...(token ? { Authorization: `Bearer ${token}` } : {}) },
      tags: { name: "publish" },
      timeout: "10s",
    };
    this.run = run;
    this.channels = channels.map((name) => ({ name, n: 0, p: 0 }));
    this.next = 0;
    this.filling = "x".repeat(payload);
    this.grace = grace;
    this.asked = 0;
  }

  /** Publishes `rate` events a second for so many seconds. Late events follow in one go. */
  steadily(rate, seconds) {
    const started = Date.now();
    const all = Math.floor(rate * seconds);
    for (let sent = 0; sent < all; ) {
      const due = Math.min(all, Math.floor(((Date.now() - started) / 1000) * rate) + 1) - sent;
      if (due <= 0) {
        sleep(Math.max(0.001, (sent * 1000) / rate - (Date.now() - started)) / 1000);
        continue;
      }
      const some = Math.min(due, BATCH);
      if (!this.send("load", this.turn(some))) {
        return;
      }
      sent += some;
    }
  }

  /** One event of this type in every channel. */
  toAll(type) {
    for (let from = 0; from < this.channels.length; from += BATCH) {
      this.send(type, this.channels.slice(from, from + BATCH));
    }
  }

  turn(count) {
    const chosen = [];
    for (let i = 0; i < count; i++) {
      chosen.push(this.channels[this.next]);
      this.next = (this.next + 1) % this.channels.length;
    }
    return chosen;
  }

  send(type, channels) {
    const t = Date.now();
    const events = channels.map((channel) => {
      channel.n += 1;
      const data = { n: channel.n, t, p: channel.p, x: this.filling };
      channel.p = t;
      return { channel: channel.name, type, data, key: `${this.run}-${channel.n}` };
    });
    return this.post(JSON.stringify(events), events.length);
  }

  /** Repeats until all events are taken: an event that was not published must not look like one that was lost. */
  post(body, count) {
    const deadline = Date.now() + this.grace * 1000;
    for (;;) {
      const url = this.urls[this.asked++ % this.urls.length];
      const answer = http.post(`${url}/v1/publish`, body, this.params);
      if (answer.status === 200 && answer.json().every((item) => item.id)) {
        figures.published.add(count);
        return true;
      }
      const useless = answer.status >= 400 && answer.status < 500 && answer.status !== 429;
      if (useless || Date.now() > deadline) {
        console.error(`cannot publish: status ${answer.status} ${answer.error || String(answer.body).slice(0, 300)}`);
        figures.unpublished.add(count);
        return false;
      }
      figures.repeated.add(1);
      sleep(0.2);
    }
  }
}
