// Headless Chromium, and code for its pages.

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { chromium } from "playwright-core";
import { compile } from "svelte/compiler";

/** Compiles components of Svelte. */
const components = {
  name: "svelte",
  setup: ({ onLoad }) =>
    onLoad({ filter: /\.svelte$/ }, async ({ path }) => ({
      contents: compile(await readFile(path, "utf8"), { filename: path, generate: "client" }).js.code,
    })),
};

/** Bundles a module of this package into a script that sets a global variable to its exports. */
export async function bundle(module, globalName) {
  const { outputFiles } = await build({
    entryPoints: [join(import.meta.dirname, "../..", module)],
    bundle: true,
    format: "iife",
    globalName,
    write: false,
    // Libraries in their development form, as StrictMode needs it.
    define: { "process.env.NODE_ENV": '"development"' },
    conditions: ["browser", "development"],
    plugins: [components],
  });
  return `${outputFiles[0].text}\nglobalThis.${globalName} = ${globalName};`;
}

/** Starts the distribution's Chromium with an empty profile. */
export async function startBrowser() {
  const profile = await mkdtemp(join(tmpdir(), "fanfare-browser-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"],
  });
  return {
    /** A new tab. */
    async page(url) {
      const page = await context.newPage();
      await page.goto(url);
      return page;
    },
    async closePages() {
      await Promise.all(context.pages().map((page) => page.close()));
    },
    async stop() {
      await context.close();
      await rm(profile, { recursive: true, force: true });
    },
  };
}
