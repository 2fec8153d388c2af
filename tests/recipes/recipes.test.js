// The recipes of docs/recipes, followed as they are printed: each framework's own server, its Redis client, and Chromium or a program that
// listens. Free ports stand in the place of 3000, 6379 and 8080. With RECIPES=long, the ones of `longServers`.

import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { startBrowser } from "../browser/dev.js";
import { blocks, Reader } from "../browser/reader.js";
import { backend, browserClients, clients, longServers, programs, servers } from "./pages.js";
import { environment, Recipe } from "./recipe.js";

const long = process.env.RECIPES === "long";
const docs = resolve(import.meta.dirname, "../../docs/recipes");
let reader;
let browser;
let site;
let ticketPage;
let secret;

before(async () => {
  reader = await Reader.begin(6379, 8080, 3000);
  const [start] = await blocks("recipes/README.md");
  await reader.shell(start.text).prints("listening on http://");
  secret = (await readFile(join(reader.folder, "jwt.secret"), "utf8")).trim();
  site = `http://127.0.0.1:${reader.site}`;
  const files = await blocks("recipes/vanilla.md");
  ticketPage = reader.own(files.find(({ file }) => file === "public/ticket.html").text);
  browser = await startBrowser();
});

after(async () => {
  await browser?.stop();
  await reader?.end();
});

/** Somebody follows a page: installs, writes the files. Returns how to run its commands. */
async function follow(page, base) {
  const recipe = await Recipe.read(page, base);
  await recipe.install();
  await recipe.write((text) => reader.own(text));
  const run = (command) => reader.shell(command, { cwd: recipe.folder, env: { ...environment, JWT_SECRET: secret } });
  return { recipe, run };
}

/** Loads a page in a tab, and waits until its stream is open. */
async function open(load) {
  const { page } = await browser.page();
  const stream = page.waitForResponse((response) => response.url().includes("/v1/events?"));
  const [response] = await Promise.all([stream, load(page)]);
  assert.equal(response.status(), 200, response.url());
  return { page, url: response.url(), shows: (text) => page.getByText(text).waitFor() };
}

/** Opens the page as somebody whom the login gave a cookie. */
async function openWithCookie() {
  const tab = await open((page) => page.goto(`${site}/login`));
  assert.equal(tab.page.url(), `${site}/`);
  const cookie = (await tab.page.context().cookies(site)).find(({ name }) => name === "fanfare_token");
  assert.deepEqual([cookie.httpOnly, cookie.sameSite], [true, "Lax"]);
  assert.doesNotMatch(tab.url, /token=|ticket=/);
  return tab;
}

/** Opens the page with a ticket of vanilla.md as a page of this server, in a browser without the cookie. */
async function openWithTicket() {
  const tab = await open(async (page) => {
    await page.context().clearCookies();
    await page.goto(`${site}/token`);
    await page.setContent(ticketPage);
  });
  assert.match(tab.url, /ticket=/);
  return tab;
}

