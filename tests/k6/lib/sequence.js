// What one stream got of one channel. The publisher numbers a channel's events 1, 2, 3, …, and each says when it was
// published (`t`) and when the one before it was (`p`).

export class Sequence {
  /** `since`: when the stream was connected first, in milliseconds. */
  constructor(since) {
    this.since = since;
    this.highest = 0;
    this.missing = new Set();
  }

  /** Files a number as `new`, `late` (a higher one came before it) or `again`. */
  take({ n, p }) {
    if (this.highest === 0) {
      // What was published before the stream was there need not come. What was published after must.
      if (n > 1 && p > this.since) {
        this.missing.add(n - 1);
      }
      this.highest = n;
      return "new";
    }
    if (n > this.highest) {
      for (let skipped = this.highest + 1; skipped < n; skipped++) {
        this.missing.add(skipped);
      }
      this.highest = n;
      return "new";
    }
    return this.missing.delete(n) ? "late" : "again";
  }

  get lost() {
    return this.missing.size;
  }
}
