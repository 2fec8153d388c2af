// The page of operators. Everything that a client, a publisher or a node says is shown as text.

import { Nodes, bytes, count, time } from "./nodes.js";
import { Server } from "./server.js";

const $ = (id) => document.getElementById(id);
const TOKEN = "fanfare-admin-token"; // in the tab's storage
const ROWS = 200; // events of a trace
const USERS = 50; // users of a channel that are listed
const TEXT = 4000; // characters of an event in a trace
const PAGE = 50; // dead letters that are read at a time

const nodes = new Nodes($("nodes"), $("charts"), $("chart"), $("no-nodes"));
let server = null;
let leaveStream = null;
let stopTrace = null;

// Building blocks.

function element(name, text, properties = {}) {
  const made = Object.assign(document.createElement(name), properties);
  made.textContent = text;
  return made;
}

function button(text, work, className = "") {
  const made = element("button", text, { type: "button", className });
  made.addEventListener("click", () => attempt(work, made));
  return made;
}

function fact(list, name, text) {
  list.append(element("dt", name), element("dd", text));
}

function say(text) {
  $("said").textContent = text;
}

/** Runs what a control does, and shows why it failed. The control is disabled meanwhile. */
async function attempt(work, control) {
  control.disabled = true;
  try {
    await work();
  } catch (error) {
    say(error.message);
  } finally {
    control.disabled = false;
  }
}

/** Asks before something that cannot be undone. */
function confirmed(title, text, yes) {
  const dialog = $("confirm");
  $("confirm-title").textContent = title;
  $("confirm-text").textContent = text;
  $("confirm-yes").textContent = yes;
  dialog.showModal();
  $("confirm-no").focus();
  return new Promise((answer) => {
    let is = false;
    $("confirm-yes").onclick = () => {
      is = true;
      dialog.close();
    };
    $("confirm-no").onclick = () => dialog.close();
    dialog.onclose = () => answer(is);
  });
}

// Signing in and out, and the stream of all figures.

function state(name, text) {
  $("state").dataset.state = name;
  $("state").textContent = text;
}

function enter(token) {
  // Others cannot be sent in a header.
  if (/[^\x21-\x7e]/.test(token)) {
    $("refused").textContent = "a token has no such characters";
    return;
  }
  server = new Server(token);
  state("waiting", "connecting");
  leaveStream = server.follow("fanfare:stats", {}, {
    event: (event) => nodes.take(event.data),
    state(name, why) {
      if (name === "live" && $("inside").hidden) inside(token);
      state(name, name === "live" ? `live, by ${why}` : `reconnecting: ${why}`);
    },
    ended: leave,
  });
}

function inside(token) {
  sessionStorage.setItem(TOKEN, token);
  $("enter").reset();
  $("refused").textContent = "";
  $("outside").hidden = true;
  $("inside").hidden = $("leave").hidden = false;
  $("search").elements.name.focus();
  listDead();
}

function leave(why = "") {
  leaveStream?.();
  endTrace();
  server = leaveStream = null;
  sessionStorage.removeItem(TOKEN);
  nodes.clear();
  for (const id of ["found", "dead", "events"]) $(id).replaceChildren();
  for (const id of ["said", "published", "dead-state"]) $(id).textContent = "";
  $("publish").reset();
  $("search").reset();
  $("inside").hidden = $("leave").hidden = true;
  $("outside").hidden = false;
  $("refused").textContent = why;
  state("out", "signed out");
  $("enter").elements.token.focus();
}

$("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  leaveStream?.();
  $("refused").textContent = "";
  enter($("enter").elements.token.value.trim());
});
$("leave").addEventListener("click", () => leave());
setInterval(() => {
  if (!$("inside").hidden) nodes.tick();
}, 1000);

// One channel, one user.

$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  inspect($("search").elements.name.value.trim());
});

async function inspect(name) {
  $("search").elements.name.value = name;
  $("found").replaceChildren(channel(name), user(name.startsWith("user:") ? name.slice(5) : name));
}

function article(title) {
  const made = $("article").content.cloneNode(true).firstElementChild;
  made.querySelector("h3").textContent = title;
  const [facts, buttons, list] = ["dl", ".buttons", "ul"].map((part) => made.querySelector(part));
  return { made, facts, buttons, list };
}