for (const name of long ? longServers : servers) {
  test(`${name}: an event reaches a page with a cookie, and one with a ticket`, { timeout: 300_000 }, async () => {
    const { recipe, run } = await follow(name);
    const [, start, publish] = recipe.commands;
    const server = run(start);
    await server.serves(site);

    const cookie = await openWithCookie();
    const ticket = await openWithTicket();
    await run(publish).ends();
    const [text] = publish.match(/Hello from [^']+/);
    await cookie.shows(text);
    await ticket.shows(text);

    await browser.closePages();
    await server.kill();
  });
}

/** A test of `scripts/test recipes`. */
const short = (name, run) => test(name, { timeout: 120_000, skip: long }, run);

/** Starts the server of express.md beside the files of a client's page. */
async function backendOf(page, change = (text) => text) {
  const { recipe, run } = await follow(page, backend);
  await recipe.write((text) => change(reader.own(text)));
  const server = run(recipe.base.commands[1]);
  await server.serves(site);
  const publish = async (text) => {
    const response = await fetch(`${site}/notes`, { method: "POST", body: new URLSearchParams({ text }) });
    assert.equal(response.status, 204);
  };
  return { recipe, run, server, publish };
}

short("vanilla.md: both pages miss nothing when their tokens end", async () => {
  const sixSeconds = (text) => text.replace('expiresIn: "1h"', 'expiresIn: "6s"');
  const { server, publish } = await backendOf("vanilla.md", sixSeconds);
  const answer = (page, status) =>
    page.waitForResponse((response) => response.url().includes("/v1/events?") && response.status() === status);
  // Each page is watched from its first stream on: the token of the first may end before the second is open.
  const [cookie, reopened] = await openWithCookie().then((tab) => [tab, answer(tab.page, 200)]);
  const [ticket, refused, replaced] = await openWithTicket().then((tab) => [tab, answer(tab.page, 401), answer(tab.page, 200)]);
  const tabs = [cookie, ticket];
  await publish("before the end of the tokens");
  await refused;
  // The page waits for a second or more before it opens the next stream.
  await publish("while the ticket is replaced");
  await Promise.all([reopened, replaced]);
  await publish("after the end of the tokens");
  for (const { page, shows } of tabs) {
    await shows("after the end of the tokens");
    const notes = await page.locator("#notes li").allTextContents();
    const last = ["before the end of the tokens", "while the ticket is replaced", "after the end of the tokens"];
    assert.deepEqual(notes.slice(-3), last);
  }
  await browser.closePages();
  await server.kill();
});

for (const name of browserClients) {
  short(`${name}: an event reaches the page`, async () => {
    const { recipe, run, server } = await backendOf(name);
    const [publish, ...builds] = recipe.commands.slice(1).reverse();
    for (const build of builds) await run(build).ends();
    const tab = await openWithCookie();
    await run(publish).ends();
    const [text] = publish.match(/Hello from \w+/);
    await tab.shows(text);
    assert.match(await tab.page.locator("#notes li", { hasText: text }).innerText(), /^Hello from \w+$/);
    await browser.closePages();
    await server.kill();
  });
}

short("python.md: the program prints an event, and continues after the last one when the server ended its stream", async () => {
  const { recipe, run, server, publish } = await backendOf("python.md");
  const headers = { authorization: `Bearer ${await (await fetch(`${site}/token`)).text()}` };
  const program = run(recipe.commands[1]);
  await program.prints("connected");
  await publish("Hello, Python");
  await program.prints("Hello, Python");
  const ended = await fetch(`http://127.0.0.1:${reader.node}/v1/users/42/sessions`, { method: "DELETE", headers });
  assert.deepEqual(await ended.json(), { disconnected: 1 });
  await publish("Hello again");
  await program.prints("Hello again");
  await program.kill();
  await server.kill();
});

short("curl.md: streams with a token and with a ticket print what the other commands publish", async () => {
  const commands = (await blocks("recipes/curl.md")).map(({ text }) => text);
  const [token, ticket, redis, http] = commands;
  const streams = [reader.shell(token)];
  await streams[0].prints("event: connected");
  streams.push(reader.shell(ticket));
  await streams[1].prints("event: connected");
  await reader.shell(redis).ends();
  await reader.shell(http).ends();
  for (const stream of streams) {
    await stream.prints("data: Hello from redis-cli");
    await stream.prints("data: Hello from curl");
    await stream.kill();
  }
});

short("the table of README.md says what is run, and how", async () => {
  const text = await readFile(join(docs, "README.md"), "utf8");
  const rows = [...text.matchAll(/^\| \[[^\]]+\]\(([\w-]+\.md)\) \| (.+?) \| (.+?) \| (.+?) \|$/gm)];
  const pages = (await readdir(docs)).filter((name) => name !== "README.md");
  assert.deepEqual(rows.map(([, page]) => page).sort(), pages.sort());
  const runBy = (...how) => rows.filter((row) => how.includes(row[4])).map(([, page]) => page).sort();
  assert.deepEqual(runBy("yes"), [...servers, ...clients, ...programs].sort());
  assert.deepEqual(runBy("long"), [...longServers].sort());
  const run = runBy("yes", "long");
  for (const [, page, how, published] of rows) {
    const code = JSON.stringify(await blocks(`recipes/${page}`));
    if ([...servers, ...longServers].includes(page)) {
      assert.equal(how, "cookie, ticket", page);
      assert.equal(published.includes("FCALL"), code.includes("fanfare_publish"), page);
      assert.equal(published.includes("XADD"), code.includes("fanfare:ingest"), page);
    }
    // A page that is not run says so, and none of its code counts as tested.
    const note = (await readFile(join(docs, page), "utf8")).includes("**Not run.**");
    assert.equal(note, !run.includes(page), page);
    assert.equal(code === "[]", note, page);
  }
});
