// Servers of examples/chat, and their pages.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";

const server = join(import.meta.dirname, "../../examples/chat/server.js");

/** One server. `printed` has its lines. */
export class App {
  printed = [];
  #child;
  #exited;
  #env;
  port = 0;

  constructor(env) {
    this.#env = env;
  }

  async start() {
    const env = { ...process.env, ...this.#env, PORT: `${this.port}` };
    this.#child = spawn(process.execPath, [server], { env, stdio: ["ignore", "pipe", "inherit"] });
    this.#exited = once(this.#child, "exit");
    const lines = createInterface({ input: this.#child.stdout });
    lines.on("line", (line) => this.printed.push(line));
    await Promise.race([
      once(lines, "line"),
      this.#exited.then(([code]) => {
        throw new Error(`the server ended with ${code}`);
      }),
    ]);
    this.port = Number(this.printed.at(-1).match(/:(\d+)$/)[1]);
    return this;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  async stop(signal = "SIGTERM") {
    this.#child.kill(signal);
    await this.#exited;
  }
}

/** A tab with a chat. */
export class Tab {
  constructor(page) {
    this.page = page;
  }

  static async open(browser, app, chat) {
    const { page } = await browser.page();
    await page.goto(`${app.url}/${chat}`);
    return new Tab(page);
  }

  async say(text) {
    await this.page.fill("[name=text]", text);
    await this.page.click("[type=submit]");
  }

  /** The texts of the answers. */
  answers() {
    return this.page.locator(".assistant").allTextContents();
  }

  /** The last answer. */
  async answer() {
    return (await this.answers()).at(-1) ?? "";
  }

  status() {
    return this.page.locator("#status").textContent();
  }

  error() {
    return this.page.locator("#error").textContent();
  }

  /** Waits until the last answer has a word. */
  async has(word) {
    await this.page.waitForFunction(
      (word) => [...document.querySelectorAll(".assistant")].at(-1)?.textContent.includes(word),
      word,
      {
        timeout: 60_000,
      },
    );
  }

  /** Waits for a status. */
  async reaches(status, seconds = 60) {
    await this.page.waitForFunction((status) => document.querySelector("#status")?.textContent === status, status, {
      timeout: seconds * 1000,
    });
  }
}