/** Shows a part of an article, or why it cannot be shown. */
async function part(facts, name, read) {
  const value = element("dd", "…");
  facts.append(element("dt", name), value);
  try {
    value.textContent = await read();
  } catch (error) {
    value.textContent = error.message;
    value.className = "bad";
  }
}

function channel(name) {
  const { made, facts, buttons, list } = article(`Channel ${name}`);
  const settings = server.call("GET", ["channels", name, "settings"]);
  part(facts, "Retention", async () => {
    const { retention } = await settings;
    const rule = retention.rule ? `rule ${retention.rule}` : "default";
    const kept = `${count(retention.events)} events, ${time(retention.age)}`;
    return `${kept}; last position ${time(retention.positions)} (${rule})`;
  });
  part(facts, "History", async () => {
    const { events, more } = await server.call("GET", ["channels", name, "events"], { query: { limit: 1000 } });
    if (!events.length) return "empty";
    const [oldest, newest] = [events[0], events.at(-1)];
    return `${count(events.length)}${more ? " or more" : ""} events, ${oldest.id} to ${more ? "…" : newest.id}`;
  });
  part(facts, "Presence", async () => {
    if (!(await settings).presence) return "not recorded (session.presence_channels)";
    const presence = await server.call("GET", ["channels", name, "presence"], { query: { users: USERS } });
    for (const id of presence.user_ids) {
      const row = document.createElement("li");
      row.append(button(id, () => inspect(id), "link"));
      list.append(row);
    }
    if (presence.next) list.append(element("li", "…"));
    return `${count(presence.sessions)} sessions of ${count(presence.users)} users`;
  });
  buttons.append(
    button("Trace", () => trace(name)),
    button("Publish", () => {
      $("publish").elements.channel.value = name;
      $("publish").elements.data.focus();
    }),
  );
  return made;
}

function user(id) {
  const { made, facts, buttons, list } = article(`User ${id}`);
  const all = button("Disconnect all", async () => {
    if (!(await confirmed("Disconnect the user?", `All sessions of ${id} end. Clients do not come back by themselves.`, "Disconnect")))
      return;
    const { disconnected } = await server.call("DELETE", ["users", id, "sessions"]);
    say(`${count(disconnected)} sessions of ${id} disconnected`);
    sessions();
  }, "danger");
  const number = element("dd", "…");
  facts.append(element("dt", "Sessions"), number);

  async function sessions() {
    try {
      const found = await server.call("GET", ["users", id, "sessions"]);
      number.textContent = count(found.sessions.length);
      number.className = "";
      list.replaceChildren(...found.sessions.map((session) => one(session)));
    } catch (error) {
      number.textContent = error.message;
      number.className = "bad";
    }
  }

  function one({ session, node, since, address }) {
    const row = document.createElement("li");
    const about = `on ${node}, since ${time(Date.now() - since)}, from ${address}`;
    const end = button("Disconnect", async () => {
      if (!(await confirmed("Disconnect the session?", `${session} of ${id}, ${about}`, "Disconnect"))) return;
      await server.call("DELETE", ["users", id, "sessions", session]);
      say(`the session ${session} is disconnected`);
      sessions();
    });
    end.setAttribute("aria-label", `Disconnect the session ${session}`);
    row.append(element("code", session), " ", element("span", about), " ", end);
    return row;
  }

  buttons.append(button("Trace", () => trace(`user:${id}`)), button("Refresh", sessions), all);
  sessions();
  return made;
}

// The trace of one channel.

function endTrace() {
  stopTrace?.();
  stopTrace = null;
  $("trace").hidden = true;
}

function trace(name) {
  endTrace();
  $("events").replaceChildren();
  $("trace-title").textContent = `Trace of ${name}`;
  $("trace-state").textContent = "connecting";
  $("trace").hidden = false;
  $("trace-title").focus();
  let waiting = [];
  let skipped = 0;
  const show = () => {
    if (skipped) waiting.push(["", "skipped", "", `${count(skipped)} events came faster than they could be shown`]);
    const rows = waiting.map((cells) => line(cells)).reverse();
    [waiting, skipped] = [[], 0];
    $("events").prepend(...rows);
    while ($("events").childElementCount > ROWS) $("events").lastElementChild.remove();
  };
  const add = (cells) => {
    if (!waiting.length) requestAnimationFrame(show);
    if (waiting.length < ROWS) waiting.push(cells);
    else skipped += 1;
  };
  stopTrace = server.follow(name, { last: 20 }, {
    event: ({ time: at, type, id, data }) => add([clock(at), type, id ?? "ephemeral", data.length > TEXT ? `${data.slice(0, TEXT)}…` : data]),
    control: (kind, data) => {
      if (kind === "gap") add([clock(Date.now()), kind, data.after, "events may be missing"]);
    },
    state(is, why) {
      $("trace-state").textContent = is === "live" ? "live" : `reconnecting: ${why}`;
    },
    ended(why) {
      $("trace-state").textContent = why;
    },
  });
}

