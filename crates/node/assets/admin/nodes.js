// The figures of all nodes: one row for each, and six lines for the cluster.

const SILENT = 5_000; // a node without figures for so long is marked
const GONE = 60_000; // and removed after that
const MOST = 500; // nodes shown
const POINTS = 120; // seconds of the lines
const REST = 200; // time between two changes of the table

const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

/** Anything as a number that can be added. */
const amount = (value) => (Number.isFinite(value) ? value : 0);
/** Anything as a short text. */
const short = (value) => String(value ?? "–").slice(0, 200);

export const count = (value) => (Number.isFinite(value) ? number.format(value) : "–");

export function bytes(value) {
  if (!Number.isFinite(value)) return "–";
  const unit = value >= 1e9 ? 3 : value >= 1e6 ? 2 : value >= 1e3 ? 1 : 0;
  return `${number.format(value / 1000 ** unit)} ${["B", "kB", "MB", "GB"][unit]}`;
}

/** A time in milliseconds, in its two largest units. */
export function time(ms) {
  if (!Number.isFinite(ms) || ms < 0) return "–";
  const parts = [["d", 86_400_000], ["h", 3_600_000], ["m", 60_000], ["s", 1000], ["ms", 1]];
  const first = parts.findIndex(([, size]) => ms >= size);
  if (first < 0) return "0 s";
  let rest = ms;
  const words = [];
  for (const [unit, size] of parts.slice(first, first < 3 ? first + 2 : first + 1)) {
    const whole = Math.floor(rest / size);
    rest -= whole * size;
    if (whole) words.push(`${whole} ${unit}`);
  }
  return words.join(" ");
}

/** The cells of a row after the name and the state, in the order of the table's head. */
const CELLS = [
  (node) => short(node.version),
  (node) => time(Date.now() - node.since),
  (node) => `${count(node.streams)} of ${count(node.max_streams)}`,
  (node) => count(node.opened),
  (node) => count(node.ended),
  (node) => count(node.events),
  (node) => `${bytes(node.bytes)}`,
  (node) => (Number.isFinite(node.cpu) ? `${number.format(node.cpu * 100)} %` : "–"),
  (node) => bytes(node.memory),
  (node) => (Number.isFinite(node.redis_ms) ? `${number.format(node.redis_ms)} ms` : "–"),
  (node) => count(node.channels),
  (node) => count(node.catching_up),
  (node) => count(node.open_fds),
];

/** The lines: title, unit, figure of a node, and how nodes are put together. */
const LINES = [
  ["Streams", count, (node) => node.streams, sum],
  ["Opened a second", count, (node) => node.opened, sum],
  ["Events a second", count, (node) => node.events, sum],
  ["Bytes a second", bytes, (node) => node.bytes, sum],
  ["Gaps a second", count, (node) => node.gaps, sum],
  ["Redis, slowest", (value) => `${number.format(value)} ms`, (node) => node.redis_ms, (values) => Math.max(0, ...values)],
];

function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}

export class Nodes {
  #nodes = new Map();
  #lines;
  #body;
  #labels;
  #empty;
  #due = 0;

  constructor(table, charts, chart, empty) {
    this.#body = table.tBodies[0];
    this.#labels = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
    this.#empty = empty;
    this.#lines = LINES.map(([title, ...rest]) => {
      const line = chart.content.cloneNode(true).firstElementChild;
      line.querySelector("dt").textContent = title;
      charts.append(line);
      return { figure: line.querySelector("output"), path: line.querySelector("path"), points: [], rest };
    });
  }

  /** Takes the figures of a node. */
  take(text) {
    const stats = JSON.parse(text);
    const id = short(stats.node);
    if (!this.#nodes.has(id) && this.#nodes.size >= MOST) return;
    this.#nodes.set(id, { ...this.#nodes.get(id), stats, at: performance.now() });
    this.#due ||= setTimeout(() => this.#show(), REST);
  }

  clear() {
    for (const [id, node] of this.#nodes) this.#remove(id, node);
    for (const line of this.#lines) line.points = [];
  }

  #remove(id, node) {
    node.row?.remove();
    this.#nodes.delete(id);
  }

  /** Continues the lines, and marks and removes silent nodes. Called once a second. */
  tick() {
    const live = this.#show();
    for (const line of this.#lines) draw(line, live);
  }

  /** Shows the newest figures, and returns those of nodes that are not silent. */
  #show() {
    clearTimeout(this.#due);
    this.#due = 0;
    const now = performance.now();
    const live = [];
    for (const [id, node] of this.#nodes) {
      const age = now - node.at;
      if (age > GONE) {
        this.#remove(id, node);
        continue;
      }
      if (age <= SILENT) live.push(node.stats);
      node.row ??= this.#row(id);
      this.#fill(node.row, node.stats, age);
    }
    this.#empty.hidden = this.#nodes.size > 0;
    return live;
  }

  /** A new row, in the order of the ids. */
  #row(id) {
    const row = document.createElement("tr");
    row.dataset.node = id;
    this.#labels.forEach((label, index) => {
      const cell = document.createElement(index === 0 ? "th" : "td");
      if (index === 0) cell.scope = "row";
      cell.dataset.label = label;
      row.append(cell);
    });
    const next = [...this.#body.rows].find((other) => other.dataset.node > id) ?? null;
    this.#body.insertBefore(row, next);
    row.cells[0].textContent = id;
    return row;
  }

  #fill(row, stats, age) {
    const words = [];
    if (age > SILENT) words.push(["silent", `silent for ${time(age)}`]);
    else if (stats.draining === true) words.push(["draining", "draining"]);
    else if (stats.ready === true) words.push(["ready", "ready"]);
    else words.push(["not-ready", "not ready"]);
    if (stats.intake_leader === true) words.push(["leader", "intake leader"]);
    const state = row.cells[1];
    if (state.textContent !== words.map(([, word]) => word).join("")) {
      state.replaceChildren(
        ...words.map(([name, word]) => {
          const badge = document.createElement("span");
          badge.className = `badge ${name}`;
          badge.textContent = word;
          return badge;
        }),
      );
    }
    row.cells[0].title = short(stats.address);
    CELLS.forEach((text, index) => {
      row.cells[index + 2].textContent = text(stats);
    });
  }
}

function draw(line, nodes) {
  const [text, figure, join] = line.rest;
  const value = join(nodes.map((node) => amount(figure(node))));
  line.points.push(value);
  if (line.points.length > POINTS) line.points.shift();
  line.figure.textContent = text(value);
  const top = Math.max(...line.points, 1e-9);
  const left = POINTS - line.points.length;
  const points = line.points.map((point, index) => `${left + index} ${(29 - (28 * point) / top).toFixed(1)}`);
  line.path.setAttribute("d", `M${points.join("L")}`);
}
