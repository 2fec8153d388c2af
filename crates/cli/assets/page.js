"use strict";
// The page of `fanfare dev`. It follows the stream with a standard EventSource and shows only what it receives.

const $ = (id) => document.getElementById(id);
const ROWS = 200; // rows kept in the list
const USER = "dev";

let source = null;
let session = crypto.randomUUID();
let cursor = "";
let reconnects = 0;
let count = 0;

function state(name, text) {
  $("state").dataset.state = name;
  $("state").textContent = text;
  $("again").hidden = name !== "ended";
}

function moved(id) {
  if (!id) return;
  cursor = id;
  $("cursor").textContent = $("cursor").title = id;
}

function row(cells, className = "") {
  const line = document.createElement("li");
  line.className = className;
  for (const [name, text] of cells) {
    const cell = document.createElement(name === "time" ? "time" : "span");
    cell.className = name;
    cell.textContent = cell.title = text;
    line.append(cell);
  }
  const list = $("events");
  list.prepend(line);
  while (list.childElementCount > ROWS) list.lastElementChild.remove();
  $("empty").hidden = true;
}

const clock = (ms) => new Date(ms).toISOString().slice(11, 23);

function control(name, text) {
  row([["time", clock(Date.now())], ["channel", "–"], ["type", name], ["data", text]], `control ${name}`);
}

function connect() {
  const url = new URL("/v1/events", location.href);
  const channels = $("follow").elements.channels.value.split(/[\s,]+/).filter(Boolean);
  for (const channel of channels) url.searchParams.append("channel", channel);
  url.searchParams.set("user", USER);
  url.searchParams.set("session", session);
  url.searchParams.set("format", "json");
  // A new EventSource cannot set Last-Event-ID, so `after` has the cursor. Automatic reconnects use the header.
  if (cursor) url.searchParams.set("after", cursor);
  state("connecting", "connecting");
  source = new EventSource(url);

  source.addEventListener("connected", (event) => {
    const data = JSON.parse(event.data);
    $("node").textContent = data.node;
    $("session").textContent = $("session").title = data.session;
    moved(data.cursor);
    state("live", "live");
  });
  source.addEventListener("message", (event) => {
    moved(event.lastEventId);
    arrived(JSON.parse(event.data));
  });
  source.addEventListener("gap", (event) => control("gap", event.data));
  source.addEventListener("expired", (event) => control("expired", event.data));
  source.addEventListener("shutdown", (event) => control("shutdown", event.data));
  source.addEventListener("overloaded", (event) => control("overloaded", event.data));
  for (const end of ["superseded", "disconnected"]) {
    source.addEventListener(end, (event) => {
      control(end, event.data);
      source.close();
      state("ended", end);
    });
  }
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) {
      state("ended", "refused");
      return;
    }
    reconnects += 1;
    $("reconnects").textContent = reconnects;
    state("connecting", "reconnecting");
  });
}

function arrived(event) {
  count += 1;
  $("count").textContent = count;
  row([["time", clock(event.time)], ["channel", event.channel], ["type", event.type], ["data", event.data]]);
  if (event.type === "demo.token") token(JSON.parse(event.data));
  if (event.type === "demo.progress") $("progress").value = JSON.parse(event.data).done;
}

function token({ n, text, end }) {
  const reply = $("reply");
  if (n === 0) reply.textContent = "";
  reply.textContent += text;
  reply.classList.toggle("busy", !end);
}

async function publish(event) {
  const response = await fetch("/v1/publish", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(event),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(`${answer.title}: ${answer.detail}`);
  return answer;
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function busy(button, work) {
  button.disabled = true;
  try {
    await work();
  } catch (error) {
    said(error.message, true);
  } finally {
    button.disabled = false;
  }
}

function said(text, bad = false) {
  $("answer").textContent = text;
  $("answer").classList.toggle("bad", bad);
}

const ANSWER =
  "Each word you read is one event. It went into a log, over Pub/Sub to the node that serves you, and into this page, once and in order.";

async function tokens() {
  const words = ANSWER.match(/\S+\s*/g);
  for (const [n, text] of words.entries()) {
    const end = n === words.length - 1;
    await publish({ channel: "demo", type: "demo.token", data: { n, text, end } });
    await pause(60);
  }
}

async function job() {
  for (let done = 0; done <= 100; done += 10) {
    await publish({ channel: "demo", type: "demo.progress", data: { done } });
    await pause(150);
  }
}

$("publish").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target.elements;
  const what = { channel: form.channel.value, data: form.data.value };
  if (form.type.value) what.type = form.type.value;
  if (form.ephemeral.checked) what.ephemeral = true;
  busy(event.submitter ?? event.target.querySelector("button"), async () => {
    const answer = await publish(what);
    said(answer.id ? `published at ${answer.id}` : "sent, not kept");
  });
});
$("follow").addEventListener("submit", (event) => {
  event.preventDefault();
  source.close();
  connect();
});
$("unplug").addEventListener("click", (event) => {
  busy(event.target, async () => {
    source.close();
    state("connecting", "unplugged");
    await pause(5000);
    reconnects += 1;
    $("reconnects").textContent = reconnects;
    connect();
  });
});
$("again").addEventListener("click", () => {
  session = crypto.randomUUID();
  connect();
});
$("tokens").addEventListener("click", (event) => busy(event.target, tokens));
$("job").addEventListener("click", (event) => busy(event.target, job));

const node = location.origin;
const flag = node === "http://127.0.0.1:8080" ? "" : ` --server ${node}`;
const commands = [
  `curl -N '${node}/v1/events?user=me&channel=demo'`,
  `curl ${node}/v1/publish --json '{"channel":"demo","data":"hi"}'`,
  `fanfare listen demo --user me${flag}`,
  `fanfare publish demo 'hi' --type note${flag}`,
];
for (const command of commands) {
  const code = document.createElement("code");
  code.textContent = command;
  const item = document.createElement("li");
  item.append(code);
  $("shell").append(item);
}

connect();
// The first visit shows something by itself; `?demo=off` does not.
if (new URLSearchParams(location.search).get("demo") !== "off") {
  source.addEventListener("connected", () => { busy($("tokens"), tokens); busy($("job"), job); }, { once: true });
}