const clock = (ms) => {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? "–" : date.toISOString().slice(11, 23);
};

function line([at, type, id, data]) {
  const row = document.createElement("li");
  row.append(
    element("time", at),
    element("span", type, { className: "type" }),
    element("code", id, { className: "id" }),
    element("span", data, { className: "data" }),
  );
  return row;
}

$("trace-stop").addEventListener("click", () => {
  endTrace();
  $("search").elements.name.focus();
});
$("trace-clear").addEventListener("click", () => $("events").replaceChildren());

// Publishing.

$("publish").addEventListener("submit", (event) => {
  event.preventDefault();
  const { channel: name, type, data, ephemeral } = $("publish").elements;
  const json = { channel: name.value.trim(), data: data.value };
  if (type.value) json.type = type.value;
  if (ephemeral.checked) json.ephemeral = true;
  const output = $("published");
  output.className = "";
  output.textContent = "…";
  attempt(async () => {
    try {
      const { id } = await server.call("POST", ["publish"], { json });
      output.textContent = id ? `published at ${id}` : "sent to current subscribers";
    } catch (error) {
      output.className = "bad";
      output.textContent = error.message;
    }
  }, event.submitter ?? output);
});

// Dead letters.

let deadAfter = "";

async function listDead(after = "") {
  try {
    const query = { limit: PAGE, ...(after && { after }) };
    const { dead_letters: letters, next, more } = await server.call("GET", ["dead-letters"], { query });
    if (!after) $("dead").replaceChildren();
    $("dead").append(...letters.map((one) => letter(one)));
    deadAfter = next;
    $("dead-more").hidden = !more;
    counted();
  } catch (error) {
    $("dead-state").textContent = error.message;
  }
}

function counted() {
  const shown = $("dead").childElementCount;
  $("dead-state").textContent = shown ? `${count(shown)} shown` : "none";
}

function letter({ id, time: at, entry, reason, channel: name, bytes: size, complete }) {
  const row = $("letter").content.cloneNode(true).firstElementChild;
  row.querySelector(".id").textContent = id;
  row.querySelector(".about").textContent =
    `${new Date(at).toISOString()}, channel ${name ?? "–"}, ${bytes(size)}${complete ? "" : ", truncated"}`;
  row.querySelector(".reason").textContent = reason;
  const facts = row.querySelector("dl");
  const gone = (text) => {
    row.remove();
    counted();
    say(text);
    $("dead-title").focus();
  };
  const look = button("Show", async () => {
    if (facts.hidden) {
      const { fields } = await server.call("GET", ["dead-letters", id]);
      facts.replaceChildren();
      fact(facts, "entry", entry);
      for (const field of fields) fact(facts, field.name, field.value);
    }
    facts.hidden = !facts.hidden;
    look.setAttribute("aria-expanded", String(!facts.hidden));
  });
  look.setAttribute("aria-expanded", "false");
  const requeue = button("Requeue", async () => {
    const { entry: again } = await server.call("POST", ["dead-letters", id, "requeue"]);
    gone(`${id} is back in the intake as ${again}`);
  });
  const drop = button("Drop", async () => {
    if (!(await confirmed("Drop the dead letter?", `${id} is removed for good, with its data.`, "Drop"))) return;
    await server.call("DELETE", ["dead-letters", id]);
    gone(`${id} is dropped`);
  }, "danger");
  for (const control of [look, requeue, drop]) {
    control.setAttribute("aria-label", `${control.textContent} ${id}`);
    row.querySelector(".buttons").append(control, " ");
  }
  return row;
}

$("dead-refresh").addEventListener("click", () => listDead());
$("dead-more").addEventListener("click", () => listDead(deadAfter));

const kept = sessionStorage.getItem(TOKEN);
if (kept !== null) enter(kept);
